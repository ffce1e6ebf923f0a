"""Code that counts as equal: hashes of versions whose experiments give the same bits.

An experiment that an older version has begun goes on only where the sites' code is equal to that which it was submitted with
(`federation.code.code_hash`). Whoever changes hashed code without changing a bit of any model puts the new hash here; who does
change bits raises the project's version instead, and experiments of the version before wait and say what to do.
"""

from __future__ import annotations

VERSION = "0.2.0"
"""The version whose own hash is the last one of the table; ``tests/compatibility`` holds it to that."""

EQUAL: tuple[tuple[str, ...], ...] = (
    (
        # 0.1.0, which had one hash for all experiments; since then names and places have changed.
        "8e4b1b78ecbe1ebc0bd9888a57c3f494c2e8322e711aa36ca13f286a620fabdd",
        # 0.2.0, before cohorts were drawn and absences had rules
        "b9ce6fee16a59791dfbfb017be601e652a37d3fe889a8adb67feaf8f5150abfd",
        # 0.2.0, of data that those before read rightly
        "cbfca1032688715d268bc4c53e4a4ebc553725801d5ba55cfea6d99440fe4478",
    ),
)


def is_equal(one: str, other: str) -> bool:
    """Say whether two hashes stand for code that gives the same bits."""
    return one == other or any(one in hashes and other in hashes for hashes in EQUAL)
