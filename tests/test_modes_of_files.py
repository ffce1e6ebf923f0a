"""What commands write is for whoever the umask lets, all of it alike; keys and state are their owner's only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.main import main
from tests.checkout import ROOT

FEDERATION = ["--federation", "data/text/federation.yaml"]
PLAN = ["plans/sentiment_tiny.yaml", *FEDERATION, "--set", "aggregator.settings.rounds_to_train=1"]
SPEAKERS = ["--speakers", "1", "--takes", "1", "--words", "yes", "--background-seconds", "1"]
COMMANDS = [
    ["certify", "authority"],
    ["certify", "envoy", "north"],
    ["data", "sample", "text", "-o", "data/text"],
    ["data", "synthesise", "-o", "data/spoken", *SPEAKERS],
    ["data", "words", *FEDERATION, "--envoy", "north", "-o", "north.json"],
    ["data", "vocabulary", "north.json", "-o", "words.txt"],
    ["simulate", *PLAN, "-o", "runs/all"],
    ["local", *PLAN, "--envoy", "north", "-o", "runs/north"],
    ["predict", "runs/all/model", "The soup is good.", "--attention", "maps"],
]


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    top = tmp_path / "checkout"
    top.mkdir()
    (top / "plans").symlink_to(ROOT / "plans")
    monkeypatch.chdir(top)
    monkeypatch.setenv("FED_STATE", str(tmp_path / "state"))
    before = os.umask(0o022)
    yield top
    os.umask(before)


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=["022", "077"])
def test_every_folder_that_a_command_makes_follows_the_umask(
    top: Path, umask: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("espeakng_loader", reason="the extra demo is not installed")
    os.umask(umask)
    for command in COMMANDS:
        assert main(command) == 0, capsys.readouterr().err
    made = [path for path in top.rglob("*") if not path.is_symlink()]
    wrong = {}
    for path in made:
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        if path.suffix == ".key":
            expected = 0o600
        if (mode := stat.S_IMODE(path.stat().st_mode)) != expected:
            wrong[str(path.relative_to(top))] = oct(mode)
    assert not wrong
    names = {path.name for path in made}
    assert {"model.safetensors", "summary.json", "metrics.jsonl", "0.png", "north.json", "words.txt"} <= names
    log = top.parent / "state"
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in log.glob("*.log")} <= {0}
