"""What ``fed simulate``, ``fed central`` and ``fed local`` print while they run where no terminal is, and at their end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from federation.main import main
from tests.deployment import WORDS, shard_entry, write_yaml
from tests.terminal import Terminal
from workspace.commands.endings import tell_simulation

ROUNDS = ["--set", "aggregator.settings.rounds_to_train=2"]


@pytest.fixture
def federation_file(tmp_path: Path, speech: Path) -> Path:
    """Two envoys and test speakers that neither holds."""
    entries = {
        name: {"shard_descriptor": shard_entry(speech, rank, 2)}
        for rank, name in enumerate(("north", "south"))
    }
    return write_yaml(tmp_path / "federation.yaml", {"envoys": entries, "test": entries["north"]})


def test_a_simulation_tells_each_round_and_ends_with_a_table_and_the_next_command(
    plan_file: Path, federation_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out of it"
    assert (
        main(["simulate", str(plan_file), *ROUNDS, "--federation", str(federation_file), "-o", str(folder)])
        == 0
    )
    printed = capsys.readouterr()

    rounds = [line for line in printed.err.splitlines() if line.startswith("round")]
    assert [line[:14] for line in rounds] == ["round   0 of 2", "round   1 of 2", "round   2 of 2"]
    number = r"\d+\.\d{3}"
    assert re.search(
        rf"validation: accuracy {number}, loss {number}  training: accuracy {number}, loss", rounds[0]
    )
    assert re.search(r"  \d+(\.\d)? s, about \d+(\.\d)? s left  best so far: round 0, accuracy", rounds[0])
    assert "left" not in rounds[2]

    summary = json.loads((folder / "summary.json").read_text())
    best = summary["best_round"]
    assert re.search(rf"best so far: round {best}, accuracy {number}$", rounds[2])
    out = printed.out
    assert re.search(
        r"tiny: 2 rounds over 2 envoys \(north, south\) in .* s; in a round each sends .* kB and receives",
        out,
    )
    assert re.search(rf"on the test shard +best model, round {best} +last model, round 2", out)
    for name in ("accuracy", "loss", *(f"recall of {word}" for word in WORDS)):
        value, last = (summary[which][name.replace(" of ", "/")] for which in ("test", "last_test"))
        assert re.search(rf"^ *{name} +{value:.4f} +{last:.4f} *$", out, re.MULTILINE), name
    assert f"fed evaluate '{folder}/model' --on {federation_file}" in out
    assert "{" not in out


@pytest.mark.parametrize("command", [["central"], ["local", "--envoy", "south"]])
def test_a_baseline_tells_each_round_and_ends_with_a_table_and_the_next_command(
    command: list[str],
    plan_file: Path,
    federation_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(plan_file), *ROUNDS, "--federation", str(federation_file), "-o", str(tmp_path / "out")]
    assert main([*command, *arguments]) == 0
    printed = capsys.readouterr()

    number = r"\d+\.\d{3}"
    score = rf"accuracy {number}, loss {number}"
    first, second = [line for line in printed.err.splitlines() if line.startswith("round")]
    told = rf"training: {score}  validation: {score}  best so far: round 1, {score}"
    assert re.fullmatch(rf"round   1 of 2  {told}  \d+(\.\d)? s, about \d+(\.\d)? s left", first)
    assert re.match(rf"round   2 of 2  training: {score}", second)

    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    accuracy, tested = summary["validation_accuracy"], summary["test_accuracy"]
    assert re.search(rf"^ *accuracy +{accuracy:.4f} +{tested:.4f} *$", printed.out, re.MULTILINE)
    low, high = summary["test_interval"]
    assert f"95 % interval of the test accuracy: {low:.4f} to {high:.4f}" in printed.out
    assert f"fed evaluate {tmp_path}/out/model --on {federation_file}" in printed.out
    assert "{" not in printed.out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_end_of_a_simulation_is_whole_at_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"accuracy": 0.5, "loss": 1.0, "recall/a word of more than forty characters in all": 0.25}
    summary: dict[str, Any] = {
        "plan": "tiny", "rounds": 8, "envoys": ["north"], "best_round": 3, "test": metrics, "last_test": metrics,
        "seconds": 3.0, "exchanged_bytes": 10, "peak_memory_mb": 10.0,
    }  # fmt: skip
    terminal = Terminal(monkeypatch, columns)
    text = terminal.shown(lambda: tell_simulation(summary, Path("out"), "federation.yaml"))
    assert (
        max(map(len, text.partition("memory at most\n")[2].partition("model: ")[0].splitlines())) <= columns
    )
    assert "best model, round 3" in text
    assert set(re.findall(r"\w+", "recall of a word of more than forty characters in all")) <= set(
        re.findall(r"\w+", text)
    )
    assert text.count("0.2500") == 2


def test_without_a_test_shard_the_end_says_that_nothing_was_tested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary: dict[str, Any] = {
        "plan": "tiny", "rounds": 8, "envoys": ["north"], "best_round": -1, "test": None, "last_test": None,
        "seconds": 3.0, "exchanged_bytes": 10, "peak_memory_mb": 10.0,
    }  # fmt: skip
    tell_simulation(summary, Path("out"), "federation.yaml")
    out = capsys.readouterr().out
    assert "federation.yaml has no test shard: nothing was tested" in out
    assert "use it: fed predict out/model INPUT..." in out
