"""An interval over speakers is one over speakers: silence has none, and two of them are too few to say much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tests.learning_parts import SMALL, Tones, small_recipe
from tests.speech_data import write_clip, write_word_folders
from workspace.commands.machine import evaluate
from workspace.learning.evaluation import bootstrap_interval, measure
from workspace.learning.training import initial_model

RECIPE = small_recipe(("low", "middle", "_silence_"))


class WithSilence(Tones):
    """Clips of speakers, and of the third class seconds that belong to nobody."""

    def __init__(self, count: int, speakers: int) -> None:
        super().__init__(count)
        for number, sample in enumerate(self):
            silent = sample["label"] == 2
            sample["speaker"] = f"noise.wav@{number}" if silent else f"s{number % speakers}"

    @property
    def labels(self) -> Any:
        return np.array([sample["label"] for sample in self])


def measured(split: Any, **settings: Any) -> Any:
    return measure(RECIPE, initial_model(RECIPE, 1), split, SMALL, device="cpu", **settings)


def test_seconds_of_silence_are_no_speakers() -> None:
    found = measured(WithSilence(60, 7), group_name="speakers", without_groups=["_silence_"])
    assert (found.groups, found.group_name, found.samples) == (7, "speakers", 60)
    assert np.array(found.confusion).sum() == 60
    assert found.caution == ""
    assert found.low <= found.score <= found.high


@pytest.mark.parametrize(
    ("speakers", "told"), [(1, "only 1 speaker:"), (2, "only 2 speakers:"), (4, "only 4")]
)
def test_few_speakers_are_said(speakers: int, told: str) -> None:
    found = measured(WithSilence(12, speakers), group_name="speakers", without_groups=["_silence_"])
    assert found.groups == speakers
    assert found.caution.startswith(told)


def test_a_split_of_silence_alone_is_measured_all_the_same() -> None:
    split = WithSilence(12, 2)
    split[:] = [sample for sample in split if sample["label"] == 2]
    assert measured(split, without_groups=["_silence_"]).samples == 4


def test_evaluate_says_over_how_many_speakers_and_that_they_are_few(tmp_path: Path) -> None:
    write_word_folders(tmp_path / "data", ["low", "middle"], clips=10)
    write_clip(tmp_path / "data" / "_background_noise_" / "noise.wav", seconds=20)
    settings = {"root": "data", "classes": list(RECIPE.classes), "split": "speaker"}
    template = "shard_descriptors.speech.speech_commands.SpeechCommandsShard"
    entry = {"shard_descriptor": {"template": template, "settings": settings}}
    file = tmp_path / "federation.yaml"
    file.write_text(yaml.safe_dump({"envoys": {"north": entry}, "test": entry}))
    RECIPE.export(initial_model(RECIPE, 1), tmp_path / "model")
    told = CliRunner().invoke(evaluate, [str(tmp_path / "model"), "--on", str(file)])
    assert told.exit_code == 0, told.output
    assert "(95 % interval over 2 speakers: " in told.output
    assert ", 6 samples" in told.output
    assert "\nonly 2 speakers: on others the model may do worse" in told.output


def sums(right: Sequence[int]) -> list[dict[str, Any]]:
    return [{"right": np.asarray(one), "count": np.asarray(10)} for one in right]


def score(some: Any) -> float:
    return float(some["right"] / some["count"])


def test_what_belongs_to_nobody_is_drawn_beside_the_groups_and_not_for_them() -> None:
    """Speakers of whom all is right, beside seconds of which none is: each draw has as many of both."""
    assert bootstrap_interval(sums([10] * 4), score, apart=sums([0] * 12)) == (0.25, 0.25)
    low, high = bootstrap_interval(sums([10] * 4 + [0] * 12), score)
    assert high - low > 0.2


def test_without_what_belongs_to_nobody_the_draws_are_as_ever() -> None:
    right = [9, 5, 7, 8, 2, 10]
    drawn = np.random.default_rng(3).integers(0, 6, (2000, 6))
    expected = np.percentile(np.array(right)[drawn].sum(axis=1) / 60, [2.5, 97.5])
    assert bootstrap_interval(sums(right), score, 3) == pytest.approx(tuple(expected), abs=1e-12)
