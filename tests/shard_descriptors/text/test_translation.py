"""Sentence pairs at a site: where they come from, how they are split and divided, and what is refused."""

from __future__ import annotations

import logging
from itertools import combinations
from pathlib import Path
from typing import Any

import datasets
import pytest

from federation.federation_file import load_federation, open_shard
from shard_descriptors.descriptor import SPLITS
from shard_descriptors.text.translation import TranslationShard
from tests.deployment import write_yaml
from tests.refusals import refusal_of
from tests.translation_data import pairs_entry, sentence_pairs, write_pairs


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.txt")


def refusal(**settings: object) -> str:
    return refusal_of(lambda: TranslationShard(**settings))


def ids(shards: list[TranslationShard], split: Any) -> list[set[str]]:
    return [set(shard.split(split).ids) for shard in shards]


def test_a_sample_is_a_sentence_and_its_translation(file: Path) -> None:
    shard = TranslationShard(root=file, worldsize=2)
    assert shard.classes == ()
    assert shard.class_counts("train") == {}
    samples = [sample for name in SPLITS for sample in shard.split(name)]
    assert {(sample["source"], sample["target"]) for sample in samples} <= set(sentence_pairs())
    assert {tuple(sorted(sample)) for sample in samples} == {("id", "label", "source", "target")}
    swapped = TranslationShard(root=file, swap=True).split("train")[0]
    assert (swapped["target"], swapped["source"]) in sentence_pairs()


@pytest.mark.parametrize("partition", ["stride", "length", "dirichlet"])
def test_every_pair_is_in_exactly_one_shard_and_the_test_is_everyones(file: Path, partition: str) -> None:
    shards = TranslationShard.open_all(root=file, worldsize=3, partition=partition, seed=2)
    held = [ids(shards, "train"), ids(shards, "validation")]
    assert all(not a & b for parts in held for a, b in combinations(parts, 2))
    assert sum(len(part) for parts in held for part in parts) + len(shards[0].split("test")) == 288
    assert len({tuple(shard.split("test").ids) for shard in shards}) == 1
    assert (
        shards[1].fingerprint()
        == TranslationShard(root=file, worldsize=3, partition=partition, seed=2, rank=1).fingerprint()
    )
    assert len({shard.fingerprint() for shard in shards}) == 3


def test_partitions_by_length_give_short_sentences_to_the_first_shard(file: Path) -> None:
    shards = TranslationShard.open_all(root=file, worldsize=3, partition="length")
    lengths = [[len(group.split()) for group in shard.split("train").groups] for shard in shards]
    assert max(lengths[0]) <= min(lengths[1])
    assert max(lengths[1]) <= min(lengths[2])
    assert max(map(len, lengths)) - min(map(len, lengths)) <= 1


def test_a_small_alpha_makes_shards_of_different_lengths(file: Path) -> None:
    def apart(alpha: float) -> float:
        shards = TranslationShard.open_all(root=file, worldsize=2, partition="dirichlet", alpha=alpha, seed=3)
        groups = [shard.split("train").groups for shard in shards]
        one, other = (sum(len(group.split()) == 5 for group in part) / len(part) for part in groups)
        return abs(one - other)

    assert apart(0.3) > 0.3 > 0.1 > apart(1000)


def test_a_source_sentence_with_several_translations_is_in_one_split(tmp_path: Path) -> None:
    lines = [f"Go {n}!\tVa {n} !\nGo {n}!\tPars {n} !\ngo {n}!\tAllez {n} !\n" for n in range(60)]
    file = tmp_path / "pairs.txt"
    file.write_text("".join(lines), "utf-8")
    shard = TranslationShard(root=file, test_share=0.3, validation_share=0.2, worldsize=1)
    groups = [set(shard.split(name).groups) for name in SPLITS]
    assert [len(group) for group in groups] == [30, 12, 18]
    assert not any(a & b for a, b in combinations(groups, 2))
    assert [len(shard.split(name)) for name in SPLITS] == [90, 36, 54]


def test_the_order_of_the_lines_and_repetitions_change_nothing(file: Path, tmp_path: Path) -> None:
    lines = file.read_text("utf-8").splitlines(keepends=True)
    other = tmp_path / "other.txt"
    other.write_text("".join(lines[::-1] + lines[:50]), "utf-8")
    assert TranslationShard(root=other).fingerprint() == TranslationShard(root=file).fingerprint()


def test_long_pairs_are_left_out_and_a_part_can_be_drawn(file: Path) -> None:
    shard = TranslationShard(root=file, max_words=5)
    assert max(len(group.split()) for name in SPLITS for group in shard.split(name).groups) == 5
    few = TranslationShard(root=file, max_samples=100)
    assert sum(len(few.split(name)) for name in SPLITS) == 100
    assert "no pair of at most 2 words; raise max_words" in refusal(root=file, max_words=2)


def test_a_dataset_saved_to_disk_is_opened(tmp_path: Path) -> None:
    rows = [{"en": source, "fr": target} for source, target in sentence_pairs()]
    table = datasets.Dataset.from_dict({"translation": rows})
    table.save_to_disk(tmp_path / "one")
    shard = TranslationShard(source="huggingface", root=tmp_path / "one")
    assert sum(len(shard.split(name)) for name in SPLITS) == 288
    swapped = TranslationShard(source="huggingface", root=tmp_path / "one", languages=["fr", "en"])
    sample = swapped.split("train")[0]
    assert (sample["target"], sample["source"]) in sentence_pairs()
    line = refusal(source="huggingface", root=tmp_path / "one", languages=["en", "de"])
    assert "no translation with 'en' and 'de'; set languages" in line


def test_published_splits_are_kept_but_for_sentences_that_are_tested(tmp_path: Path) -> None:
    rows = [{"en": source, "fr": target} for source, target in sentence_pairs()]
    parts = {"train": rows[:200], "validation": rows[190:240], "test": rows[230:]}
    splits = {name: datasets.Dataset.from_dict({"translation": part}) for name, part in parts.items()}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "three")
    shard = TranslationShard(source="huggingface", root=tmp_path / "three", split="published")
    # A pair that stands in two splits counts where it was read first; nothing that is measured on is trained on.
    assert len(shard.split("train")) == 200
    assert len(shard.split("validation")) == 40
    assert len(shard.split("test")) == 48


def test_a_few_malformed_lines_are_counted_listed_and_skipped(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"no tab here\n\xff\xfe\tx\n\tOui.\n" + file.read_bytes())
    with caplog.at_level(logging.WARNING):
        shard = TranslationShard(root=bad, max_unreadable=0.02)
    for line in (
        f"{bad}:1: no tab between two sentences",
        f"{bad}:2: not UTF-8",
        f"{bad}:3: a sentence without words",
        "skipped 3 of 291 lines that cannot be used",
    ):
        assert line in caplog.text
    assert shard.split("train").ids == TranslationShard(root=file).split("train").ids
    line = refusal(root=bad, max_unreadable=0.01)
    assert "3 of 291 lines cannot be used, more than max_unreadable 0.01 allows" in line
    assert line.endswith(f"the first is {bad}:1: no tab between two sentences")


def test_a_file_of_windows_gives_the_pairs_of_any_other(file: Path, tmp_path: Path) -> None:
    windows = tmp_path / "windows.txt"
    two_columns = b"".join(line.rsplit(b"\t", 1)[0] + b"\r\n" for line in file.read_bytes().splitlines())
    windows.write_bytes(b"\xef\xbb\xbf" + two_columns)
    assert TranslationShard(root=windows).split("train")[:] == TranslationShard(root=file).split("train")[:]
    windows.write_bytes(file.read_bytes().decode().encode("utf-16"))
    assert refusal(root=windows) == (
        f"{windows}: is not a text file in UTF-8 but in UTF-16; save it as UTF-8"
    )


def test_a_line_longer_than_any_sentence_is_no_pair_and_the_next_one_is(file: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_bytes(b"a\t" + b"b" * (1 << 20) + b"\n" + file.read_bytes())
    assert TranslationShard(root=long).split("train").ids == TranslationShard(root=file).split("train").ids
    assert refusal(root=long, max_unreadable=0).endswith(
        f"the first is {long}:1: a line of more than 1,048,576 bytes"
    )


def test_what_is_no_pair_of_the_shard_is_counted_and_told(file: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_bytes(
        file.read_bytes() + b"no tab\n" + b"I see the cat.\tJe vois le chat.\n" + b"a " * 11 + b"\tb\n"
    )
    shard = TranslationShard(root=more, max_samples=200)
    assert sum(len(shard.split(name)) for name in SPLITS) == 200
    assert shard.left_out == {
        "lines that cannot be used": 1,
        "pairs that are there before": 1,
        "pairs of more than 10 words": 1,
        "pairs beyond max_samples": 88,
    }
    assert not TranslationShard(root=file).left_out


def test_rows_with_a_null_in_the_place_of_a_sentence_are_unreadable(tmp_path: Path) -> None:
    rows: list[Any] = [{"en": source, "fr": target} for source, target in sentence_pairs()]
    rows += [None, {"en": None, "fr": "Oui."}, {"en": "Yes.", "fr": None}]
    datasets.Dataset.from_dict({"translation": rows}).save_to_disk(tmp_path / "nulls")
    settings: dict[str, object] = {"source": "huggingface", "root": tmp_path / "nulls"}
    shard = TranslationShard(**settings, max_unreadable=0.02)
    assert sum(len(shard.split(name)) for name in SPLITS) == 288
    assert "3 of 291 lines cannot be used" in refusal(**settings, max_unreadable=0.01)


def test_data_that_is_not_there_is_said_in_one_line(tmp_path: Path, file: Path) -> None:
    remedy = "set root to a text file of sentence pairs"
    assert refusal(root=tmp_path / "none.txt") == f"{tmp_path}/none.txt: there is no such file; {remedy}"
    assert refusal(root=tmp_path) == f"{tmp_path}: is a folder, not a file (Is a directory); {remedy}"
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    assert refusal(root=empty) == f"{empty}: holds no sentence pairs"
    assert "not a dataset saved by save_to_disk" in refusal(source="huggingface", root=tmp_path)
    assert "root is missing" in refusal()
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "text")
    assert "has no column 'translation'" in refusal(source="huggingface", root=tmp_path / "text")


def test_wrong_settings_and_empty_shards_are_said_in_one_line(file: Path) -> None:
    assert "rank 3 is beyond worldsize 3" in refusal(root=file, rank=3, worldsize=3)
    assert "leave nothing to train on" in refusal(root=file, validation_share=0.5, test_share=0.5)
    assert "split: published is for the source huggingface" in refusal(root=file, split="published")
    assert "max_word: unknown key; did you mean max_words?" in refusal(root=file, max_word=3)
    line = refusal(root=file, max_samples=3, worldsize=7, rank=6, test_share=0.0, validation_share=0.0)
    assert line == f"shard 6 of 7 (partition: stride) of {file} is empty; lower worldsize or change partition"


def test_a_hub_that_cannot_be_reached_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    line = refusal(source="huggingface", hub="someone/pairs")
    assert line.startswith("someone/pairs: cannot be had from the Hugging Face Hub; where the network allows")
    assert "save_to_disk" in line


def test_a_federation_file_opens_it(file: Path, tmp_path: Path) -> None:
    entry = {"shard_descriptor": pairs_entry(file, 1, 2)}
    federation = write_yaml(tmp_path / "federation.yaml", {"envoys": {"north": entry}})
    shard = open_shard(load_federation(federation).envoys["north"].shard_descriptor)
    assert shard.dataset == "sentence_pairs_en_fr"
    assert len(shard.split("train"))
