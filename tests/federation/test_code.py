"""The hash of the code that an experiment runs: the project's part, and the distribution that brings it, wherever it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from federation.code import code_hash, code_hashes
from tests.outside_package import pretend

CODE = """
from dataclasses import dataclass
from federation.experiments import Experiment
@dataclass(frozen=True)
class Settings:
    experiment: str = "tabular"
    checkpoint: str | None = None
EXPERIMENT = Experiment(Settings, "nowhere:Recipe", ("Table",))
"""
ENTRY = "[federation.experiments]\ntabular = fed_tabular:EXPERIMENT\n"


def hashes(*folders: Path) -> dict[str, str]:
    """What a site announces where these folders' packages are installed."""
    script = "from federation.code import code_hashes; print(*(f'{n}={h}' for n, h in code_hashes().items()))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    return dict(pair.split("=") for pair in done.stdout.split())


def test_ours_share_the_projects_code() -> None:
    assert set(code_hashes().values()) == {code_hash("sentiment")}


def test_an_experiment_from_outside_has_a_hash_of_its_own_and_changes_none_of_ours(tmp_path: Path) -> None:
    found = hashes(pretend(tmp_path / "a", "fed-tabular", ENTRY, CODE))
    assert found.pop("tabular") not in found.values()
    assert found == code_hashes()


def test_it_follows_the_code_and_the_version_of_its_distribution(tmp_path: Path) -> None:
    same = hashes(pretend(tmp_path / "a", "fed-tabular", ENTRY, CODE))["tabular"]
    assert hashes(pretend(tmp_path / "b", "fed-tabular", ENTRY, CODE))["tabular"] == same, "wherever it lies"
    assert hashes(pretend(tmp_path / "c", "fed-tabular", ENTRY, CODE + "# changed"))["tabular"] != same
    newer = pretend(tmp_path / "d", "fed-tabular", ENTRY, CODE)
    [info] = newer.glob("*.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fed-tabular\nVersion: 1.1\n")
    assert hashes(newer)["tabular"] != same


def test_an_editable_install_has_the_hash_of_a_regular_one(tmp_path: Path) -> None:
    regular = pretend(tmp_path / "a", "fed-tabular", ENTRY, CODE)
    editable = shutil.copytree(regular, tmp_path / "b")
    [info] = editable.glob("*.dist-info")
    hook = "__editable___fed_tabular_1_0_finder.py"
    (editable / hook).write_text("")
    (info / "RECORD").write_text(f"{hook},,\n{info.name}/METADATA,,\n{info.name}/entry_points.txt,,\n")
    assert hashes(editable)["tabular"] == hashes(regular)["tabular"]


def test_a_package_that_brings_only_a_shard_is_its_sites_own_affair(tmp_path: Path) -> None:
    entry = "[federation.templates]\nrows = fed_rows:TEMPLATES\n"
    assert hashes(pretend(tmp_path / "a", "fed-rows", entry, "TEMPLATES = {}")) == code_hashes()
