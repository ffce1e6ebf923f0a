"""A package from outside that cannot be used harms nobody but those who use it, and they are told in one line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.checkout import PLANS
from tests.deployment import FED, write_yaml
from tests.outside_package import pretend

EXPERIMENT = """
from __future__ import annotations
from dataclasses import dataclass
from federation.experiments import Experiment
@dataclass(frozen=True)
class Settings:
    experiment: str = "tabular"
    checkpoint: str | None = None
EXPERIMENT = Experiment(Settings, "nowhere:Recipe", ("Table",), computes_sizes=True)
"""
OURS = str(PLANS / "keyword_spotting_tiny.yaml")


@pytest.fixture
def plan(tmp_path: Path) -> str:
    content = {
        "aggregator": {"settings": {"rounds_to_train": 1}},
        "task_runner": {"settings": {"experiment": "tabular"}},
        "federation": {"settings": {"envoys": 1, "dataset": "table", "classes": ["a", "b"]}},
    }
    return str(write_yaml(tmp_path / "tabular.yaml", content))


def fed(*arguments: str, folders: list[Path], code: int = 0) -> str:
    """Run a command where these folders' packages are installed; return what it prints on standard error."""
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "FED_STATE": str(folders[0] / "state"),
    }
    done = subprocess.run(
        [*FED, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stderr


def point(group: str, name: str, value: str) -> str:
    return f"[federation.{group}]\n{name} = {value}\n"


def test_an_experiment_that_cannot_be_imported_is_said_where_it_is_used(tmp_path: Path, plan: str) -> None:
    folder = pretend(
        tmp_path / "a",
        "fed-broken",
        point("experiments", "tabular", "fed_broken:EXPERIMENT"),
        "import nowhere",
    )
    fed("plan", "check", OURS, folders=[folder])
    fed("--help", folders=[folder])
    [line] = fed("plan", "check", plan, folders=[folder], code=3).splitlines()
    assert (
        "task_runner.settings.experiment: federation.experiments: tabular of the package fed-broken cannot be loaded"
        in line
    )
    assert "ModuleNotFoundError: No module named 'nowhere'" in line


def test_a_name_that_two_packages_claim_is_said_where_it_is_used(tmp_path: Path, plan: str) -> None:
    folders = [
        pretend(
            tmp_path / name,
            name,
            point("experiments", "tabular", f"{name.replace('-', '_')}:EXPERIMENT"),
            EXPERIMENT,
        )
        for name in ("fed-one", "fed-two")
    ]
    fed("plan", "check", plan, folders=folders[:1])
    fed("plan", "check", OURS, folders=folders)
    [line] = fed("plan", "check", plan, folders=folders, code=3).splitlines()
    assert "tabular is claimed by two packages, fed-one and fed-two; uninstall one of them" in line


def test_nobody_takes_a_name_of_ours_unnoticed(tmp_path: Path) -> None:
    entries = point("experiments", "keyword_spotting", "fed_evil:EXPERIMENT")
    folder = pretend(tmp_path / "a", "fed-evil", entries, EXPERIMENT)
    [line] = fed("plan", "check", OURS, folders=[folder], code=3).splitlines()
    assert "keyword_spotting is claimed by two packages, fed-evil and speech-federation" in line
    fed("plan", "check", str(PLANS / "sentiment_tiny.yaml"), folders=[folder])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("EXPERIMENT = 3", "must be of the type Experiment, not int"),
        ("raise RuntimeError('no\\nlicence')", "RuntimeError: no licence"),
        ("EXPERIMENT = None\nimport sys\nsys.exit(9)", "SystemExit: 9"),
        (EXPERIMENT.replace("checkpoint:", "start:"), "its settings have no field 'checkpoint'"),
        (EXPERIMENT.replace("str | None", "Missing"), "its settings cannot be checked"),
        (EXPERIMENT.replace("Experiment(Settings", "Experiment(int"), "its settings must be a dataclass"),
    ],
)
def test_what_is_no_experiment_is_one_clear_line(tmp_path: Path, plan: str, code: str, said: str) -> None:
    entries = point("experiments", "tabular", "fed_odd:EXPERIMENT")
    folder = pretend(tmp_path / "a", "fed-odd", entries, code)
    [line] = fed("plan", "check", plan, folders=[folder], code=3).splitlines()
    assert said in line
    assert "fed-odd" in line
    fed("plan", "check", OURS, folders=[folder])


def test_templates_kinds_of_metrics_and_commands_are_no_different(tmp_path: Path, speech: Path) -> None:
    entries = point("templates", "broken", "fed_broken:TEMPLATES") + point(
        "statistics", "broken", "fed_broken:KIND"
    )
    entries += point("commands", "broken", "fed_broken:command")
    folder = pretend(tmp_path / "a", "fed-broken", entries, "import nowhere")
    shard = {"template": "fed_broken.Shard", "settings": {}}
    file = write_yaml(tmp_path / "federation.yaml", {"envoys": {"north": {"shard_descriptor": shard}}})
    said = fed("data", "describe", "--federation", str(file), folders=[folder], code=3)
    assert (
        "federation.templates: broken of the package fed-broken cannot be loaded (ModuleNotFoundError" in said
    )
    said = fed("plan", "check", OURS, "--set", "federation.settings.metrics=broken", folders=[folder], code=3)
    assert "federation.statistics: broken of the package fed-broken cannot be loaded" in said
    fed(
        "data",
        "describe",
        "--root",
        str(speech),
        "--classes",
        "yes,no",
        "--split",
        "speaker",
        folders=[folder],
    )
    fed("plan", "check", OURS, folders=[folder])
