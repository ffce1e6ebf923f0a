"""Train, validation and test: as published, or by speaker; and how shards divide them."""

from __future__ import annotations

import hashlib
import re
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from shard_descriptors.descriptor import SPLITS
from shard_descriptors.speech.corpus import published_split
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.speech_data import make_speech_folder


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speech_folder(tmp_path_factory.getbasetemp() / "speech")


def open_shard(root: Path, **settings: object) -> SpeechCommandsShard:
    return SpeechCommandsShard(root=root, **{"split": "speaker", **settings})


def open_all(root: Path, **settings: object) -> list[SpeechCommandsShard]:
    return [open_shard(root, rank=rank, **settings) for rank in range(settings["worldsize"])]  # type: ignore[call-overload]


def which_set(filename: str) -> str:
    """The rule as the README of Speech Commands prints it, with 10 % each."""
    hash_name = re.sub(r"_nohash_.*$", "", filename)
    hash_name_hashed = hashlib.sha1(hash_name.encode()).hexdigest()
    percentage_hash = (int(hash_name_hashed, 16) % (2**27 - 1 + 1)) * (100.0 / (2**27 - 1))
    if percentage_hash < 10:
        return "validation"
    return "test" if percentage_hash < 20 else "train"


def test_the_published_rule_is_the_readmes() -> None:
    names = [f"{number:08x}_nohash_{number % 5}.wav" for number in range(0, 2**32, 2**32 // 2000)]
    told = [published_split(name) for name in names]
    assert told == [which_set(name) for name in names]
    assert 150 < told.count("validation") < 250
    assert 150 < told.count("test") < 250
    # From the lists of Speech Commands v0.02:
    assert published_split("0c40e715_nohash_0.wav") == which_set("0c40e715_nohash_1.wav")


def test_published_follows_the_rule_where_there_are_no_lists(tmp_path: Path) -> None:
    root = make_speech_folder(tmp_path / "data", words=["yes", "no"], speakers=40)
    shard = open_shard(root, split="published", classes=["yes", "no"])
    for name in SPLITS:
        assert all(which_set(id_.split("/")[1]) == name for id_ in shard.split(name).ids)
    assert sum(len(shard.split(name)) for name in SPLITS) == 80


def test_published_follows_the_list_files_where_present(speech: Path, tmp_path: Path) -> None:
    root = shutil.copytree(speech, tmp_path / "data")
    files = sorted(f"{file.parent.name}/{file.name}" for file in root.glob("*/*_nohash_*.wav"))
    (root / "validation_list.txt").write_text("\n".join(files[0::4]) + "\n")
    (root / "testing_list.txt").write_text("\n".join([*files[1::4], "yes/not_here_nohash_0.wav"]) + "\n")
    shard = open_shard(root, split="published", classes="all_words")
    assert shard.split("validation").ids == files[0::4]
    assert shard.split("test").ids == files[1::4]
    assert shard.split("train").ids == sorted(files[2::4] + files[3::4])


def test_split_by_speaker_keeps_speakers_whole_and_takes_shares_of_them(speech: Path) -> None:
    shard = open_shard(speech, classes="all_words", validation_share=0.3, test_share=0.2)
    speakers = [set(shard.split(name).groups) for name in SPLITS]
    assert [len(held) for held in speakers] == [5, 3, 2]
    assert all(not first & second for first, second in combinations(speakers, 2))
    other = open_shard(speech, classes="all_words", validation_share=0.3, test_share=0.2, seed=1)
    assert set(other.split("test").groups) != speakers[2]


def test_the_speakers_of_test_do_not_depend_on_the_classes(speech: Path) -> None:
    ten, all_ = open_shard(speech, classes="ten_words"), open_shard(speech, classes="all_words")
    assert set(ten.split("test").groups) == set(all_.split("test").groups)


@pytest.mark.parametrize("partition", ["stride", "speaker", "dirichlet"])
@pytest.mark.parametrize("classes", ["superb", "ten_words"])
def test_shards_divide_train_and_validation_and_share_test(
    speech: Path, partition: str, classes: str
) -> None:
    whole = open_shard(speech, classes=classes, silence_share=5.0)
    shards = open_all(speech, classes=classes, silence_share=5.0, partition=partition, worldsize=3, alpha=5.0)
    for name in ("train", "validation"):
        held = [id_ for shard in shards for id_ in shard.split(name).ids]
        assert sorted(held) == sorted(whole.split(name).ids)  # every sample in exactly one shard
        seconds = [{group for group in shard.split(name).groups if "@" in group} for shard in shards]
        assert all(not first & second for first, second in combinations(seconds, 2))
    assert all(shard.split("test").ids == whole.split("test").ids for shard in shards)
    test_speakers = set(whole.split("test").groups)
    assert all(test_speakers.isdisjoint(shard.split(name).groups) for shard in shards for name in SPLITS[:2])


@pytest.mark.parametrize("partition", ["stride", "speaker", "dirichlet"])
def test_opening_all_ranks_at_once_gives_the_same_shards(speech: Path, partition: str) -> None:
    apart = open_all(speech, partition=partition, worldsize=2)
    together = SpeechCommandsShard.open_all(root=speech, split="speaker", partition=partition, worldsize=2)
    assert [shard.fingerprint() for shard in apart] == [shard.fingerprint() for shard in together]


def test_stride_gives_sample_i_to_shard_i_mod_worldsize(speech: Path) -> None:
    whole = open_shard(speech, classes="ten_words").split("train")
    for rank, shard in enumerate(open_all(speech, classes="ten_words", worldsize=4)):
        assert shard.split("train").ids == whole.ids[rank::4]


def test_partition_by_speaker_gives_whole_speakers_balanced_by_clips(speech: Path) -> None:
    shards = open_all(speech, classes="all_words", partition="speaker", worldsize=3)
    speakers = [set(shard.split("train").groups) for shard in shards]
    assert all(not first & second for first, second in combinations(speakers, 2))
    assert [len(shard.split("train")) for shard in shards] == [36, 36, 36]


def test_dirichlet_skews_the_labels_the_more_the_smaller_alpha_is(speech: Path) -> None:
    def spread(alpha: float) -> float:
        shards = SpeechCommandsShard.open_all(
            root=speech, split="speaker", classes="all_words", partition="dirichlet", alpha=alpha, worldsize=3
        )
        counts = np.array([list(shard.class_counts("train").values()) for shard in shards])
        return float((counts / counts.sum(axis=0)).std(axis=0).mean())

    assert spread(0.1) > 2 * spread(100.0)


def test_dirichlet_draws_from_the_seed(speech: Path) -> None:
    first, again, other = (
        open_shard(speech, partition="dirichlet", alpha=5.0, worldsize=2, seed=seed).class_counts("train")
        for seed in (0, 0, 1)
    )
    assert first == again != other
