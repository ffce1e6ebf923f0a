"""What a Speech Commands shard gives: classes, clips of one second, a fingerprint."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from shard_descriptors.descriptor import SPLITS, concatenate
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.speech_data import make_speech_folder

WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
SUPERB = [*WORDS, "_silence_", "_unknown_"]


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speech_folder(tmp_path_factory.getbasetemp() / "speech")


def open_shard(root: Path, **settings: object) -> SpeechCommandsShard:
    return SpeechCommandsShard(root=root, **{"split": "speaker", **settings})


def test_a_sample_is_one_second_of_float32_with_label_speaker_and_id(speech: Path) -> None:
    train = open_shard(speech, classes="ten_words").split("train")
    sample = train[0]
    assert set(sample) == {"audio", "label", "speaker", "id"}
    assert sample["audio"].shape == (16000,)
    assert sample["audio"].dtype == np.float32
    assert (sample["label"], sample["speaker"], sample["id"]) == (
        train.labels[0],
        train.groups[0],
        train.ids[0],
    )
    original, _ = soundfile.read(speech / sample["id"], dtype="float32")
    np.testing.assert_array_equal(sample["audio"], original)


def test_a_split_is_a_sequence(speech: Path) -> None:
    train = open_shard(speech).split("train")
    assert len(train) == len(train.labels) == len(train.groups) == len(train.ids) == len(set(train.ids))
    assert train[-1]["id"] == train.ids[-1]
    assert [sample["id"] for sample in train[2:4]] == train.ids[2:4]
    with pytest.raises(IndexError):
        train[len(train)]


def test_the_shard_says_what_it_holds(speech: Path) -> None:
    shard = open_shard(speech)
    assert shard.dataset == "speech_commands"
    assert "16 kHz" in shard.sample_description
    assert "keyword" in shard.target_description
    assert shard.class_counts("train") == dict.fromkeys(
        SUPERB, 6
    )  # 10 speakers: 6 train, 2 validation, 2 test
    assert shard.class_counts("test") == dict.fromkeys(SUPERB, 2)


def test_superb_classes_are_in_the_order_of_its_labels(speech: Path) -> None:
    assert open_shard(speech).classes == tuple(SUPERB)


def test_the_classes_are_ten_words_or_all_words_or_those_that_are_named(speech: Path) -> None:
    assert open_shard(speech, classes="ten_words").classes == tuple(SUPERB[:10])
    assert set(open_shard(speech, classes="all_words").classes) == {
        folder.name for folder in speech.iterdir() if folder.is_dir() and folder.name != "_background_noise_"
    }
    named = open_shard(speech, classes=["zero", "cat", "_unknown_"])
    assert named.classes == ("zero", "cat", "_unknown_")
    train = named.split("train")
    assert {
        name.split("/")[0] for name, label in zip(train.ids, train.labels, strict=True) if label == 1
    } == {"cat"}


def test_unknown_is_drawn_from_the_remaining_words_by_seed_and_share(speech: Path) -> None:
    def unknown(**settings: object) -> set[str]:
        train = open_shard(speech, **settings).split("train")
        return {name for name, label in zip(train.ids, train.labels, strict=True) if label == 11}

    drawn = unknown()
    assert {name.split("/")[0] for name in drawn}.isdisjoint(SUPERB)
    assert len(drawn) == 6
    assert len(unknown(unknown_share=2.0)) == 12
    assert drawn < unknown(unknown_share=2.0)
    assert drawn == unknown()
    assert drawn != unknown(seed=1)


def test_silence_is_cut_from_background_recordings_each_second_in_one_split(speech: Path) -> None:
    shard = open_shard(speech, silence_share=2.0)
    seconds: dict[str, set[str]] = {}
    for name in SPLITS:
        split = shard.split(name)
        silent = [index for index, label in enumerate(split.labels) if label == 10]
        assert len(silent) == 2 * shard.class_counts(name)["yes"]
        seconds[name] = {split.groups[index] for index in silent}
        for index in silent:
            recording, second = split.groups[index].split("@")
            whole, _ = soundfile.read(speech / "_background_noise_" / recording, dtype="float32")
            expected = whole[int(second) * 16000 : (int(second) + 1) * 16000]
            np.testing.assert_array_equal(split[index]["audio"], expected)
    assert sum(len(held) for held in seconds.values()) == len(set.union(*seconds.values()))


def test_more_silence_than_seconds_is_the_same_seconds_at_other_volumes(speech: Path) -> None:
    train = open_shard(speech, silence_share=20.0).split("train")
    silent = [index for index, label in enumerate(train.labels) if label == 10]
    assert len(silent) == 120
    assert len({train[index]["audio"].tobytes() for index in silent}) == 120
    assert max(np.abs(train[index]["audio"]).max() for index in silent) <= 1


def test_the_silence_and_unknown_folders_of_the_test_archive_are_left_out(
    speech: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(speech, tmp_path / "data")
    for name in ("_silence_", "_unknown_"):
        shutil.copytree(root / "zero", root / name)
    assert open_shard(root).fingerprint() == open_shard(speech).fingerprint()
    assert open_shard(root, classes="all_words").classes == open_shard(speech, classes="all_words").classes


@pytest.mark.parametrize(("rate", "channels", "seconds"), [(8000, 1, 1.0), (44100, 2, 0.5), (22050, 1, 1.7)])
def test_other_rates_channels_and_lengths_become_one_second_at_16_khz(
    speech: Path, tmp_path: Path, rate: int, channels: int, seconds: float
) -> None:
    root = shutil.copytree(speech, tmp_path / "data")
    tone = np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate) * 0.5
    for file in (root / "yes").iterdir():
        soundfile.write(file, np.stack([tone] * channels, axis=1), rate)
    audio = open_shard(root, classes=["yes", "no"]).split("train")[-1][
        "audio"
    ]  # ids are sorted: no, then yes
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000) * 0.5
    voiced = min(16000, int(seconds * 16000))
    assert np.abs(audio[200 : voiced - 200] - expected[200 : voiced - 200]).max() < 0.01
    assert not audio[voiced:].any()


def test_clips_are_kept_in_memory_where_they_fit_and_sound_the_same(speech: Path, tmp_path: Path) -> None:
    root = shutil.copytree(speech, tmp_path / "data")
    kept = open_shard(root, classes="ten_words").split("train")
    not_kept = open_shard(root, classes="ten_words", cache_mb=0).split("train")
    for first, second in zip(kept, not_kept, strict=True):
        np.testing.assert_array_equal(first["audio"], second["audio"])
    shutil.rmtree(root)
    assert kept[0]["audio"].any()
    with pytest.raises(Exception, match=kept.ids[0]):
        not_kept[0]


def test_a_sample_can_be_changed_without_changing_the_next_reading(speech: Path) -> None:
    train = open_shard(speech).split("train")
    before = train[0]["audio"].copy()
    train[0]["audio"][:] = 0
    np.testing.assert_array_equal(train[0]["audio"], before)


def test_concatenated_splits_are_the_pooled_data(speech: Path) -> None:
    shards = SpeechCommandsShard.open_all(root=speech, split="speaker", worldsize=3)
    splits = [shard.split("train") for shard in shards]
    pooled = concatenate(splits)
    assert pooled.ids == [name for split in splits for name in split.ids]
    assert [sample["id"] for sample in pooled] == pooled.ids
    assert [sample["label"] for sample in pooled] == pooled.labels.tolist()
    assert sorted(pooled.ids) == sorted(open_shard(speech).split("train").ids)
    assert len(concatenate([])) == 0


def test_the_fingerprint_is_of_the_samples_not_of_the_place(speech: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(speech, tmp_path / "elsewhere")
    print_ = open_shard(speech).fingerprint()
    assert open_shard(copy, cache_mb=0).fingerprint() == print_
    assert open_shard(speech, seed=1).fingerprint() != print_
    assert open_shard(speech, rank=1, worldsize=2).fingerprint() != print_
    next((copy / "yes").iterdir()).unlink()
    assert open_shard(copy).fingerprint() != print_


def test_another_process_and_another_order_of_files_give_the_same_shard(speech: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    for file in sorted(speech.rglob("*.wav"), reverse=True):
        (turned / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, turned / file.parent.name)
    code = (
        "import sys; from shard_descriptors.speech.speech_commands import SpeechCommandsShard as Shard\n"
        "for kind in ('stride', 'speaker', 'dirichlet'):\n"
        "    print(Shard(root=sys.argv[1], split='speaker', partition=kind, worldsize=2).fingerprint())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, turned],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONHASHSEED": "7"},
    )
    assert told.stdout.split() == [
        open_shard(speech, partition=kind, worldsize=2).fingerprint()
        for kind in ("stride", "speaker", "dirichlet")
    ]


def test_an_empty_validation_is_warned_about(speech: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        shard = open_shard(speech, validation_share=0.0)
    assert len(shard.split("validation")) == 0
    assert "holds no sample of the split validation" in caplog.text
