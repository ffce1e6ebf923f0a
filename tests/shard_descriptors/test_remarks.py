"""What people are told of a shard beside its counts: what it leaves out, and what there is too little of."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from shard_descriptors.cli import data
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.speech_data import write_clip, write_word_folders


def described(root: Path, *options: object) -> str:
    words = ["describe", "--root", root, "--classes", "all_words", "--split", "speaker", *options]
    result = CliRunner().invoke(data, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def remarks(root: Path, **settings: object) -> list[str]:
    return SpeechCommandsShard(
        root=root, **{"classes": "all_words", "split": "speaker", **settings}
    ).remarks()


def test_describe_says_in_one_line_what_is_left_out(tmp_path: Path) -> None:
    write_word_folders(tmp_path)
    for name in (".DS_Store", "notes.txt", "more.txt", "bad.wav"):
        (tmp_path / "lion" / name).write_bytes(b"no sound")
    lines = described(tmp_path, "--worldsize", 3).splitlines()
    told = "left out: files ending in .txt (2), hidden files (1), recordings that cannot be used (1)"
    assert lines.count(told) == 1
    [first, *_] = json.loads(described(tmp_path, "--json"))["shards"].values()
    assert first["left_out"] == {
        "files ending in .txt": 2,
        "hidden files": 1,
        "recordings that cannot be used": 1,
    }


def test_nothing_is_said_where_nothing_is_left_out_and_there_is_enough(tmp_path: Path) -> None:
    write_word_folders(tmp_path, clips=70)
    assert remarks(tmp_path) == []
    assert "left out" not in described(tmp_path)


def test_one_sample_to_validate_on_is_said(tmp_path: Path) -> None:
    write_word_folders(tmp_path, ["lion"], clips=10)
    told = remarks(tmp_path, validation_share=0.1, test_share=0.2)
    assert told == [
        "validation has only 1 sample: one is 100 % of the accuracy",
        "test has only 2 samples: one is 50 % of the accuracy",
    ]
    assert set(told) < set(described(tmp_path, "--validation-share", 0.1, "--test-share", 0.2).splitlines())


def test_two_speakers_to_test_on_are_said_however_much_they_say(tmp_path: Path) -> None:
    for speaker in range(8):
        for take in range(15):
            write_clip(tmp_path / "lion" / f"{speaker:08x}_nohash_{take}.wav")
    write_clip(tmp_path / "_background_noise_" / "noise.wav", seconds=90)
    told = remarks(tmp_path, classes=["lion", "_silence_"], validation_share=0.0, test_share=0.25)
    assert told == ["test has only 2 speakers: what is measured on them says little of others"]


def test_a_class_that_a_shard_cannot_train_is_named(tmp_path: Path) -> None:
    write_word_folders(tmp_path, clips=40)
    write_clip(tmp_path / "zebra" / "00000000_nohash_0.wav")
    shards = SpeechCommandsShard.open_all(root=tmp_path, classes="all_words", split="speaker", worldsize=2)
    lines = [line for shard in shards for line in shard.remarks() if "class" in line]
    assert lines == ["train has no sample of the class 'zebra'"]
    assert "train has no sample of the class 'zebra'" in described(tmp_path, "--worldsize", 2)


def test_recordings_whose_names_say_no_speaker_are_counted(tmp_path: Path) -> None:
    """As in the Free Spoken Digit Dataset: 0_george_0.wav."""
    for take in range(100):
        write_clip(tmp_path / "zero" / f"0_george_{take}.wav")
    write_clip(tmp_path / "zero" / "00000000_nohash_0.wav")
    assert remarks(tmp_path)[-1].startswith("100 of 101 recordings have no speaker before _nohash_")
