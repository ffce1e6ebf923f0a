"""`fed data describe` and `fed data synthesise`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from federation.errors import InputError
from shard_descriptors.cli import data
from tests.speech_data import make_speech_folder
from tests.terminal import Terminal


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speech_folder(tmp_path_factory.getbasetemp() / "speech")


def fed_data(*words: object) -> Result:
    return CliRunner().invoke(data, [str(word) for word in words])


def test_describe_prints_classes_speakers_and_totals_of_every_shard(speech: Path) -> None:
    result = fed_data("describe", "--root", speech, "--split", "speaker", "--worldsize", 3)
    assert result.exit_code == 0, result.output
    cells = [re.split(r" {2,}", line.strip()) for line in result.output.splitlines()]
    assert ["train", "yes", "2", "2", "2", "6"] in cells
    assert ["train", "_silence_", "2", "2", "2", "6"] in cells
    assert ["train", "all samples", "24", "24", "24", "72"] in cells
    assert ["test", "yes", "2", "2", "2", "2"] in cells  # nobody's own: the same for every shard
    assert "all speakers" in result.output


@pytest.mark.parametrize("columns", [40, 80])
def test_describe_names_envoys_whole_through_a_pipe_and_on_a_narrow_terminal(
    columns: int, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"hospital-of-the-{place}-with-a-long-name" for place in ("north", "south", "west")]
    settings = {"root": str(speech), "split": "speaker", "classes": ["yes", "no"]}
    entry = {"template": "shard_descriptors.speech.speech_commands.SpeechCommandsShard", "settings": settings}
    file = tmp_path / "federation.yaml"
    file.write_text(
        json.dumps({"envoys": {name: {"shard_descriptor": entry} for name in names}})
    )  # JSON is YAML
    assert all(name in fed_data("describe", "--federation", file).output for name in names)
    command = ["describe", "--federation", str(file)]
    shown = Terminal(monkeypatch, columns).shown(lambda: data.main(command, standalone_mode=False))
    assert all(name in re.sub(r"\s", "", shown) for name in names)
    # Below the table are sentences, which a terminal breaks where it ends.
    told = json.loads(fed_data("describe", "--federation", file, "--json").output)
    sentences = {line for shard in told["shards"].values() for line in shard["remarks"]}
    table = [line for line in shown.splitlines() if not any(words in line for words in sentences)]
    assert len(table) > len(names)
    assert max(map(len, table)) <= columns


def test_describe_as_json(speech: Path) -> None:
    options = [
        "--split",
        "speaker",
        "--partition",
        "speaker",
        "--worldsize",
        2,
        "--classes",
        "yes,cat",
        "--seed",
        1,
    ]
    result = fed_data("describe", "--root", speech, *options, "--json")
    told = json.loads(result.output)
    assert told["classes"] == ["yes", "cat"]
    assert list(told["shards"]) == ["0", "1"]
    assert told["shards"]["0"]["train"] == {"samples": 6, "speakers": 3, "classes": {"yes": 3, "cat": 3}}
    assert told["total"]["train"] == {"samples": 12, "speakers": 6, "classes": {"yes": 6, "cat": 6}}
    assert told["shards"]["0"]["fingerprint"] != told["shards"]["1"]["fingerprint"]


def test_describe_shows_empty_shards_rather_than_stopping_at_one(speech: Path) -> None:
    options = [
        "--split",
        "speaker",
        "--partition",
        "speaker",
        "--worldsize",
        7,
        "--classes",
        "ten_words",
        "--json",
    ]
    told = json.loads(fed_data("describe", "--root", speech, *options).output)
    assert [shard["train"]["samples"] for shard in told["shards"].values()] == [10] * 6 + [0]


def test_describe_reads_a_federation_file(speech: Path, tmp_path: Path) -> None:
    entry = "shard_descriptor: {{template: shard_descriptors.speech.speech_commands.SpeechCommandsShard, settings: {}}}"
    lines = [
        f"  {name}: {{{entry.format(f'{{root: {speech}, split: speaker, rank: {rank}, worldsize: 2}}')}}}"
        for rank, name in enumerate(["north", "south"])
    ]
    file = tmp_path / "federation.yaml"
    file.write_text("\n".join(["envoys:", *lines]))
    told = json.loads(fed_data("describe", "--federation", file, "--json").output)
    assert {name: shard["train"]["samples"] for name, shard in told["shards"].items()} == {
        "north": 36,
        "south": 36,
    }
    result = fed_data("describe", "--federation", file, "--seed", 3)
    assert result.exit_code == 2
    assert "leave out --seed" in result.output


def test_describe_tells_wrong_settings_in_one_line(speech: Path) -> None:
    result = fed_data("describe", "--root", speech, "--worldsize", 0)
    assert isinstance(result.exception, InputError)
    assert "worldsize: must be greater than or equal to 1" in str(result.exception)
    assert result.exception.exit_code == 3


def test_synthesise_writes_a_folder_that_describe_reads(tmp_path: Path) -> None:
    target = tmp_path / "speech"
    options = ["--speakers", 5, "--takes", 1, "--seed", 2, "--words", "yes,no,cat", "--background-seconds", 2]
    result = fed_data("synthesise", "-o", target, *options)
    assert result.exit_code == 0, result.output
    assert result.output == f"{target}: 15 clips of 5 speakers\n"
    told = json.loads(
        fed_data("describe", "--root", target, "--split", "speaker", "--classes", "yes,no", "--json").output
    )
    assert told["total"]["train"]["speakers"] == 3

    again = fed_data("synthesise", "-o", target, *options)
    assert again.output.endswith("there already\n")
    other = fed_data("synthesise", "-o", target, *options, "--seed", 3)
    assert isinstance(other.exception, InputError)
    assert fed_data("synthesise", "-o", target, *options, "--seed", 3, "--force", "--quiet").output == ""


def test_the_commands_import_light() -> None:
    heavy = {"torch", "numpy", "scipy", "rich", "pydantic", "datasets"}
    code = f"import sys, shard_descriptors.cli; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"
