"""What of the data cannot be used: a few are listed and skipped, more is an error. One rule for files, rows and lines."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from federation.errors import InputError

log = logging.getLogger(__name__)

MOST_LISTED = 1000
"""A data set of millions must not fill the log."""


def skip(bad: Sequence[str], total: int, most: float, what: str = "files") -> None:
    """List what cannot be used in the log, unless it is too much.

    Parameters
    ----------
    bad : sequence of str
        For each, where it is and what is wrong with it.
    total : int
        How many there are, the bad ones with them.
    most : float
        The setting `max_unreadable`: the share that may be skipped.
    what : str
        What they are, in the plural.

    Raises
    ------
    InputError
        If it is more; names the first.
    """
    for line in bad[:MOST_LISTED]:
        log.warning("skipped: %s", line)
    if len(bad) > MOST_LISTED:
        log.warning("skipped: and %d more", len(bad) - MOST_LISTED)
    if len(bad) > most * total:
        raise InputError(
            f"{len(bad)} of {total} {what} cannot be used, more than max_unreadable {most:g} allows; the first is {bad[0]}"
        )
    if bad:
        log.warning("skipped %d of %d %s that cannot be used", len(bad), total, what)
