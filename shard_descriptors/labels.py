"""What a cell of a column of labels says: a class, or none. One rule for recordings, images and sentences."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from numbers import Real
from typing import Any

from federation.errors import InputError
from federation.printing import printable

HIDDEN = -1
"""What Hugging Face's data sets have for a label that their authors keep to themselves."""


class NoLabel(Exception):  # noqa: N818
    """A cell that names no class; says why, for the person who looks for the row."""


def same_name(name: str) -> str:
    """Return a name in the one form in which names are compared, whichever a system wrote it in.

    Notes
    -----
    It is NFC (Unicode Standard Annex 15), without white space at its ends: macOS and some archives write ``café`` in NFD, which
    looks the same and is another string.
    """
    return unicodedata.normalize("NFC", name).strip()


def class_of(value: Any, names: Sequence[str] | None = None) -> str:
    """Return the name of the class that a cell says.

    Parameters
    ----------
    value
        A name; or, where there are `names`, a number that counts them from 0, as such or in decimal digits.
    names : sequence of str, optional
        All that there are, in the order of their numbers; without them any text is a name.

    Returns
    -------
    str
        As in `names`, or in the form of `same_name`.

    Raises
    ------
    NoLabel
        Of null, NaN, an empty text, ``-1``, a number without names, and all that is none of `names`.
    """
    if isinstance(value, str):
        if not same_name(value):
            raise NoLabel("an empty label")
        return _of_text(same_name(value), names)
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
    if value is None or (number is not None and math.isnan(number)):
        raise NoLabel("no label")
    if number is None or not number.is_integer():
        raise NoLabel(f"the label {_shown(value)} is neither a name nor a whole number")
    return _of_number(int(number), names)


def _of_text(name: str, names: Sequence[str] | None) -> str:
    if names is None:
        return name
    for known in names:
        if same_name(known) == name:
            return known
    if name.isascii() and name.removeprefix("-").isdecimal() and len(name) < 20:
        return _of_number(int(name), names)
    raise NoLabel(f"the label {_shown(name)} is none of {_all(names)}")


def _of_number(number: int, names: Sequence[str] | None) -> str:
    if number == HIDDEN:
        raise NoLabel("no label (-1)")
    if names is None:
        raise NoLabel(f"the label {number} is a number without a name")
    if not 0 <= number < len(names):
        raise NoLabel(f"the label {number} is none of {_all(names)}")
    return names[number]


def names_in(table: Any, column: str, where: str) -> tuple[str, ...] | None:
    """Return the names that the numbers in a column of a Hugging Face data set stand for; None where it holds the names.

    Parameters
    ----------
    table : datasets.Dataset
        One split.
    column : str
        Of the labels.
    where : str
        Where the data set comes from, for the message.

    Raises
    ------
    InputError
        If it holds numbers and no names of them: no row has a class.
    """
    feature = table.features[column]
    names = getattr(feature, "names", None)
    if names is not None:
        return tuple(names)
    if getattr(feature, "dtype", "") in ("string", "large_string", "null"):
        return None
    raise InputError(f"{where}: the column {column!r} holds numbers without names; save it as a ClassLabel")


def _all(names: Sequence[str]) -> str:
    return printable(", ".join(f"{number} ({name})" for number, name in enumerate(names)), 200)


def _shown(value: object) -> str:
    return printable(repr(value), 40)
