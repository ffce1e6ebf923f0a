"""Each collaborator's share of a round: by what it announced, and at most so much as the plan allows."""

from __future__ import annotations

from collections.abc import Mapping

MUCH = 0.5
"""Whoever has more than this share of a round is told of."""


def shares(counts: Mapping[str, int], most: float | None = None) -> dict[str, float]:
    """Return the shares of a round's weight, which sum up to 1.

    Parameters
    ----------
    counts
        Samples, by collaborator.
    most
        No share is above it, if there are enough collaborators: those above are set to it, and the rest is divided among the
        others by their counts, until none is above. With too few, or where nobody has a sample, all have the same share.

    Returns
    -------
    dict of str to float
        In the order of the counts.
    """
    most = 1.0 if most is None else most
    if most * len(counts) <= 1:
        return dict.fromkeys(counts, 1 / max(1, len(counts)))
    found, capped = dict.fromkeys(counts, most), set[str]()
    while True:
        rest = [name for name in counts if name not in capped]
        left, total = 1 - most * len(capped), sum(counts[name] for name in rest)
        for name in rest:
            found[name] = left * counts[name] / total if total else left / len(rest)
        above = {name for name in rest if found[name] > most}
        if not above:
            return found
        capped |= above
        found |= dict.fromkeys(above, most)


def dominant(found: Mapping[str, float]) -> dict[str, float]:
    """Return the shares that are more than half of all, of a round that more than one takes part in."""
    return {name: share for name, share in found.items() if share > MUCH and len(found) > 1}
