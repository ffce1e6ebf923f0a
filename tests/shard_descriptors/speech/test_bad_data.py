"""Bad data and bad settings: one clear line that names the file or the setting."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from federation.errors import InputError
from federation.federation_file import load_federation, open_shard
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.refusals import refusal_of
from tests.speech_data import make_speech_folder


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speech_folder(tmp_path_factory.getbasetemp() / "speech")


@pytest.fixture
def root(speech: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(speech, tmp_path / "data"))


def refusal(**settings: object) -> str:
    return refusal_of(lambda: SpeechCommandsShard(**{"split": "speaker", **settings}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"not audio at all", "cannot be read as audio"),
        (b"RIFF\x00\x00", "cannot be read"),
    ],
)
def test_a_few_unreadable_files_are_counted_listed_and_skipped(
    root: Path, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
) -> None:
    spoilt = sorted((root / "yes").iterdir())[:3]
    for file in spoilt:
        file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        shard = SpeechCommandsShard(root=root, split="speaker", max_unreadable=0.02)
    for file in spoilt:
        assert f"{file}: {reason}" in caplog.text
    assert "skipped 3 of 180 files" in caplog.text
    held = {name for split in ("train", "validation", "test") for name in shard.split(split).ids}  # type: ignore[arg-type]
    assert held.isdisjoint(f"yes/{file.name}" for file in spoilt)


def test_a_file_without_samples_is_unreadable(root: Path) -> None:
    file = next((root / "yes").iterdir())
    soundfile.write(file, np.zeros(0), 16000)
    assert refusal(root=root, max_unreadable=0.0).endswith(f"the first is {file}: holds no audio")


def test_more_than_the_settable_share_of_unreadable_files_is_an_error(root: Path) -> None:
    spoilt = sorted((root / "yes").iterdir())
    for file in spoilt:
        file.write_bytes(b"")
    line = refusal(root=root)
    assert line.startswith("10 of 180 files cannot be used, more than max_unreadable 0.05 allows")
    assert line.endswith(f"the first is {spoilt[0]}: empty file")


def test_a_wrong_sampling_rate_is_resampled_or_with_strict_named(root: Path) -> None:
    file = next((root / "go").iterdir())
    soundfile.write(file, np.zeros(8000), 8000)
    SpeechCommandsShard(root=root, split="speaker", max_unreadable=0.0)
    line = refusal(root=root, sampling_rate="strict", max_unreadable=0.0)
    assert f"{file}: sampling rate 8000, not 16000" in line


def test_a_bad_background_recording_is_named(root: Path) -> None:
    file = root / "_background_noise_" / "babble.wav"
    file.write_bytes(b"")
    assert refusal(root=root) == f"{file}: empty file"


def test_a_file_that_vanishes_later_is_named(root: Path) -> None:
    train = SpeechCommandsShard(root=root, split="speaker").split("train")
    (root / train.ids[0]).unlink()
    with pytest.raises(InputError, match=train.ids[0]):
        train[0]


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    assert refusal(root=tmp_path / "none").startswith(f"{tmp_path}/none: no such folder; set root")
    assert refusal(root=tmp_path).startswith(f"{tmp_path}: no <word>/*.wav below it")
    assert "root is missing" in refusal()


def test_a_missing_class_is_named(root: Path) -> None:
    shutil.rmtree(root / "left")
    assert (
        refusal(root=root)
        == f"{root}: no recording of the class 'left'; add it or change the setting classes"
    )
    assert "the class 'hello'" in refusal(root=root, classes=["yes", "hello"])


def test_missing_background_recordings_are_named(root: Path) -> None:
    shutil.rmtree(root / "_background_noise_")
    assert "no _background_noise_/*.wav to cut the class _silence_ from" in refusal(root=root)
    SpeechCommandsShard(root=root, split="speaker", classes="ten_words")


def test_background_recordings_that_are_too_short_are_an_error(root: Path) -> None:
    for file in (root / "_background_noise_").iterdir():
        soundfile.write(file, np.zeros(8000), 16000)
    assert "recordings of _background_noise_ are too short" in refusal(root=root)


def test_no_words_for_unknown_are_an_error(root: Path) -> None:
    for word in ("bed", "cat", "happy", "house", "marvin", "seven", "three", "zero"):
        shutil.rmtree(root / word)
    assert "nothing for the class _unknown_" in refusal(root=root)


def test_one_of_two_list_files_is_an_error(root: Path) -> None:
    (root / "testing_list.txt").write_text("")
    assert refusal(root=root).startswith(f"{root}/validation_list.txt: missing beside testing_list.txt")


def test_too_few_speakers_are_an_error(tmp_path: Path) -> None:
    root = make_speech_folder(tmp_path / "data", words=["yes", "no"], speakers=2)
    assert "2 speakers are too few for split: speaker" in refusal(root=root, classes=["yes", "no"])


def test_an_empty_shard_is_an_error(speech: Path) -> None:
    line = refusal(root=speech, partition="speaker", classes="ten_words", worldsize=7, rank=6)
    assert line == (
        f"shard 6 of 7 (partition: speaker) of {speech} is empty; lower worldsize or change partition"
    )


def test_a_rank_beyond_worldsize_is_an_error(speech: Path) -> None:
    assert "rank 3 is beyond worldsize 3; ranks go from 0 to 2" in refusal(root=speech, rank=3, worldsize=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rnk": 1}, "rnk: unknown key; did you mean rank?"),
        ({"worldsize": 0}, "worldsize: must be greater than or equal to 1, not 0"),
        ({"seed": "3"}, "seed: must be a valid integer, not '3'"),
        ({"partition": "random"}, "partition: must be 'stride', 'speaker' or 'dirichlet', not 'random'"),
        ({"alpha": 0.0, "cache_mb": -1}, "cache_mb: must be"),
        ({"validation_share": 0.5, "test_share": 0.5}, "leave nothing to train on"),
        ({"classes": ["yes", "yes"]}, "classes names a class twice"),
    ],
)
def test_wrong_settings_are_named(speech: Path, settings: dict[str, object], message: str) -> None:
    assert message in refusal(root=speech, **settings)


def test_a_federation_file_is_held_to_the_same_settings(speech: Path, tmp_path: Path) -> None:
    shutil.copytree(speech, tmp_path / "words")
    file = tmp_path / "federation.yaml"
    entry = """\
envoys:
  north:
    shard_descriptor:
      template: shard_descriptors.speech.speech_commands.SpeechCommandsShard
      settings: {root: words, split: speaker, rank: RANK, worldsize: 2}
"""
    file.write_text(entry.replace("RANK", "1"))
    shard = open_shard(load_federation(file).envoys["north"].shard_descriptor)
    assert shard.class_counts("train")["yes"] == 3
    file.write_text(entry.replace("RANK", "2"))
    with pytest.raises(InputError, match=r"federation.yaml:5: .*rank 2 is beyond worldsize 2"):
        load_federation(file)
