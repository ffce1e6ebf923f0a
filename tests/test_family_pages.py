"""The page of each family begins with commands that run as they are written, from nothing, and what they train has learnt."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.main import main
from shard_descriptors.sample_data import spoken_words
from tests.checkout import ROOT

# A page, the rounds that its small plan is given here, the metric of the test, and what chance comes to.
PAGES = [
    ("images", 4, "accuracy", 0.1),
    ("sentiment", 10, "accuracy", 0.5),
    ("translation", 5, "bleu", 1.0),
    ("simulation", 6, "accuracy", 1 / 12),
]


def beginning(page: str) -> list[list[str]]:
    """The words of each line of a page's first block of commands, without `fed`."""
    block = re.search(r"^```bash\n(.*?)^```$", (ROOT / "docs" / f"{page}.md").read_text(), re.M | re.S)
    assert block is not None
    lines = [shlex.split(line) for line in block[1].splitlines()]
    assert 2 <= len(lines) <= 3
    assert {line[0] for line in lines} == {"fed"}
    return [line[1:] for line in lines]


def as_a_shell_does(word: str) -> list[str]:
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the plans in it and nothing else, and the umask that most people have."""
    (tmp_path / "checkout").mkdir()
    shutil.copytree(ROOT / "plans", tmp_path / "checkout" / "plans")
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setenv("FED_STATE", str(tmp_path / "state"))
    before = os.umask(0o022)
    yield tmp_path / "checkout"
    os.umask(before)


@pytest.mark.parametrize(("page", "rounds", "metric", "chance"), PAGES, ids=[page for page, *_ in PAGES])
def test_a_family_page_begins_with_commands_that_run_from_nothing(
    page: str,
    rounds: int,
    metric: str,
    chance: float,
    newcomer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Tones in place of voices, and fewer: another test has the voices.
    monkeypatch.setattr(spoken_words, "has_voices", lambda: False)
    monkeypatch.setattr(spoken_words, "TAKES", 1)
    made, simulated, used = beginning(page)
    for words in (made, [*simulated, "--set", f"aggregator.settings.rounds_to_train={rounds}"], used):
        arguments = [found for word in words for found in as_a_shell_does(word)]
        assert main(arguments) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert f"next: fed {simulated[0]} {simulated[1]} --federation {simulated[3]}" in printed
    summary = json.loads(next((newcomer / "runs").glob("*/summary.json")).read_text())
    assert summary["test"][metric] > 1.3 * chance
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in newcomer.rglob("*")}
    assert not {
        str(path): oct(mode) for path, mode in modes.items() if mode != (0o755 if path.is_dir() else 0o644)
    }
