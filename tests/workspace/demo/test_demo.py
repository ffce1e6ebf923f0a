"""``make demo`` on a small scale: the same steps, with few voices and one round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from federation.errors import Unreachable
from tests.checkout import ROOT
from tests.deployment import WORDS
from workspace.demo.services import service, wait_for


def test_the_demo_leaves_a_model_and_its_numbers_and_no_process(plan_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "demo"
    sets = ["aggregator.settings.rounds_to_train=1", "federation.settings.envoys=3"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "workspace.demo", "--output", str(output), "--plan", str(plan_file)),
            *("--speakers", "8", "--takes", "2"),
            *(argument for one in sets for argument in ("--set", one)),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    summary = json.loads((output / "summary.json").read_text())
    assert {"federated", "central", "local", "rounds", "seconds", "exchanged_sha256"} <= summary.keys()
    assert summary["local"].keys() == {"north", "south", "west"}
    assert summary["rounds"] == 1
    assert len(summary["exchanged_sha256"]) == 64
    assert all(0 <= summary[key] <= 1 for key in ("federated", "central"))
    labels = json.loads((output / "model" / "config.json").read_text())["id2label"]
    assert list(labels.values()) == WORDS
    assert "federated" in done.stdout
    assert "round   1" in done.stderr, "the rounds are shown as they come"

    left = [p.info for p in psutil.process_iter(["cwd", "cmdline"]) if str(output) in str(p.info)]
    assert not left, "no process is left behind"


def test_a_service_that_ends_instead_of_starting_is_told_at_once_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "director.log"
    with (
        service(tmp_path, "director", "listening", "director", "start", "-c", "nowhere.yaml") as ready,
        pytest.raises(Unreachable, match=rf"^the director ended instead of starting; see {log}$"),
    ):
        wait_for(ready, tmp_path, "director")
    assert "nowhere.yaml" in log.read_text()
