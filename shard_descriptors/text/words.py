"""Text as words, and the words of a federation counted without any text leaving its site.

Each site counts its own training words and hands over only words and counts (``fed data words``); the counts of all sites make
a vocabulary (``fed data vocabulary``). A word that a site has fewer times than a minimum, or that fewer sites than a minimum
know, stays out: rare words, such as names, are what tells people apart.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from federation.errors import InputError
from federation.text_files import read_text

# A word keeps the apostrophe that ties it to the next one, as in "l'" + "homme" or "don'" + "t".
_TOKEN = re.compile(r"\w+['’](?=\w)|\w+|[^\w\s]")
_CLOSING = re.compile(r"\s+([.,;:!?…)\]}%»])")
_OPENING = re.compile(r"([(\[{«])\s+")
_APOSTROPHE = re.compile(r"(\w['’])\s+(?=\w)")
MOST_BYTES = 1 << 28


def words(text: str) -> list[str]:
    """Split a text into lower-case words and punctuation marks.

    Parameters
    ----------
    text : str
        In any Unicode normal form.

    Returns
    -------
    list of str
        In order; `joined` makes a text of them again.
    """
    return _TOKEN.findall(unicodedata.normalize("NFC", text).casefold().replace("’", "'"))


def joined(tokens: Sequence[str]) -> str:
    """Make a text of words and punctuation marks, spaced as English is."""
    text = _CLOSING.sub(r"\1", " ".join(tokens))
    return _APOSTROPHE.sub(r"\1", _OPENING.sub(r"\1", text))


def count_words(samples: Iterable[Mapping[str, Any]], field: str, minimum: int = 1) -> dict[str, int]:
    """Count the words of a text field of a site's samples.

    Parameters
    ----------
    samples
        A split of a shard.
    field
        Which entry of a sample: ``text``, ``source`` or ``target``.
    minimum
        Words with fewer occurrences are left out.

    Returns
    -------
    dict of str to int
        Most frequent first, ties by the word.

    Raises
    ------
    InputError
        If samples have no such text.
    """
    count: Counter[str] = Counter()
    for sample in samples:
        text = sample.get(field)
        if not isinstance(text, str):
            known = ", ".join(name for name, value in sample.items() if isinstance(value, str))
            raise InputError(f"--field {field}: samples of this shard have no such text; they have {known}")
        count.update(words(text))
    return {word: n for word, n in _ranked(count) if n >= minimum}


def merge_counts(counts: Sequence[Mapping[str, int]], size: int, minimum_sites: int = 1) -> list[str]:
    """Make a vocabulary of the sites' counts: the most frequent words of all sites together.

    Parameters
    ----------
    counts
        One for each site.
    size
        How many words at most.
    minimum_sites
        Words that fewer sites have are left out.
    """
    total: Counter[str] = Counter()
    sites: Counter[str] = Counter()
    for count in counts:
        total.update(count)
        sites.update(count.keys())
    return [word for word, _ in _ranked(total) if sites[word] >= minimum_sites][:size]


def read_counts(file: Path) -> dict[str, int]:
    """Read a site's counts, which came from elsewhere.

    Raises
    ------
    InputError
        If the file is not a mapping of words to positive counts.
    """
    try:
        counts = json.loads(read_text(file, MOST_BYTES, "write it with fed data words"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no counts of words; write them with fed data words ({error})") from error
    sound = isinstance(counts, dict) and all(type(n) is int and n > 0 for n in counts.values())
    if not sound or any(word.split() != [word] for word in counts):
        raise InputError(f"{file}: must be a mapping of words to counts, as fed data words writes it")
    return dict(counts)


def _ranked(count: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(count.items(), key=lambda item: (-item[1], item[0]))
