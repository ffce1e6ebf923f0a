"""Labelled sentences, read from tab-separated files, SST-2's files, or Hugging Face datasets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.errors import InputError
from federation.files import read_regular
from shard_descriptors.text.sentiment_settings import SentimentShardSettings

log = logging.getLogger(__name__)

SST2_HEADER = "sentence\tlabel"
UNLABELLED = -1  # what SST-2's hidden test set has for labels
MOST_BYTES = 1 << 30  # of a file


@dataclass(frozen=True)
class Sentence:
    """One labelled sentence.

    Attributes
    ----------
    id : str
        Its file (or split) and line: the same wherever the data lies.
    source : str
        The file that it is from.
    published : str
        The split that its authors put it in; "train" where there are none.
    """

    id: str
    text: str
    label: int
    source: str
    published: str = "train"

    @property
    def group(self) -> str:
        """The sentence but for case and spaces: equal ones are one sentence."""
        return " ".join(self.text.casefold().split())


class BadLine(Exception):  # noqa: N818
    """A line that holds no labelled sentence; says why."""


def read_sentences(settings: SentimentShardSettings) -> list[Sentence]:
    """Read all of the source that the settings name; a few malformed lines are listed and skipped.

    Raises
    ------
    InputError
        A missing, empty or unreadable file, too many malformed lines, or a class without sentences.
    """
    name = str(settings.root or settings.hub)
    rows = _hugging_face(settings) if settings.source == "huggingface" else _files(settings)
    sentences: list[Sentence] = []
    bad: list[str] = []
    for where, row in rows:
        if isinstance(row, BadLine):
            bad.append(f"{where}: {row}")
        else:
            sentences.append(row)
    for line in bad:
        log.warning("skipped: %s", line)
    total = len(sentences) + len(bad)
    if len(bad) > settings.max_unreadable * total:
        raise InputError(
            f"{len(bad)} of {total} lines cannot be used, more than max_unreadable {settings.max_unreadable:g} allows; "
            f"the first is {bad[0]}"
        )
    if bad:
        log.warning("skipped %d of %d lines that cannot be used", len(bad), total)
    labels = {sentence.label for sentence in sentences}
    for label, of_class in enumerate(settings.classes):
        if label not in labels:
            raise InputError(
                f"{name}: no sentence of the class {of_class!r} (label {label}); add it or change the setting classes"
            )
    return sentences


Row = tuple[str, Sentence | BadLine]  # where it stands, and what it holds


def _files(settings: SentimentShardSettings) -> Iterator[Row]:
    root = settings.root
    assert root is not None, "checked with the settings"
    if settings.source == "sst2":
        for file, published in ((root / "train.tsv", "train"), (root / "dev.tsv", "test")):
            yield from _lines(file, settings.classes, published, SST2_HEADER)
        return
    if root.is_file():
        files = [root]
    elif root.is_dir():
        files = sorted(
            f for f in root.iterdir() if f.suffix in (".tsv", ".txt") and not f.name.startswith(".")
        )
    else:
        raise InputError(f"{root}: no such file or folder; set root to the sentences")
    if not files:
        raise InputError(f"{root}: no *.tsv or *.txt in it; set root to files of sentence<TAB>label")
    if len({file.stem for file in files}) < len(files):
        raise InputError(f"{root}: two files of the same name but for the ending; rename or remove one")
    for file in files:
        yield from _lines(file, settings.classes, "train", None)


def _lines(file: Path, classes: Sequence[str], published: str, header: str | None) -> Iterator[Row]:
    try:
        content = read_regular(file, MOST_BYTES).removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    if not content.strip():
        raise InputError(f"{file}: empty file; each line must be sentence<TAB>label")
    # Split at line feeds alone: sentences hold other characters that Unicode counts as ends of lines.
    for number, line in enumerate(content.split(b"\n"), 1):
        if number == 1 and header is not None:
            if line.rstrip(b"\r") != header.encode():
                raise InputError(f"{file}:1: must be the header {header!r} of SST-2's files")
        elif line.strip():
            where = f"{file}:{number}"
            try:
                text, label = _parse(line.rstrip(b"\r"), classes)
            except BadLine as error:
                yield where, error
            else:
                yield where, Sentence(f"{file.stem}/{number:06d}", text, label, file.stem, published)


def _parse(line: bytes, classes: Sequence[str]) -> tuple[str, int]:
    try:
        text, tab, label = line.decode().rpartition("\t")
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8 (byte {error.start})") from None
    if not tab:
        raise BadLine("no tab between sentence and label")
    return _sentence(text), _label(label.strip(), classes)


def _sentence(text: Any) -> str:
    if not isinstance(text, str):
        raise BadLine("no sentence")
    if not text.strip():
        raise BadLine("an empty sentence")
    return text.strip()


def _label(label: str, classes: Sequence[str]) -> int:
    if label in classes:
        return list(classes).index(label)
    if label.isascii() and label.isdecimal() and int(label) < len(classes):
        return int(label)
    known = ", ".join(f"{number} ({name})" for number, name in enumerate(classes))
    raise BadLine(f"the label {label[:20]!r} is none of {known[:200]}")


def _hugging_face(settings: SentimentShardSettings) -> Iterator[Row]:
    name, tables = _tables(settings)
    labelled = {split: table for split, table in tables.items() if set(table["label"]) != {UNLABELLED}}
    for split in tables.keys() - labelled.keys():
        log.warning("%s: the split %s has no labels and is left out", name, split)
    # Where the authors keep the test labels to themselves, as for SST-2, what they validate on is tested on.
    hidden = "test" not in labelled
    for split, table in labelled.items():
        published = "test" if hidden and split == "validation" else split
        column = "sentence" if "sentence" in table.column_names else "text"
        names = getattr(table.features["label"], "names", None)
        for row, (text, label) in enumerate(zip(table[column], table["label"], strict=True)):
            where = f"{name}[{split}][{row}]"
            told = (
                names[label] if names and isinstance(label, int) and 0 <= label < len(names) else str(label)
            )
            try:
                yield (
                    where,
                    Sentence(
                        f"{split}/{row:06d}",
                        _sentence(text),
                        _label(told, settings.classes),
                        split,
                        published,
                    ),
                )
            except BadLine as error:
                yield where, error


def _tables(settings: SentimentShardSettings) -> tuple[str, dict[str, Any]]:
    import datasets

    if settings.root is None:
        try:
            opened = datasets.load_dataset(settings.hub)
        except Exception as error:  # the Hub's clients raise many kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{settings.hub}: cannot be had from the Hugging Face Hub; where the network allows, "
                f"load it and save_to_disk, then set root to that folder ({reason})"
            ) from error
    else:
        try:
            opened = datasets.load_from_disk(str(settings.root))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{settings.root}: not a dataset saved by save_to_disk; set root to one"
            ) from error
    name = str(settings.root or settings.hub)
    tables = dict(opened) if isinstance(opened, datasets.DatasetDict) else {"train": opened}
    for split, table in tables.items():
        if split not in ("train", "validation", "test"):
            raise InputError(f"{name}: unknown split {split!r}; known are train, validation, test")
        if "label" not in table.column_names or not {"sentence", "text"} & set(table.column_names):
            raise InputError(
                f"{name}: split {split} must have the columns 'sentence' (or 'text') and 'label'"
            )
    return name, tables
