"""Who calls too much or too often is told to try again, before anything is read, held or written for it.

Each member has an account of its own, so that what one uses is nobody else's loss. A refusal by an account is `Busy`: clients
try again by themselves, and nobody is expelled for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from director.limits import Limits
from federation.rpc import Busy

# Accounts of which nothing is open are forgotten above this number; without certificates names are anything.
MOST_IDLE = 10_000


class Bucket:
    """Tokens that come back at a rate, ``most`` of them at most."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float]) -> None:
        self._rate, self._most, self._clock = rate, max(1.0, most), clock
        self._tokens, self._at = self._most, clock()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Account:
    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.open = {"streams": 0, "uploads": 0}
        self.calls = Bucket(limits.calls, limits.calls, clock)
        self.changes = Bucket(limits.changes / 60, limits.changes, clock)


class Quotas:
    """The accounts of a director's members.

    Parameters
    ----------
    limits
        For each.
    threads
        That transfers have in all: nobody gets more than a quarter of them.
    clock
        Returns seconds, from any beginning.
    """

    def __init__(self, limits: Limits, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._most = {"streams": limits.streams, "uploads": min(limits.uploads, max(1, threads // 4))}
        self.upload_rate, self.upload_patience = limits.upload_rate, limits.upload_patience
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}

    def call(self, member: str, changes: bool = False) -> Callable[[], None]:
        """Count a call that begins; return what is to be called once when it has ended.

        Parameters
        ----------
        member
            Who calls.
        changes
            The call changes something, as a submission does.

        Raises
        ------
        Busy
            If a limit is reached.
        """
        with self._lock:
            account = self._account(member)
            if not account.calls.take():
                raise _busy("calls", self._limits.calls, "a second", member)
            if changes and not account.changes.take():
                raise _busy("changes", self._limits.changes, "a minute", member)
            return self._opened(account, "streams", member)

    def upload(self, member: str) -> Callable[[], None]:
        """Count an upload that is about to hold a thread; as `call`."""
        with self._lock:
            return self._opened(self._account(member), "uploads", member)

    def _opened(self, account: _Account, what: str, member: str) -> Callable[[], None]:
        if account.open[what] >= self._most[what]:
            raise _busy(what, self._most[what], "at once", member)
        account.open[what] += 1

        def ended() -> None:
            with self._lock:
                account.open[what] -= 1

        return ended

    def _account(self, member: str) -> _Account:
        if member not in self._accounts:
            if len(self._accounts) >= MOST_IDLE:
                self._accounts = {n: a for n, a in self._accounts.items() if any(a.open.values())}
            self._accounts[member] = _Account(self._limits, self._clock)
        return self._accounts[member]


def _busy(limit: str, most: float, per: str, member: str) -> Busy:
    return Busy(f"the limit {limit} of the director, {most:g} {per}, is reached by {member}; try again later")
