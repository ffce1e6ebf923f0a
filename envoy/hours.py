"""The hours in which a site works, by its own clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time

from federation.errors import FederationError, InputError

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class OutsideHours(FederationError):  # noqa: N818
    """The site takes no task now; it does so by itself when its hours have begun."""


@dataclass(frozen=True)
class Hours:
    """From a time of day to another, which may be the next day's; both None: always."""

    begin: time | None = None
    end: time | None = None

    @classmethod
    def parse(cls, text: str | None) -> Hours:
        """Read ``HH:MM-HH:MM``; None stands for all day.

        Raises
        ------
        InputError
            If it is not written so, or holds no time at all.
        """
        if not text:
            return cls()
        found = _HOURS.fullmatch(text)
        if found is None:
            raise InputError(f"hours: write them as 22:00-06:00, not {text[:40]!r}")
        first, after_first, last, after_last = (int(part) for part in found.groups())
        begin, end = time(first, after_first), time(last, after_last)
        if begin == end:
            raise InputError(f"hours: {text} begin when they end; leave them out for all day")
        return cls(begin, end)

    def hold(self, now: time) -> bool:
        """Say whether a time of day is within them."""
        if self.begin is None or self.end is None:
            return True
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def closed(self) -> str | None:
        """Say why the site takes no task now; None if it does."""
        if self.begin is None or self.end is None or self.hold(datetime.now().time()):
            return None
        return f"takes no task outside its hours ({self.begin:%H:%M}-{self.end:%H:%M})"

    def require(self) -> None:
        """Let nothing pass outside of them.

        Raises
        ------
        OutsideHours
            Then.
        """
        if (reason := self.closed()) is not None:
            raise OutsideHours(reason)
