"""Where sentence pairs come from: a text file with tabs, or Hugging Face datasets."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from federation.errors import InputError
from federation.text_files import BadText, each_line
from shard_descriptors.descriptor import SPLITS, SplitName
from shard_descriptors.hugging_face import open_splits
from shard_descriptors.skipped import skip
from shard_descriptors.text.translation_settings import TranslationShardSettings
from shard_descriptors.text.words import words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Two sentences that say the same.

    Attributes
    ----------
    id : str
        Of the two sentences alone, the same wherever they stand.
    group : str
        The source sentence as words: what must not be in two splits.
    length, longest : int
        The words and punctuation marks of the source sentence, and of the longer of the two.
    published : {"train", "validation", "test"}
        The split in which the dataset's authors put it.
    """

    id: str
    source: str
    target: str
    group: str
    length: int
    longest: int
    published: SplitName


Found = Pair | str  # or what is wrong, and where


def read_pairs(settings: TranslationShardSettings) -> tuple[list[Pair], Counter[str]]:
    """Read the pairs that the settings name, without those that are too long, each once.

    Returns
    -------
    list of Pair
        Sorted by id.
    Counter of str
        What is left out, in words, and how many.

    Raises
    ------
    InputError
        If the data cannot be opened, too many lines hold no pair, or none is left.
    """
    name = str(settings.root or settings.hub)
    found = _from_file(settings) if settings.source == "pairs" else _from_hugging_face(name, settings)
    pairs: dict[str, Pair] = {}
    left_out: Counter[str] = Counter()
    for pair in _sound(name, found, settings.max_unreadable, left_out):
        if pair.longest > settings.max_words:
            left_out[f"pairs of more than {settings.max_words} words"] += 1
        elif pair.id in pairs:
            left_out["pairs that are there before"] += 1
        else:
            pairs[pair.id] = pair
    if not pairs:
        raise InputError(f"{name}: no pair of at most {settings.max_words} words; raise max_words")
    return [pairs[key] for key in sorted(pairs)], +left_out


def _sound(
    name: str, found: Iterable[Found], max_unreadable: float, left_out: Counter[str]
) -> Iterator[Pair]:
    """Pass on what holds a pair; skip and list what does not, unless it is too much."""
    bad, count = [], 0
    for count, one in enumerate(found, 1):  # noqa: B007
        if isinstance(one, str):
            bad.append(one)
        else:
            yield one
    if not count:
        raise InputError(f"{name}: holds no sentence pairs")
    skip(bad, count, max_unreadable, "lines")
    left_out["lines that cannot be used"] += len(bad)


def _from_file(settings: TranslationShardSettings) -> Iterator[Found]:
    assert settings.root is not None, "checked with the settings"
    for number, line in each_line(settings.root, remedy="set root to a text file of sentence pairs"):
        yield _from_line(f"{settings.root}:{number}", line, settings.swap)


def _from_line(where: str, line: str | BadText, swap: bool) -> Found:
    if isinstance(line, BadText):
        return f"{where}: {line}"
    columns = line.split("\t")
    if len(columns) < 2:
        return f"{where}: no tab between two sentences"
    first, second = columns[1::-1] if swap else columns[:2]
    return _found(where, first, second, "train")


def _found(where: str, source: str, target: str, published: SplitName) -> Found:
    own, other = words(source), words(target)
    if not own or not other:
        return f"{where}: a sentence without words"
    source, target = source.strip(), target.strip()
    return Pair(
        id=hashlib.sha256(f"{source}\t{target}".encode()).hexdigest()[:24],
        source=source,
        target=target,
        group=" ".join(own),
        length=len(own),
        longest=max(len(own), len(other)),
        published=published,
    )


def _from_hugging_face(name: str, settings: TranslationShardSettings) -> Iterator[Found]:
    one, other = settings.languages
    tables = open_splits(settings.root, str(settings.hub), str(settings.hub), name=settings.hub_config)
    for split, table in tables.items():
        if "translation" not in table.column_names:
            raise InputError(f"{name}: split {split} has no column 'translation'")
    for split in (split for split in SPLITS if split in tables):
        for row, both in enumerate(tables[split]["translation"]):
            where = f"{name}[{split}][{row}]"
            source, target = (both.get(one), both.get(other)) if isinstance(both, dict) else (None, None)
            if isinstance(source, str) and isinstance(target, str):
                yield _found(where, source, target, split)
            else:
                yield f"{where}: no translation with {one!r} and {other!r}; set languages"
