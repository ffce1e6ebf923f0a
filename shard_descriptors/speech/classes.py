"""The words of Speech Commands and the sets of classes made from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SILENCE = "_silence_"
UNKNOWN = "_unknown_"
BACKGROUND = "_background_noise_"

TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
SUPERB = (*TEN_WORDS, SILENCE, UNKNOWN)  # in the order of the labels of SUPERB's keyword spotting


def class_names(classes: str | Sequence[str], words: Iterable[str]) -> tuple[str, ...]:
    """Resolve the setting `classes`.

    Parameters
    ----------
    classes : str or sequence of str
        ``superb``, ``ten_words``, ``all_words``, or the classes themselves.
    words : iterable of str
        The words that the data has; they are the classes of ``all_words``, sorted.

    Returns
    -------
    tuple of str
        The classes in the order of their labels.
    """
    if classes == "superb":
        return SUPERB
    if classes == "ten_words":
        return TEN_WORDS
    if classes == "all_words":
        return tuple(sorted(set(words) - {SILENCE, UNKNOWN}))
    return tuple(classes)
