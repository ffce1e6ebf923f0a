"""Rows with nulls in Hugging Face data sets are unreadable, as files are that cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import pytest

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.speech_data import write_word_folders

WORDS = ["lion", "tiger"]


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, list[Any]]:
    """Forty good rows."""
    names = write_word_folders(tmp_path / "files", WORDS, clips=20)
    return {
        "audio": [
            {"bytes": (tmp_path / "files" / name).read_bytes(), "path": Path(name).name} for name in names
        ],
        "label": [WORDS.index(name.partition("/")[0]) for name in names],
        "file": [f"C:\\data\\{name}".replace("/", "\\") for name in names],
    }


def saved(folder: Path, rows: dict[str, list[Any]], label: Any = None) -> Path:
    """Save rows as they are, audio as bytes and path: `datasets` itself stumbles over some nulls where it sees a sound."""
    plain = {
        "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        "label": label or datasets.Value("int64"),
        "file": datasets.Value("string"),
    }
    table = datasets.Dataset.from_dict(rows, features=datasets.Features({name: plain[name] for name in rows}))
    if label is None:
        table = table.cast_column("label", datasets.ClassLabel(names=WORDS))
    table.save_to_disk(str(folder))
    return folder


def opened(root: Path, **settings: object) -> SpeechCommandsShard:
    return SpeechCommandsShard(
        **{
            "source": "huggingface",
            "root": root,
            "classes": "all_words",
            "split": "speaker",
            "max_unreadable": 0.05,
            **settings,
        }
    )


def count(shard: SpeechCommandsShard) -> int:
    return sum(len(shard.split(name)) for name in SPLITS)


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("label", None, "no label"),
        ("label", -1, r"no label (-1)"),
        ("audio", None, "holds no audio"),
        ("audio", {"bytes": None, "path": None}, "holds no audio"),
        ("audio", {"bytes": b"", "path": "a.wav"}, "empty file"),
        ("audio", {"bytes": None, "path": "/nowhere/a.wav"}, "cannot be read as audio"),
        ("file", None, "no path, which names the speaker"),
        ("file", "", "no path, which names the speaker"),
    ],
)
def test_a_row_with_a_null_is_skipped_under_the_share_that_may_be(
    tmp_path: Path,
    rows: dict[str, list[Any]],
    caplog: pytest.LogCaptureFixture,
    column: str,
    cell: object,
    reason: str,
) -> None:
    rows[column][7] = cell
    root = saved(tmp_path / "data", rows)
    with caplog.at_level(logging.WARNING):
        shard = opened(root)
    assert count(shard) == 39
    assert dict(shard.left_out) == {"recordings that cannot be used": 1}
    assert f"skipped: {root}[train][7]" in caplog.text
    assert reason in caplog.text
    assert len([shard.split("train")[i] for i in range(5)]) == 5
    with pytest.raises(InputError, match=r"1 of 40 files cannot be used, .*; the first is .*\[train\]\[7\]"):
        opened(root, max_unreadable=0.0)


def test_speakers_are_told_by_paths_of_windows_too(tmp_path: Path, rows: dict[str, list[Any]]) -> None:
    shard = opened(saved(tmp_path / "data", rows), max_unreadable=0.0)
    assert {group for name in SPLITS for group in shard.split(name).groups} == {f"{n:08x}" for n in range(20)}


def test_a_data_set_without_any_path_numbers_its_rows(tmp_path: Path, rows: dict[str, list[Any]]) -> None:
    del rows["file"]
    for cell in rows["audio"]:
        cell["path"] = None
    shard = opened(saved(tmp_path / "data", rows), max_unreadable=0.0)
    assert len({group for name in SPLITS for group in shard.split(name).groups}) == 40


def test_labels_of_text_are_names_and_null_is_none(tmp_path: Path, rows: dict[str, list[Any]]) -> None:
    rows["label"] = [WORDS[label] for label in rows["label"]]
    rows["label"][0], rows["label"][1] = None, "  "
    shard = opened(saved(tmp_path / "data", rows, label=datasets.Value("string")))
    assert shard.classes == tuple(WORDS)
    assert count(shard) == 38


def test_a_split_whose_labels_are_kept_secret_is_left_out(tmp_path: Path, rows: dict[str, list[Any]]) -> None:
    secret = {**rows, "label": [-1] * 40}
    parts = {
        "train": datasets.load_from_disk(str(saved(tmp_path / "a", rows))),
        "test": datasets.load_from_disk(str(saved(tmp_path / "b", secret))),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "both"))
    shard = opened(tmp_path / "both", max_unreadable=0.0)
    assert count(shard) == 40
    assert dict(shard.left_out) == {"rows of the split test, which has no labels": 40}


def test_a_data_set_without_a_single_label_says_so(tmp_path: Path, rows: dict[str, list[Any]]) -> None:
    rows["label"] = [None] * 40
    with pytest.raises(InputError, match="holds no recordings of words: the split train has no labels"):
        opened(saved(tmp_path / "data", rows))


def test_seconds_of_silence_are_on_all_sides_of_a_split_by_speaker(
    tmp_path: Path, rows: dict[str, list[Any]]
) -> None:
    del rows["file"]
    names = [*WORDS, "_silence_"]
    rows["label"] = [names[label] for label in rows["label"]]
    for number in range(20):
        rows["audio"].append({**rows["audio"][0], "path": f"silence{number}.wav"})
        rows["label"].append("_silence_")
    shard = opened(saved(tmp_path / "data", rows, label=datasets.Value("string")), classes=names)
    assert [shard.class_counts(name)["_silence_"] for name in SPLITS] == [13, 3, 4]
    assert [shard.class_counts(name)["lion"] for name in SPLITS] == [13, 3, 4]
