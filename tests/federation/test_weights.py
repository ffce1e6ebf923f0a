"""Shares of a round's weight: by counts, and none above what the plan allows."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.engine.weights import dominant, shares

COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 10**9), min_size=1)


def test_shares_are_proportional_to_what_was_announced() -> None:
    assert shares({"north": 30, "south": 10}) == {"north": 0.75, "south": 0.25}


@pytest.mark.parametrize(
    ("counts", "most", "found"),
    [
        ({"a": 1, "b": 1, "c": 98}, 0.5, {"a": 0.25, "b": 0.25, "c": 0.5}),
        # What is taken from the first lifts the second above the bound, too.
        ({"a": 10, "b": 8, "c": 1, "d": 1}, 0.4, {"a": 0.4, "b": 0.4, "c": 0.1, "d": 0.1}),
        ({"a": 99, "b": 1}, 0.5, {"a": 0.5, "b": 0.5}),
        ({"a": 99, "b": 1}, 0.1, {"a": 0.5, "b": 0.5}),
        ({"a": 0, "b": 0, "c": 5}, 0.4, {"a": 0.3, "b": 0.3, "c": 0.4}),
        ({"a": 0, "b": 0}, None, {"a": 0.5, "b": 0.5}),
        ({"a": 7}, 0.3, {"a": 1.0}),
    ],
)
def test_no_share_is_above_what_the_plan_allows_and_the_others_divide_the_rest_by_their_counts(
    counts: dict[str, int], most: float | None, found: dict[str, float]
) -> None:
    assert shares(counts, most) == pytest.approx(found)


@given(COUNTS, st.none() | st.floats(0.01, 1.0))
def test_shares_are_whole_and_keep_the_order_of_the_counts(
    counts: dict[str, int], most: float | None
) -> None:
    found = shares(counts, most)
    assert list(found) == list(counts)
    assert math.isclose(sum(found.values()), 1, abs_tol=1e-9)
    allowed = max(1.0 if most is None else most, 1 / len(counts))
    assert all(0 <= share <= allowed + 1e-12 for share in found.values())
    ordered = sorted(counts, key=lambda name: counts[name])
    assert all(found[a] <= found[b] + 1e-12 for a, b in itertools.pairwise(ordered))


def test_who_has_more_than_half_is_told_of_unless_it_is_alone() -> None:
    assert dominant({"north": 0.6, "south": 0.4}) == {"north": 0.6}
    assert dominant({"north": 0.5, "south": 0.5}) == {}
    assert dominant({"north": 1.0}) == {}
