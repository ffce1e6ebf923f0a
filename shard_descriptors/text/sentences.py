"""Labelled sentences, read from tab-separated files, SST-2's files, or Hugging Face datasets."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.errors import InputError
from federation.text_files import BadText, each_line
from shard_descriptors.folders import sample_files
from shard_descriptors.hugging_face import open_splits
from shard_descriptors.labels import HIDDEN, NoLabel, class_of
from shard_descriptors.remarks import counted
from shard_descriptors.skipped import skip
from shard_descriptors.text.sentiment_settings import SentimentShardSettings

log = logging.getLogger(__name__)

SST2_HEADER = "sentence\tlabel"
SUFFIXES = (".tsv", ".txt")
REMEDY = "set root to files of sentence<TAB>label"


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
        """The sentence but for case, spaces and forms of Unicode: equal ones are one sentence."""
        return " ".join(unicodedata.normalize("NFC", self.text).casefold().split())


class BadLine(Exception):  # noqa: N818
    """A line that holds no labelled sentence; says why."""


def read_sentences(settings: SentimentShardSettings) -> tuple[list[Sentence], Counter[str]]:
    """Read all of the source that the settings name; a few malformed lines are listed and skipped.

    Returns
    -------
    list of Sentence
        In the order of the source.
    Counter of str
        What is left out of it, in words, and how many.

    Raises
    ------
    InputError
        A missing, empty or unreadable file, too many malformed lines, or a class without sentences.
    """
    name = str(settings.root or settings.hub)
    left_out: Counter[str] = Counter()
    from_rows = settings.source == "huggingface"
    rows = _hugging_face(settings, left_out) if from_rows else _files(settings, left_out)
    sentences: list[Sentence] = []
    bad: list[str] = []
    for where, row in rows:
        if isinstance(row, BadLine):
            bad.append(f"{where}: {row}")
        else:
            sentences.append(row)
    skip(bad, len(sentences) + len(bad), settings.max_unreadable, "lines")
    labels = {sentence.label for sentence in sentences}
    for label, of_class in enumerate(settings.classes):
        if label not in labels:
            raise InputError(
                f"{name}: no sentence of the class {of_class!r} (label {label}); add it or change the setting classes"
            )
    left_out["lines that cannot be used"] += len(bad)
    return sentences, +left_out


Row = tuple[str, Sentence | BadLine]  # where it stands, and what it holds


def _files(settings: SentimentShardSettings, left_out: Counter[str]) -> Iterator[Row]:
    root = settings.root
    assert root is not None, "checked with the settings"
    if settings.source == "sst2":
        for file, published in ((root / "train.tsv", "train"), (root / "dev.tsv", "test")):
            yield from _lines(file, settings.classes, published, SST2_HEADER)
        return
    for file in [root] if root.is_file() else _listed(root, left_out):
        yield from _lines(file, settings.classes, "train", None)


def _listed(root: Path, left_out: Counter[str]) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"{root}: no such file or folder; set root to the sentences")
    files, others = sample_files(root, SUFFIXES)
    others["folders"] += others.pop("folders inside those of the classes", 0)
    if not files:
        beside = f" but {counted(+others)}" if +others else ""
        raise InputError(f"{root}: no *.tsv or *.txt in it{beside}; {REMEDY}")
    left_out += others
    return files


def _lines(file: Path, classes: Sequence[str], published: str, header: str | None) -> Iterator[Row]:
    empty, source = True, unicodedata.normalize("NFC", file.stem)
    for number, line in each_line(file, remedy=REMEDY):
        where = f"{file}:{number}"
        if number == 1 and header is not None:
            if line != header:
                raise InputError(f"{where}: must be the header {header!r} of SST-2's files")
        elif isinstance(line, BadText):
            yield where, BadLine(str(line))
        elif line.strip():
            try:
                text, label = _parse(line, classes)
            except BadLine as error:
                yield where, error
            else:
                yield where, Sentence(f"{source}/{number:06d}", text, label, source, published)
        else:
            continue
        empty = False
    if empty:
        raise InputError(f"{file}: empty file; each line must be sentence<TAB>label")


def _parse(line: str, classes: Sequence[str]) -> tuple[str, int]:
    text, tab, label = line.rpartition("\t")
    if not tab:
        raise BadLine("no tab between sentence and label")
    return _sentence(text), _label(label, classes)


def _sentence(text: Any) -> str:
    if not isinstance(text, str):
        raise BadLine("no sentence")
    if not text.strip():
        raise BadLine("an empty sentence")
    return text.strip()


def _label(label: Any, classes: Sequence[str], names: Sequence[str] | None = None) -> int:
    """Return the number of a label among the classes; `names` are those that a column's own numbers count."""
    try:
        told = class_of(label, classes) if names is None else class_of(class_of(label, names), classes)
    except NoLabel as error:
        raise BadLine(str(error)) from None
    return list(classes).index(told)


def _hugging_face(settings: SentimentShardSettings, left_out: Counter[str]) -> Iterator[Row]:
    name, tables = str(settings.root or settings.hub), open_splits(settings.root, settings.hub, settings.hub)
    for split, table in tables.items():
        if "label" not in table.column_names or not {"sentence", "text"} & set(table.column_names):
            raise InputError(
                f"{name}: split {split} must have the columns 'sentence' (or 'text') and 'label'"
            )
    labelled = {
        split: table
        for split, table in tables.items()
        if any(label is not None and label != HIDDEN for label in table["label"])
    }
    for split in tables.keys() - labelled.keys():
        log.warning("%s: the split %s has no labels and is left out", name, split)
        left_out[f"rows of the split {split}, which has no labels"] += len(tables[split])
    # Where the authors keep the test labels to themselves, as for SST-2, what they validate on is tested on.
    hidden = "test" not in labelled
    for split, table in labelled.items():
        published = "test" if hidden and split == "validation" else split
        column = "sentence" if "sentence" in table.column_names else "text"
        names = getattr(table.features["label"], "names", None)
        for row, (text, label) in enumerate(zip(table[column], table["label"], strict=True)):
            where = f"{name}[{split}][{row}]"
            name_of_row = f"{split}/{row:06d}"
            try:
                own, number = _sentence(text), _label(label, settings.classes, names)
                yield where, Sentence(name_of_row, own, number, split, published)
            except BadLine as error:
                yield where, error
