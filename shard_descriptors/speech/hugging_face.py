"""Recordings of words in Hugging Face data sets: from the Hub, or saved to disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import Any

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, SplitName
from shard_descriptors.hugging_face import open_splits
from shard_descriptors.labels import NoLabel, class_of, names_in, same_name
from shard_descriptors.speech.audio import SAMPLING_RATE, EmbeddedFile, UnreadableAudio, read_background
from shard_descriptors.speech.classes import SILENCE
from shard_descriptors.speech.corpus import Background, Corpus, Recording, published_split, speaker_of
from shard_descriptors.speech.settings import SpeechCommandsSettings


def from_hugging_face(settings: SpeechCommandsSettings) -> Corpus:
    """List the recordings of a data set; rows with nulls are what cannot be used.

    Raises
    ------
    InputError
        It cannot be had, has other splits or columns, or no recording of a word.
    """
    name, tables = _tables(settings)
    published = len(tables) > 1
    recordings: list[Recording] = []
    backgrounds: list[Background] = []
    unusable: list[str] = []
    left_out: Counter[str] = Counter()
    for split, table in tables.items():
        rows = list(_rows(name, split, table))
        if rows and not any(label for _, label, _, _ in rows):
            left_out[f"rows of the split {split}, which has no labels"] += len(rows)
            continue
        for row, label, path, problem in rows:
            base = same_name(PureWindowsPath(path).name)  # which are separated by slashes of both kinds
            file = EmbeddedFile(table, row, f"{name}[{split}][{row}] {base}")
            if problem:
                unusable.append(f"{name}[{split}][{row}]: {problem}")
            elif label == SILENCE and _is_long(file):
                backgrounds.append(Background(f"{split}/{row:06d}/{base}", file))
            else:
                recordings.append(
                    Recording(
                        id=f"{split}/{row:06d}/{base}",
                        word=label,
                        speaker=speaker_of(base),
                        file=file,
                        published=split if published else published_split(base),
                    )
                )
    if not recordings:
        bare = f": the split {next(iter(tables))} has no labels" if left_out else ""
        first = f"; the first row is {unusable[0]}" if unusable else ""
        raise InputError(f"{name}: holds no recordings of words{bare}{first}")
    return Corpus(name, recordings, backgrounds, unusable, left_out)


def _rows(name: str, split: str, table: Any) -> Iterator[tuple[int, str, str, str]]:
    """Yield number, label and path of every row, and what is wrong with it."""
    names = names_in(table, "label", f"{name}: split {split}")
    paths = _column(table, "file") if "file" in table.column_names else _column(table, "audio", "path")
    somewhere = any(paths)
    for row, (cell, path) in enumerate(zip(_column(table, "label"), paths, strict=True)):
        try:
            label, problem = same_name(class_of(cell, names)), ""
        except NoLabel as error:
            label, problem = "", str(error)
        # Where no row has one, as in a data set made of arrays, each is a speaker of its own.
        if somewhere and not path and not problem:
            problem = "no path, which names the speaker"
        yield row, label, path or str(row), problem


def _column(table: Any, *names: str) -> list[Any]:
    """Read one column without decoding or copying the others; of structs, one field."""
    import pyarrow.compute as compute

    cells: list[Any] = []
    for chunk in (
        table.select_columns(names[0]).with_format("arrow")[:][names[0]].chunks if len(table) else ()
    ):
        for name in names[1:]:
            chunk = compute.struct_field(chunk, name)
        cells += chunk.to_pylist()
    return cells


def _tables(settings: SpeechCommandsSettings) -> tuple[str, dict[SplitName, Any]]:
    """Open the dataset with its audio left as encoded bytes, so that soundfile decodes it."""
    import datasets

    path, config = HUB[settings.hub]
    tables = open_splits(settings.root, settings.hub, path, name=config, revision=PARQUET)
    name = str(settings.root or settings.hub)
    for split, table in tables.items():
        if missing := {"audio", "label"} - set(table.column_names):
            raise InputError(f"{name}: split {split} has no column {min(missing)!r}")
    undecoded = datasets.Audio(sampling_rate=SAMPLING_RATE, decode=False)
    return name, {split: tables[split].cast_column("audio", undecoded) for split in SPLITS if split in tables}


def _is_long(file: EmbeddedFile) -> bool:
    try:
        return read_background(file).seconds >= 2
    except UnreadableAudio:
        return False  # reported with the other recordings


# The Hub's own conversion: `datasets` no longer runs the scripts that these two were published as.
PARQUET = "refs/convert/parquet"
HUB = {"superb/ks": ("s3prl/superb", "ks"), "google/speech_commands": ("google/speech_commands", "v0.02")}
