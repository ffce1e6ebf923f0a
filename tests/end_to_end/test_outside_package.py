"""An experiment from outside: the package that docs/design.md shows, built, installed, and taken through every command."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.deployment import FED, Deployment, write_yaml
from tests.outside_package import guide, install

SHARD = "tabular.shard.CsvShard"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: the package installed in ``beside``, a plan, a table, a federation file."""
    folder = tmp_path_factory.mktemp("tabular")
    for name, text in guide().items():
        file = folder / name if name.endswith(".yaml") else folder / "source" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    install(folder / "source", folder / "beside")
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(200, 2))
    words = np.where(rows.sum(axis=1) > 0, "high", "low")
    lines = (f"{a:.4f},{b:.4f},{word}\n" for (a, b), word in zip(rows, words, strict=True))
    (folder / "table.csv").write_text("".join(lines))
    entries = [{"shard_descriptor": entry(folder, rank, 2)} for rank in range(2)]
    federation = {"envoys": dict(zip(("north", "south"), entries, strict=True)), "test": entries[0]}
    write_yaml(folder / "federation.yaml", federation)
    return folder


def entry(folder: Path, rank: int, worldsize: int) -> dict[str, Any]:
    settings = {
        "file": str(folder / "table.csv"),
        "classes": ["low", "high"],
        "rank": rank,
        "worldsize": worldsize,
    }
    return {"template": SHARD, "settings": settings}


def beside(work: Path) -> dict[str, str]:
    """The environment of somebody who has the package."""
    return {"PYTHONPATH": str(work / "beside"), "OMP_NUM_THREADS": "1"}


def fed(work: Path, *arguments: str, has_package: bool = True, code: int = 0) -> str:
    env = os.environ | {"FED_STATE": str(work / "state")} | (beside(work) if has_package else {})
    done = subprocess.run(
        [*FED, *arguments], cwd=work, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, (
        f"fed {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def simulated(work: Path) -> dict[str, Any]:
    """The summary of a simulation of the plan."""
    return dict(
        json.loads(
            fed(work, "simulate", "tabular.yaml", "--federation", "federation.yaml", "-o", "out", "--json")
        )
    )


def test_the_guide_shows_a_whole_package(work: Path) -> None:
    assert set(guide()) == {
        "pyproject.toml",
        "tabular/__init__.py",
        "tabular/settings.py",
        "tabular/shard.py",
        "tabular/recipe.py",
        "tabular.yaml",
    }
    assert (work / "beside" / "tabular" / "recipe.py").is_file()


def test_its_plan_is_checked_as_strictly_as_ours(work: Path) -> None:
    assert "sound" in fed(work, "plan", "check", "tabular.yaml")
    shown = yaml.safe_load(fed(work, "plan", "show", "tabular.yaml"))
    assert shown["task_runner"]["settings"]["batch_size"] == 8
    assert shown["task_runner"]["settings"]["schedule"] == "linear", (
        "what training settings it has in common has defaults"
    )
    said = fed(work, "plan", "check", "tabular.yaml", "--set", "task_runner.settings.colums=3", code=3)
    assert "task_runner.settings.colums: unknown key; did you mean columns?" in said


def test_without_the_package_it_is_said_what_is_missing(work: Path) -> None:
    said = fed(work, "plan", "check", "tabular.yaml", has_package=False, code=3)
    assert said.startswith(
        "tabular.yaml:4: task_runner.settings.experiment: there is no experiment 'tabular' here; known: "
    )
    said = fed(work, "data", "describe", "--federation", "federation.yaml", has_package=False, code=3)
    assert "'tabular.shard.CsvShard' is none of the known ones" in said


def test_it_is_simulated_measured_and_applied(work: Path, simulated: dict[str, Any]) -> None:
    assert simulated["test_accuracy"] > 0.9
    measured = json.loads(fed(work, "evaluate", "out/model", "--on", "federation.yaml", "--json"))
    assert measured["accuracy"] == simulated["test_accuracy"]
    predicted = fed(work, "predict", "out/model", "1.5,2", "0.5,-2")
    assert [line.split("\t")[1] for line in predicted.splitlines()] == ["high", "low"]
    said = fed(work, "predict", "out/model", "1,2,3", code=3)
    assert "'1,2,3' must be 2 numbers with commas between" in said
    said = fed(work, "predict", "out/model", "1,2", has_package=False, code=3)
    assert "out/model: holds TabularRegression; known: " in said


def test_its_bad_data_is_one_line_that_says_where(work: Path) -> None:
    (work / "bad.csv").write_text("1,2,low\n1,2,middle\n")
    bad = entry(work, 0, 1)
    bad["settings"]["file"] = "bad.csv"
    write_yaml(work / "bad.yaml", {"envoys": {"north": {"shard_descriptor": bad}}})
    said = fed(work, "data", "describe", "--federation", "bad.yaml", code=3)
    assert said.strip().endswith("bad.csv:2: 'middle' is none of low, high")


def test_it_is_deployed_where_the_director_does_not_have_it(
    work: Path, simulated: dict[str, Any], deployment: Deployment
) -> None:
    deployment.start_director()
    mine = beside(work)
    plan = str(work / "tabular.yaml")
    for rank, name in enumerate(("north", "south")):
        deployment.start_envoy(name, entry(work, rank, 2), env=mine)
    online = json.loads(deployment.fed("envoys", "--json"))
    assert [e["shard_package"] for e in online] == ["fed-tabular 1.0"] * 2, "for information"
    done = json.loads(deployment.fed("submit", plan, "--watch", "--quiet", "--json", env=mine))
    assert done["state"] == "finished"
    assert done["cohort"] == ["north", "south"]
    assert done["exchanged_sha256"] == simulated["exchanged_sha256"], "the same bits as simulated"
    deployment.fed("model", done["name"], "-o", str(deployment.folder / "model"), env=mine)
    assert (deployment.folder / "model" / "config.json").is_file()


def test_who_lacks_it_or_has_other_code_is_named(
    work: Path, deployment: Deployment, tmp_path: Path, speech: Path
) -> None:
    from tests.deployment import shard_entry

    deployment.start_director()
    mine, plan = beside(work), str(work / "tabular.yaml")
    # Another version of the package at one site; none at another.
    changed = tmp_path / "changed"
    for name, text in guide().items():
        file = changed / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + ("\n# changed\n" if name.endswith("recipe.py") else ""))
    other = install(changed, tmp_path / "other")
    deployment.start_envoy("north", entry(work, 0, 2), env=mine)
    deployment.start_envoy("south", entry(work, 1, 2), env={"PYTHONPATH": str(other)})
    deployment.start_envoy("west", shard_entry(speech, 0, 1))
    name = deployment.fed("submit", plan, env=mine).strip()
    [info] = json.loads(deployment.fed("list", "--json"))
    assert "1 of 2 envoys are there" in info["reason"]
    assert (
        "the envoy west has no experiment tabular: install the package that brings it there" in info["reason"]
    )
    assert "the envoy south has other code of the experiment tabular" in info["reason"]
    assert f"`fed stop {name}`" in info["reason"]
    assert json.loads(deployment.fed("stop", name, "--json"))["state"] == "stopped"
    said = deployment.fed("submit", plan, code=3)
    assert "there is no experiment 'tabular' here" in said
