"""Who of a running experiment's envoys is there, and what time does to those that are not, and to the open round.

Time counts only while the director listens, and begins anew when it starts: nobody can be there before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from director.scheduling import Missing
from federation.engine.aggregator import Aggregator
from federation.engine.members import ACTIVE
from federation.settings import FederationSettings


@dataclass(frozen=True)
class Live:
    """An experiment that runs: its aggregator, and what its plan says of envoys and time."""

    aggregator: Aggregator
    settings: FederationSettings


class Attendance:
    """Tells aggregators of their envoys.

    Parameters
    ----------
    clock
        Returns seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._away: dict[tuple[str, str], float] = {}
        self._rounds: dict[str, tuple[tuple[int, int], float]] = {}
        self._began: float | None = None

    def begin(self) -> None:
        """Take note that the director listens: from now on envoys can be there."""
        self._began = self._clock() if self._began is None else self._began

    def since_start(self) -> float:
        """Return the seconds since the director listens."""
        return self._clock() - self._began if self._began is not None else 0.0

    def look(self, name: str, live: Live, missing: Mapping[str, Missing | None]) -> float:
        """Tell an experiment's aggregator how its envoys are, and what has lasted too long.

        Parameters
        ----------
        name
            The experiment's.
        live
            What runs.
        missing
            By envoy: why it cannot work now; None if it can.

        Returns
        -------
        float
            Seconds after which somebody must look again, though nothing happens.
        """
        live.aggregator.start_clocks()
        self._forget_absences(name, but=missing)
        for envoy, why in missing.items():
            if why is None:
                live.aggregator.arrive(envoy)
            else:
                live.aggregator.depart(envoy, why.reason, why.held)
        dues = [self._patience_with(name, envoy, live, why) for envoy, why in missing.items()]
        live.aggregator.go_on()
        return min([*dues, self._limit(name, live)], default=math.inf)

    def forget(self, name: str) -> None:
        """Forget an experiment that has ended."""
        self._rounds.pop(name, None)
        self._forget_absences(name)

    def _forget_absences(self, name: str, but: Collection[str] = ()) -> None:
        for key in [key for key in self._away if key[0] == name and key[1] not in but]:
            del self._away[key]

    def _patience_with(self, name: str, envoy: str, live: Live, why: Missing | None) -> float:
        """Give an envoy up that has been missing for longer than the plan's grace; return what is left of it."""
        if why is None:
            self._away.pop((name, envoy), None)
            return math.inf
        since = self._away.setdefault((name, envoy), self._clock())
        left = since + live.settings.grace - self._clock()
        if left > 0:
            return left
        if live.aggregator.members[envoy].standing == ACTIVE:
            live.aggregator.give_up(envoy, why.reason)
        return math.inf

    def _limit(self, name: str, live: Live) -> float:
        """End the time of those that do not finish the open round; return what is left of it."""
        opened = live.aggregator.participation.opened
        if opened is None:
            return math.inf
        attempt = opened.round_number, opened.attempt
        if name not in self._rounds or self._rounds[name][0] != attempt:
            self._rounds[name] = attempt, self._clock()
        left = self._rounds[name][1] + live.settings.round_limit - self._clock()
        if left <= 0:
            live.aggregator.pass_limit(*attempt)
        # Who comes back after the limit has nothing left of it.
        return left if left > 0 else math.inf
