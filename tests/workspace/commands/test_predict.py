"""``fed predict``: a model folder applied to a user's own files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.deployment import FED
from tests.learning_parts import CLASSES, SMALL, Tones
from workspace.attention_plot import save_attention
from workspace.learning.recipe import AttentionMap, build_recipe
from workspace.learning.training import initial_model, train_round


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that tells tones apart, whatever weights its libraries' versions start it from."""
    folder = tmp_path_factory.mktemp("model")
    settings = replace(SMALL, filterbank_start=True, learning_rate=1e-2)
    recipe = build_recipe("keyword_spotting", settings, CLASSES, {})
    trained, clips = initial_model(recipe, seed=1), Tones(60)
    for number in range(10):
        train_round(
            recipe, trained, clips, settings, rounds=10, round_number=number, seed=1, site="a", device="cpu"
        )
    recipe.export(trained, folder)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A file of each tone, the last one at another sampling rate."""
    folder = tmp_path_factory.mktemp("tones")
    files = []
    for clip, name in zip(Tones(3, seed=8), CLASSES, strict=True):
        file = folder / f"{name}.wav"
        if name == CLASSES[-1]:
            soundfile.write(file, np.repeat(clip["audio"], 2), 32000)
        else:
            soundfile.write(file, clip["audio"], 16000)
        files.append(str(file))
    return files


def fed(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [*FED, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_each_file_gets_a_line_with_its_class_and_probability(model: Path, recordings: list[str]) -> None:
    done = fed("predict", model, *recordings)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(file, word) for file, word, _ in lines] == list(zip(recordings, CLASSES, strict=True))
    assert all(1 / len(CLASSES) < float(probability) <= 1 for _, _, probability in lines)


def test_names_may_come_from_standard_input_as_windows_writes_it_and_answers_leave_as_json(
    model: Path, recordings: list[str]
) -> None:
    done = fed("predict", model, "-", "--json", stdin="\ufeff" + "\r\n".join(recordings[:2]) + "\r\n")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["output"] for answer in answers] == list(CLASSES[:2])
    assert all(sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5) for answer in answers)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.wav"], 3, "missing.wav"),
        (["--attention", "maps", "a.wav"], 3, "no attention maps"),
        (["--option", "beam_size=3", "a.wav"], 3, "--option beam_size"),
        (["--option", "beam_size", "a.wav"], 2, "KEY=VALUE"),
        ([], 2, "INPUT"),
    ],
)
def test_what_cannot_be_done_is_one_line(model: Path, arguments: list[str], code: int, message: str) -> None:
    done = fed("predict", model, *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_attention_is_drawn_with_a_panel_for_each_map(tmp_path: Path) -> None:
    maps = [
        AttentionMap(f"head {number}", ["<s>", "je"], ["i", "am", "."], np.full((2, 3), 1 / 3))
        for number in range(5)
    ]
    save_attention(maps[:1], tmp_path / "maps" / "one.png")
    save_attention(maps, tmp_path / "maps" / "five.png")
    one, five = (Image.open(tmp_path / "maps" / f"{name}.png").size for name in ("one", "five"))
    assert (five[0], five[1]) > (3 * one[0], one[1])


def test_the_command_imports_no_torch_to_say_what_is_wrong_with_its_arguments() -> None:
    script = "import sys; sys.modules['torch'] = None; from federation.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "predict", "--help"], capture_output=True, text=True, check=False
    )
    assert "INPUT" in done.stdout, done.stderr
