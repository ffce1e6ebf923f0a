"""Shards of labelled sentences: formats, splits, partitions; and bad data in one clear line."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import pytest

from shard_descriptors.descriptor import SPLITS
from shard_descriptors.text.sentiment import SentimentShard
from tests.refusals import refusal_of
from tests.sentiment_data import CLASSES, SOURCES, make_sentences, sentences

UCI = os.environ.get("UCI_SENTIMENT_ROOT", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sentences(tmp_path_factory.mktemp("sentences"))


@pytest.fixture
def root(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "data"))


def refusal(**settings: object) -> str:
    return refusal_of(lambda: SentimentShard(**settings))


def shards(root: Path | None, worldsize: int = 3, **settings: object) -> list[SentimentShard]:
    return SentimentShard.open_all(root=root, worldsize=worldsize, **settings)


def groups(shard: SentimentShard, *names: str) -> set[str]:
    return {group for name in names for group in shard.split(name).groups}  # type: ignore[arg-type]


def save_dataset(path: Path, **splits: Sequence[tuple[str, int]]) -> Path:
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=CLASSES)}
    )
    tables = {
        name: datasets.Dataset.from_dict(
            {"sentence": [text for text, _ in rows], "label": [label for _, label in rows]}, features
        )
        for name, rows in splits.items()
    }
    datasets.DatasetDict(tables).save_to_disk(path)
    return path


def write_sst2(path: Path) -> Path:
    path.mkdir()
    for name, source in (("train", "films"), ("dev", "food")):
        lines = [f"{text}\t{label}\n" for text, label in sentences(source, 40)]
        (path / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(lines))
    (path / "test.tsv").write_text("index\tsentence\n0\tWithout a label .\n")
    return path


def test_a_sample_is_a_sentence_with_its_label_and_where_it_stands(root: Path) -> None:
    train = SentimentShard(root=root).split("train")
    sample = train[0]
    file, line = sample["id"].split("/")
    assert (root / f"{file}.tsv").read_text().split("\n")[
        int(line) - 1
    ] == f"{sample['text']}\t{sample['label']}"
    assert train.ids == sorted(train.ids)
    assert train.groups[0] == sample["text"].lower()


def test_splits_are_drawn_by_seed_and_together_are_everything(folder: Path) -> None:
    shard, again, other = (SentimentShard(root=folder, seed=seed) for seed in (1, 1, 2))
    assert [len(shard.split(name)) for name in SPLITS] == [84, 12, 24]
    assert shard.fingerprint() == again.fingerprint() != other.fingerprint()
    assert len({name for split in SPLITS for name in shard.split(split).ids}) == 120


def test_equal_sentences_are_in_one_split_only(root: Path) -> None:
    text = (root / "films.tsv").read_text()
    (root / "again.tsv").write_text(text.upper().replace(" ", "  "))
    shard = SentimentShard(root=root)
    every = [groups(shard, name) for name in SPLITS]
    assert sum(map(len, every)) == len(set.union(*every)) == 120
    assert sum(len(shard.split(name)) for name in SPLITS) == 160


@pytest.mark.parametrize("partition", ["stride", "source", "dirichlet"])
def test_every_sentence_goes_to_one_shard_and_the_test_to_all(folder: Path, partition: str) -> None:
    opened = shards(folder, partition=partition, alpha=0.5)
    whole = SentimentShard(root=folder)
    for name in ("train", "validation"):
        held = [sample for shard in opened for sample in shard.split(name).ids]  # type: ignore[arg-type]
        assert sorted(held) == whole.split(name).ids  # type: ignore[arg-type]
    assert all(shard.split("test").ids == whole.split("test").ids for shard in opened)
    alone = SentimentShard(root=folder, partition=partition, alpha=0.5, worldsize=3, rank=1)
    assert alone.fingerprint() == opened[1].fingerprint()


def test_the_natural_partition_gives_each_shard_whole_files(folder: Path) -> None:
    opened = shards(folder, partition="source")
    held = [{name.split("/")[0] for s in SPLITS[:2] for name in shard.split(s).ids} for shard in opened]
    assert sorted(map(list, held)) == [[source] for source in SOURCES]


def test_dirichlet_shards_differ_in_their_classes(folder: Path) -> None:
    counts = [
        shard.class_counts("train")["positive"] for shard in shards(folder, partition="dirichlet", alpha=0.2)
    ]
    assert max(counts) - min(counts) > 10


def test_a_sentence_may_hold_tabs_and_what_unicode_counts_as_the_end_of_a_line(tmp_path: Path) -> None:
    odd = ["A\x85good\u2028one", "two\tparts", "plain"]
    lines = [f"{text}  \t{label}\r\n" for text in odd for label in ("1", "negative")]
    (tmp_path / "odd.txt").write_bytes("\ufeff".encode() + "".join(lines).encode())
    shard = SentimentShard(root=tmp_path / "odd.txt", validation_share=0, test_share=0)
    assert [sample["text"] for sample in shard.split("train")] == [text for text in odd for _ in range(2)]
    assert shard.split("train").labels.tolist() == [1, 0] * 3


def save_rows(path: Path, columns: Mapping[str, Sequence[object]], **features: object) -> Path:
    datasets.Dataset.from_dict(dict(columns), datasets.Features(features)).save_to_disk(path)
    return path


TEXT, NUMBER = datasets.Value("string"), datasets.Value("float64")


@pytest.mark.parametrize(
    "label",
    [datasets.ClassLabel(names=CLASSES), datasets.Value("int64"), NUMBER, TEXT],
    ids=["class", "int", "float", "text"],
)
def test_a_few_rows_without_text_or_label_are_counted_listed_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, label: datasets.ClassLabel | datasets.Value
) -> None:
    rows: list[tuple[str | None, object]] = [*sentences("films", 40), (None, 1), ("Fine.", None), ("", 0)]
    if label == TEXT:
        rows = [(text, value if value is None else CLASSES[value]) for text, value in rows]  # type: ignore[call-overload]
    if label == NUMBER:
        rows += [("Dull.", float("nan")), ("Poor.", 0.5)]
    columns = {"sentence": [text for text, _ in rows], "label": [value for _, value in rows]}
    root = save_rows(tmp_path / "rows", columns, sentence=TEXT, label=label)
    with caplog.at_level(logging.WARNING):
        shard = SentimentShard(root=root, source="huggingface", max_unreadable=0.2)
    assert sum(len(shard.split(name)) for name in SPLITS) == 40
    assert sum(shard.class_counts("train").values()) == 28
    for row, why in ((40, "no sentence"), (41, "no label"), (42, "an empty sentence")):
        assert f"skipped: {root}[train][{row}]: {why}" in caplog.text
    assert f"{len(rows) - 40} of {len(rows)} lines cannot be used, more than max_unreadable 0.02" in refusal(
        root=root, source="huggingface", max_unreadable=0.02
    )


def test_a_split_whose_labels_are_null_has_none(tmp_path: Path) -> None:
    features = datasets.Features({"text": TEXT, "label": datasets.ClassLabel(names=CLASSES)})
    parts = {
        "train": {"text": [text for text, _ in sentences("films", 20)], "label": [0, 1] * 10},
        "validation": {"text": [text for text, _ in sentences("food", 20)], "label": [0, 1] * 10},
        "test": {"text": [text for text, _ in sentences("phones", 20)], "label": [None] * 20},
    }
    tables = {name: datasets.Dataset.from_dict(rows, features) for name, rows in parts.items()}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "hidden")
    shard = SentimentShard(root=tmp_path / "hidden", source="huggingface", split="published")
    assert shard.split("test").ids[0] == "validation/000000"


def test_a_class_is_the_same_in_both_forms_of_unicode(tmp_path: Path) -> None:
    decomposed, composed = "mediocre\u0301", "mediocr\u00e9"
    (tmp_path / "french.tsv").write_text(f"Assez bon\tbon\nPas bon\t{decomposed}\n" * 5, "utf-8")
    settings: dict[str, object] = {"root": tmp_path / "french.tsv", "validation_share": 0, "test_share": 0}
    shard = SentimentShard(classes=["bon", composed], **settings)
    assert shard.class_counts("train") == {"bon": 5, composed: 5}
    assert "classes names a class twice" in refusal(classes=[decomposed, composed], **settings)


def test_what_is_no_file_of_sentences_is_counted_and_told(root: Path) -> None:
    (root / "food.tsv").rename(root / "food.TSV")
    for name in ("notes.md", "films.csv", "food.csv", ".films.tsv.swp", "LICENSE"):
        (root / name).write_text("no sentences")
    (root / "raw").mkdir()
    with (root / "phones.tsv").open("a") as file:
        file.write("no tab\n")
    shard = SentimentShard(root=root)
    assert sum(len(shard.split(name)) for name in SPLITS) == 120
    assert shard.left_out == {
        "files ending in .csv": 2,
        "files ending in .md": 1,
        "files without an ending": 1,
        "hidden files": 1,
        "folders": 1,
        "lines that cannot be used": 1,
    }
    for name in ("food.TSV", "films.tsv", "phones.tsv"):
        (root / name).unlink()
    assert "no *.tsv or *.txt in it but files ending in .csv (2), files ending in .md (1)" in refusal(
        root=root
    )


def test_files_of_windows_give_the_sentences_of_any_other(root: Path) -> None:
    plain = SentimentShard(root=root)
    for file in root.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    shard = SentimentShard(root=root)
    assert shard.fingerprint() == plain.fingerprint()
    assert [one["text"] for one in shard.split("train")] == [one["text"] for one in plain.split("train")]
    (root / "food.tsv").write_bytes((root / "food.tsv").read_bytes().decode("utf-8-sig").encode("utf-16"))
    assert refusal(root=root) == (
        f"{root}/food.tsv: is not a text file in UTF-8 but in UTF-16; save it as UTF-8"
    )


def test_sst2_files_are_read_with_dev_as_the_test(tmp_path: Path) -> None:
    shard = SentimentShard(root=write_sst2(tmp_path / "sst2"), source="sst2", split="published")
    assert [len(shard.split(name)) for name in SPLITS] == [36, 4, 40]
    assert {name.split("/")[0] for name in shard.split("test").ids} == {"dev"}
    both = SentimentShard(root=tmp_path / "sst2", source="sst2")
    assert [len(both.split(name)) for name in SPLITS] == [56, 8, 16]


def test_a_saved_dataset_whose_test_labels_are_hidden_is_tested_on_its_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, dev, test = (sentences(source, 20) for source in SOURCES)
    hidden = [(text, -1) for text, _ in test]
    root = save_dataset(tmp_path / "sst2", train=train, validation=dev, test=hidden)
    with caplog.at_level(logging.WARNING):
        shard = SentimentShard(root=root, source="huggingface", split="published")
    assert [len(shard.split(name)) for name in SPLITS] == [18, 2, 20]
    assert shard.split("test").ids[0] == "validation/000000"
    assert "the split test has no labels and is left out" in caplog.text
    assert shard.left_out == {"rows of the split test, which has no labels": 20}


def test_a_dataset_with_three_labelled_splits_is_taken_as_it_is_but_for_repetitions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, dev, test = (sentences(source, 20) for source in SOURCES)
    root = save_dataset(tmp_path / "own", train=[*train, *test[:3], dev[0]], validation=dev, test=test)
    with caplog.at_level(logging.WARNING):
        shard = SentimentShard(root=root, source="huggingface", split="published")
    assert [len(shard.split(name)) for name in SPLITS] == [20, 20, 20]
    assert not groups(shard, "train") & groups(shard, "validation", "test")
    assert "left out 4 sentences that a later split repeats" in caplog.text
    assert shard.left_out == {"sentences that a later split repeats": 4}


def test_a_dataset_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(root=tmp_path, source="huggingface").startswith(
        f"{tmp_path}: not a dataset saved by save_to_disk"
    )
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"review": ["a"]})}).save_to_disk(
        tmp_path / "x"
    )
    assert "must have the columns 'sentence' (or 'text') and 'label'" in refusal(
        root=tmp_path / "x", source="huggingface"
    )
    saved = save_dataset(tmp_path / "one", train=sentences("films", 20))
    assert "has no labelled test set; set split: random" in refusal(
        root=saved, source="huggingface", split="published"
    )
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "cannot be had from the Hugging Face Hub" in refusal(source="huggingface", split="published")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no tab at all", "no tab between sentence and label"),
        (b"a sentence\t2", "the label 2 is none of 0 (negative), 1 (positive)"),
        (b"a sentence\t", "an empty label"),
        (b"a sentence\t-1", "no label (-1)"),
        (b"a sentence\tgood", "the label 'good' is none of 0 (negative), 1 (positive)"),
        (b"a" * (1 << 20) + b"\t1", "a line of more than 1,048,576 bytes"),
        (b"   \t1", "an empty sentence"),
        (b"caf\xe9\t1", "not UTF-8 (byte 3)"),
    ],
)
def test_a_few_malformed_lines_are_counted_listed_and_skipped(
    root: Path, caplog: pytest.LogCaptureFixture, line: bytes, reason: str
) -> None:
    file = root / "food.tsv"
    file.write_bytes(file.read_bytes() + line + b"\n")
    with caplog.at_level(logging.WARNING):
        shard = SentimentShard(root=root)
    assert f"skipped: {file}:41: {reason}" in caplog.text
    assert "skipped 1 of 121 lines that cannot be used" in caplog.text
    assert sum(len(shard.split(name)) for name in SPLITS) == 120
    message = refusal(root=root, max_unreadable=0.0)
    assert message.startswith(
        "1 of 121 lines cannot be used, more than max_unreadable 0 allows; the first is"
    )
    assert f"{file}:41: {reason}" in message


def test_a_line_that_cannot_be_used_is_not_quoted(root: Path) -> None:
    (root / "food.tsv").write_text("Something private that nobody else may read\n" * 40)
    assert "private" not in refusal(root=root)


def test_missing_and_empty_files_are_named(root: Path, tmp_path: Path) -> None:
    assert refusal(root=tmp_path / "none").startswith(f"{tmp_path}/none: no such file or folder; set root")
    (tmp_path / "empty").mkdir()
    assert refusal(root=tmp_path / "empty").startswith(f"{tmp_path}/empty: no *.tsv or *.txt in it")
    (root / "food.tsv").write_text("\n")
    assert refusal(root=root).startswith(f"{root}/food.tsv: empty file")
    (root / "films.txt").write_text("good\t1\n")
    assert "films.tsv and films.txt differ in their endings alone" in refusal(root=root)
    assert refusal(root=root, source="sst2") == (
        f"{root}/train.tsv: there is no such file; set root to files of sentence<TAB>label"
    )
    write_sst2(tmp_path / "sst2")
    (tmp_path / "sst2" / "dev.tsv").write_text("good\t1\n")
    assert "dev.tsv:1: must be the header 'sentence\\tlabel'" in refusal(
        root=tmp_path / "sst2", source="sst2"
    )


def test_a_missing_class_is_named(root: Path) -> None:
    line = refusal(root=root, classes=["negative", "positive", "neutral"])
    assert line == (
        f"{root}: no sentence of the class 'neutral' (label 2); add it or change the setting classes"
    )


def test_an_empty_shard_is_an_error(folder: Path) -> None:
    assert refusal(root=folder, partition="source", worldsize=4, rank=3) == (
        f"shard 3 of 4 (partition: source) of {folder} is empty; lower worldsize or change partition"
    )
    assert [len(shard.split("train")) for shard in shards(folder, 4, partition="source")][3] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 3, "worldsize": 3}, "rank 3 is beyond worldsize 3; ranks go from 0 to 2"),
        ({"rnk": 1}, "rnk: unknown key; did you mean rank?"),
        ({"seed": "3"}, "seed: must be a valid integer, not '3'"),
        ({"partition": "file"}, "partition: must be 'stride', 'source' or 'dirichlet', not 'file'"),
        ({"validation_share": 0.5, "test_share": 0.5}, "leave nothing to train on"),
        ({"classes": ["a", "a"]}, "classes names a class twice"),
        ({"classes": ["a"]}, "classes: "),
        ({"split": "published"}, "split: published is for sst2 and huggingface"),
        ({"source": "sst2", "partition": "source"}, "sst2 tells no origins"),
        ({"root": None}, "root is missing"),
        ({"test_share": 0.99, "validation_share": 0.005}, "sentences are too few"),
    ],
)
def test_wrong_settings_are_named(folder: Path, settings: dict[str, object], message: str) -> None:
    if "test_share" in settings and settings["test_share"] == 0.99:
        small = folder.parent / "small.tsv"
        small.write_text("good\t1\nbad\t0\n")
        settings = {**settings, "root": small}
    assert message in refusal(**{"root": folder, **settings})


@pytest.mark.skipif(not UCI, reason="UCI_SENTIMENT_ROOT is not set: no real sentences here")
def test_the_real_sentences_of_three_sites() -> None:
    opened = shards(Path(UCI), partition="source", max_unreadable=0.0)
    held = [{name.split("_")[0] for name in shard.split("train").ids} for shard in opened]
    assert sorted(map(list, held)) == [["amazon"], ["imdb"], ["yelp"]]
    for shard in opened:
        train, test = groups(shard, "train", "validation"), groups(shard, "test")
        assert not train & test
        counts = shard.class_counts("train")
        assert 0.4 < counts["positive"] / sum(counts.values()) < 0.6
    total = sum(len(s.split(name)) for s in opened for name in SPLITS[:2]) + len(opened[0].split("test"))
    assert total > 2000
    assert 0.15 < len(opened[0].split("test")) / total < 0.25
