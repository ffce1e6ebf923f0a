"""Readers of bytes: whatever they are given, they read it or say in one line that it cannot be read.

Beside the examples that were found, half a minute looks for others; ``pytest -m sweep`` looks longer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from federation import document, statistics
from federation.engine.results import TaskOutput
from federation.errors import InputError, Refused
from federation.plan import plan_from_json
from federation.tensors import TensorSpec, check_update, pack, unpack
from tests.deployment import TINY_PLAN

NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from([0, 1, 4, 2**31, 2**63, 2**64, 10**400, math.inf, math.nan]),
)
JSON = st.recursive(
    st.one_of(NUMBERS, st.text(st.characters())),
    lambda one: st.one_of(
        st.lists(one, max_size=4), st.dictionaries(st.text(st.characters()), one, max_size=4)
    ),
    max_leaves=12,
)
CODES = st.sampled_from(["F64", "F32", "F16", "I64", "I8", "BOOL", "BF16", "", None])
ENTRY = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {
            "dtype": CODES,
            "shape": st.one_of(st.lists(NUMBERS, max_size=3), JSON),
            "data_offsets": st.lists(NUMBERS),
        }
    ),
    st.builds(
        lambda shape, start: {
            "dtype": "I8",
            "shape": shape,
            "data_offsets": [start, start + int(np.prod(shape))],
        },
        st.lists(st.integers(0, 3), max_size=3),
        st.integers(0, 4),
    ),
)
HEADERS = st.lists(st.tuples(st.text(st.characters(), max_size=5), ENTRY), max_size=4)

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=30_000)


def layout(pairs: list[tuple[str, Any]], data: bytes = b"") -> bytes:
    """A header whose names may stand twice, as no dict can have it."""
    told = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs)
    return framed(f"{{{told}}}".encode(), data)


def framed(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def entry(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def reads_or_refuses(read: Callable[[], Any]) -> None:
    try:
        read()
    except (InputError, Refused) as error:
        assert len(str(error)) < 10_000


def read_tensors(data: bytes) -> None:
    """As an update and as statistics are read."""

    def read() -> None:
        found = unpack(data)
        assert unpack(pack(found)).keys() == found.keys()
        reads_or_refuses(lambda: check_update(found, {"a": TensorSpec("float32", (1,))}))
        reads_or_refuses(lambda: statistics.check("classification", TaskOutput({}, found).statistics, 2))

    reads_or_refuses(read)


def read_text(text: str) -> None:
    """As a plan from the network, and as a file's."""
    reads_or_refuses(lambda: plan_from_json(text, "plan", "checked_if_known"))
    document.parse(text, "plan.yaml")


FOUND = {
    "infinity in a shape": layout([("a", entry([float("inf")], [0, 4]))], b"\0" * 4),
    "no number in a shape": layout([("a", entry([float("nan")], [0, 4]))], b"\0" * 4),
    "a number that becomes infinite": framed(
        b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "a fraction": layout([("a", entry([1.5], [0, 4]))], b"\0" * 4),
    "a truth": layout([("a", entry([True], [0, 4]))], b"\0" * 4),
    "a text of digits": layout([("a", entry(["1"], [0, 4]))], b"\0" * 4),
    "a huge number": layout([("a", entry([10**400], [0, 4]))], b"\0" * 4),
    "more digits than are read": framed(
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}'
    ),
    "nothing of a huge shape": layout([("a", entry([0, 2**63], [0, 0]))]),
    "nothing of a shape whose size overflows": layout([("a", entry([0, 2**50, 2**50], [0, 0]))]),
    "more dimensions than there are": layout([("a", entry([1] * 70, [0, 4]))], b"\0" * 4),
    "an object for a shape": layout([("a", entry({}, [0, 4]))], b"\0" * 4),
    "a list for a dtype": layout([("a", entry([1], [0, 4], ["F32"]))], b"\0" * 4),
    "a name twice": layout([("a", entry([1], [0, 4])), ("a", entry([1], [0, 4]))], b"\0" * 4),
    "a key twice": framed(b'{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
    "a name of half a character": layout([("\ud800", entry([1], [0, 4]))], b"\0" * 4),
    "a long name": layout([("a" * 2000, entry([1], [0, 4]))], b"\0" * 4),
    "the middle of another tensor": layout([("a", entry([2], [0, 8])), ("b", entry([1], [4, 8]))], b"\0" * 8),
    "backwards": layout([("a", entry([1], [4, 0]))], b"\0" * 4),
    "more names than a header may hold": framed(b"{" + b'"":{},' * 700_000 + b'"x":{}}'),
}


@pytest.mark.parametrize("what", FOUND)
def test_a_header_that_lies_is_refused_in_one_line(what: str) -> None:
    with pytest.raises(InputError, match="not a valid safetensors layout") as refused:
        unpack(FOUND[what])
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 1000


@QUICK
@given(HEADERS, st.binary(max_size=40))
def test_tensors_of_any_header(pairs: list[tuple[str, Any]], data: bytes) -> None:
    read_tensors(layout(pairs, data))


@QUICK
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(framed)))
def test_tensors_of_any_bytes(data: bytes) -> None:
    read_tensors(data)


def changed_plan(changes: list[tuple[list[int], Any]]) -> str:
    """A sound plan with some of its values replaced, each by the numbers of the keys on the way to it."""
    plan = json.loads(json.dumps(TINY_PLAN))
    for way, value in changes:
        place = plan
        for number in way[:-1]:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            below = place[keys[number % len(keys)]] if keys else None
            if not isinstance(below, dict | list) or not below:
                break
            place = below
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        place[keys[way[-1] % len(keys)]] = value
    return json.dumps(plan)


CHANGES = st.lists(
    st.tuples(st.lists(st.integers(0, 20), min_size=1, max_size=5), JSON), min_size=1, max_size=3
)
ENORMOUS = json.dumps(TINY_PLAN).replace("0.002", "1e999")
# Of an experiment that is not installed here, whose settings nobody reads.
OPAQUE = ENORMOUS.replace("keyword_spotting", "tabular")


@example(text=ENORMOUS)
@example(text=OPAQUE)
@example(text=json.dumps(TINY_PLAN).replace("0.002", "9" * 5000))
@example(text='{"a": "\\ud800"}')
@example(text="[" * 100_000)
@example(text="{" * 500)
@example(text="a: &a [*a]")
@example(text="a: !!python/object:os.system x")
@example(text="0o" + "7" * 10_000)
@settings(QUICK, max_examples=200)
@given(text=st.one_of(st.text(st.characters()), JSON.map(json.dumps), CHANGES.map(changed_plan)))
def test_plans_of_any_text(text: str) -> None:
    read_text(text)


@pytest.mark.sweep
@LONG
@given(HEADERS, st.binary(max_size=40))
def test_tensors_of_any_header_for_long(pairs: list[tuple[str, Any]], data: bytes) -> None:
    read_tensors(layout(pairs, data))


@pytest.mark.sweep
@LONG
@given(text=st.one_of(st.text(st.characters()), JSON.map(json.dumps), CHANGES.map(changed_plan)))
def test_plans_of_any_text_for_long(text: str) -> None:
    read_text(text)
