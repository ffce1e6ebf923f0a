"""The envoys of an experiment: how each stands, who is there, and who of them runs a round.

They are fixed when the experiment starts. Which of them run a round is drawn with the plan's seed, over the sorted names, so
that it depends on nothing but who stands where.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ACTIVE = "active"
"""Rounds are run with it; if it is away, they wait for it."""
ABSENT = "absent"
"""It was away for longer than the plan's grace: nobody waits for it, and it takes part again when it is back."""
FAILED = "failed"
"""It could not go on: it takes part again when the experiment is resumed."""
EXCLUDED = "excluded"
"""Somebody asked for it: likewise."""

TAKE_PART = (ACTIVE, ABSENT)
"""Rounds are run with these, now or when they are back."""


@dataclass
class Member:
    """An envoy of an experiment: how it stands and why, and the last round in which it counted.

    ``samples`` is what it announced when it was taken in, by split; None if that is not known.
    """

    name: str
    standing: str = ACTIVE
    reason: str = ""
    counted: int | None = None
    samples: Mapping[str, int] | None = None

    def announced(self, split: str) -> int | None:
        """Return how many samples of a split it has; None if that is not known."""
        return None if self.samples is None else self.samples.get(split, 0)


class Members(dict[str, Member]):
    """The envoys of an experiment by name, and which of them are there; whoever owns it guards it with a lock.

    Parameters
    ----------
    members
        With their standing.
    there
        The names of those that are there from the beginning: all of a simulation, none of a director that has just started.
    """

    def __init__(self, members: Iterable[Member], there: Iterable[str] = ()) -> None:
        super().__init__((member.name, member) for member in members)
        self.there = set(there)
        self.held: set[str] = set()

    def active(self) -> list[str]:
        """Return the names of those that rounds are run with, sorted."""
        return sorted(name for name, member in self.items() if member.standing == ACTIVE)

    def working(self) -> list[str]:
        """Return the names of the active ones that are there, sorted."""
        return [name for name in self.active() if name in self.there]

    def takes_part(self, name: str) -> bool:
        """Say whether an envoy is one of the experiment's that has neither failed nor been excluded."""
        return name in self and self[name].standing in TAKE_PART

    def too_few(self, needed: int) -> str:
        """Say why so many cannot be reached any more, if they cannot; whoever is away may come back."""
        if sum(map(self.takes_part, self)) >= needed:
            return ""
        lost = [m for _, m in sorted(self.items()) if not self.takes_part(m.name)]
        return "; ".join(
            f"{m.name} {'was excluded' if m.standing == EXCLUDED else 'failed'}: {m.reason}" for m in lost
        )


def wanted(names: Sequence[str], cohort: float | None) -> int:
    """Return how many envoys a plan's ``cohort`` asks for: a number, or a share (strictly between 0 and 1), rounded up."""
    if cohort is None:
        return len(names)
    return cohort if isinstance(cohort, int) else max(1, math.ceil(cohort * len(names)))


def draw(names: Sequence[str], size: int, seed: int, round_number: int, attempt: int) -> tuple[str, ...]:
    """Draw the envoys that run a round.

    Parameters
    ----------
    names
        Those that may, in any order.
    size
        How many; all if there are no more.
    seed
        Of the plan.
    round_number, attempt
        A round that nobody has finished is begun again, by other envoys perhaps.

    Returns
    -------
    tuple of str
        Sorted; the same for the same arguments, whatever the order of the names.
    """
    names = sorted(names)
    if size >= len(names):
        return tuple(names)
    order = np.random.default_rng([seed, round_number, attempt]).permutation(len(names))
    return tuple(sorted(names[i] for i in order[:size]))
