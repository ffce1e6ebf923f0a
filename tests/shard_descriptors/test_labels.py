"""What is a label and what is none: one rule for recordings, images and sentences."""

from __future__ import annotations

import datasets
import numpy as np
import pytest

from federation.errors import InputError
from shard_descriptors.labels import NoLabel, class_of, names_in, same_name

NAMES = ("no", "café", "7")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no", "no"),
        (" no\r", "no"),
        ("cafe\u0301", "café"),  # NFD
        (0, "no"),
        (np.int64(1), "café"),
        (1.0, "café"),  # what pandas makes of whole numbers where a null is among them
        ("1", "café"),
        ("7", "7"),  # a name before a number
    ],
)
def test_a_name_or_its_number_says_a_class(value: object, told: str) -> None:
    assert class_of(value, NAMES) == told


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no label"),
        (float("nan"), "no label"),
        (np.float32("nan"), "no label"),
        (-1, r"no label \(-1\)"),
        ("-1", r"no label \(-1\)"),
        ("", "an empty label"),
        (" \t", "an empty label"),
        (3, r"the label 3 is none of 0 \(no\), 1 \(café\), 2 \(7\)"),
        ("maybe", r"the label 'maybe' is none of 0 \(no\)"),
        (0.5, "the label 0.5 is neither a name nor a whole number"),
        (float("inf"), "the label inf is neither"),
        (True, "the label True is neither"),
        (["no"], "the label \\['no'\\] is neither a name nor"),
        ("9" * 5000, "the label '9.* is none of"),
    ],
)
def test_what_says_none_says_why(value: object, why: str) -> None:
    with pytest.raises(NoLabel, match=f"^({why})"):
        class_of(value, NAMES)


def test_without_names_any_text_is_a_class_and_no_number_is() -> None:
    assert class_of("lion") == "lion"
    assert class_of("3") == "3"
    for value in (3, None, "", -1, float("nan")):
        with pytest.raises(NoLabel):
            class_of(value)


def test_a_name_is_the_same_in_both_forms_of_unicode() -> None:
    assert same_name("cafe\u0301") == same_name("café") == "café"
    assert class_of("cafe\u0301") == "café"
    assert class_of("café", ["cafe\u0301"]) == "cafe\u0301"


def test_a_column_of_numbers_without_names_is_refused_whole() -> None:
    table = datasets.Dataset.from_dict({"number": [0, None], "text": ["a", None], "nothing": [None, None]})
    named = table.cast_column("number", datasets.ClassLabel(names=["no", "yes"]))
    assert names_in(named, "number", "data") == ("no", "yes")
    assert names_in(table, "text", "data") is None
    assert names_in(table, "nothing", "data") is None
    with pytest.raises(InputError, match="data: the column 'number' holds numbers without names"):
        names_in(table, "number", "data")
