"""Who takes part in an experiment's rounds: the envoys of the open round, who of them is awaited, and how that changes.

Whoever owns it guards it with a lock. Nothing changes here before it is written: a record that cannot write leaves all as it
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from federation.engine.members import ABSENT, ACTIVE, EXCLUDED, FAILED, Members, draw, wanted
from federation.engine.results import OpenedRound, Progress, Record, Standing
from federation.errors import InputError
from federation.settings import FederationSettings


class Participation:
    """The envoys of an experiment, and those of the open round.

    Parameters
    ----------
    record
        Where changes are written.
    settings
        The plan's ``federation`` section.
    progress
        How the envoys stand.
    there
        The names of those that are there now.
    planned
        The cohorts of rounds that have been run already, by number, in the place of draws.

    Attributes
    ----------
    opened
        The open round; None between rounds, while too few are there.
    out
        Those of its cohort that count for nothing in it.
    late
        Those of its cohort that were there and did not finish in time.
    done
        Those that have finished it, in this order.
    diverged
        Those whose loss is not finite, with reason and traceback: judged when nobody else is awaited.
    """

    def __init__(
        self,
        record: Record,
        settings: FederationSettings,
        progress: Progress,
        there: Iterable[str] = (),
        planned: Mapping[int, OpenedRound] | None = None,
    ) -> None:
        self.members = Members(progress.members, there)
        self.opened: OpenedRound | None = None
        self.out: set[str] = set()
        self.late: list[str] = []
        self.done: list[str] = []
        self.diverged: dict[str, tuple[str, str]] = {}
        self._gone: set[str] = set()
        self._record = record
        self._settings = settings
        self._planned = planned

    @property
    def cohort(self) -> tuple[str, ...]:
        """The envoys of the open round, sorted; none between rounds."""
        return self.opened.cohort if self.opened is not None else ()

    def begin(self, opened: OpenedRound) -> None:
        """Take a round as the open one."""
        self.close()
        self.opened, self.out = opened, set(opened.out)

    def close(self) -> None:
        """Take note that no round is open."""
        self.opened, self.out = None, set()
        self.late.clear()
        self.done.clear()
        self.diverged.clear()
        self._gone.clear()

    def runs(self, name: str) -> bool:
        """Say whether an envoy's results may count in the open round."""
        return name in self.cohort and name not in self.out

    def is_awaited(self, name: str) -> bool:
        """Say whether the open round waits for an envoy."""
        done_with = name in self.late or name in self.done or name in self.diverged
        return self.runs(name) and self.members[name].standing == ACTIVE and not done_with

    def arrive(self, name: str, round_number: int) -> bool:
        """Take note that an envoy is there; False if that is no news."""
        if not self.members.takes_part(name) or name in self.members.there:
            return False
        if self.members[name].standing == ABSENT:
            self._change(name, ACTIVE, "envoy_back", round_number)
        elif name in self._gone:
            self._record.event("envoy_back", envoy=name, round=round_number)
        self._gone.discard(name)
        self.members.held.discard(name)
        self.members.there.add(name)
        return True

    def depart(self, name: str, round_number: int, reason: str, held: bool) -> None:
        """Take note that an envoy is not there; of one that is held no result counts until it is there again."""
        if not self.members.takes_part(name):
            return
        if name in self.members.there and self.is_awaited(name):
            self._record.event("envoy_away", envoy=name, round=round_number, reason=reason)
            self._gone.add(name)
        self.members.there.discard(name)
        if held:
            self.members.held.add(name)

    def leave(
        self, name: str, standing: str, event: str, round_number: int, reason: str, traceback: str = ""
    ) -> bool:
        """Let an envoy take no part any more; False if it does not anyway."""
        if not self.members.takes_part(name) or self.members[name].standing == standing:
            return False
        self._change(name, standing, event, round_number, reason, traceback)
        if not self.members.takes_part(name):
            # Nobody says any more whether it is there, until it is taken back.
            self.members.there.discard(name)
            self.members.held.discard(name)
        return True

    def diverge(self, name: str, round_number: int, reason: str, traceback: str) -> bool:
        """Take note that an envoy's loss is not finite; False if it does not take part in the round, or that is known."""
        if not self.is_awaited(name):
            return False
        self._record.event(
            "envoy_diverged", envoy=name, round=round_number, reason=reason, traceback=traceback
        )
        self.diverged[name] = reason, traceback
        return True

    def judge_diverged(self, round_number: int) -> str:
        """Let those that diverged fail, if they are few; say why the experiment has diverged, if they are more than half."""
        lost = {name: told for name, told in sorted(self.diverged.items()) if self.runs(name)}
        if 2 * len(lost) > len(self.cohort):
            reason = next(iter(lost.values()))[0]
            return f"diverged: at {len(lost)} of {len(self.cohort)} envoys ({', '.join(lost)}): {reason}"
        for name, (reason, traceback) in lost.items():
            self.leave(name, FAILED, "envoy_failed", round_number, reason, traceback)
        self.diverged.clear()
        return ""

    def expel(self, name: str, round_number: int, reason: str) -> bool:
        """Let an envoy take no part any more, and nothing of it count in the open round, though it has finished it."""
        runs = self.runs(name)
        if not runs and not self.members.takes_part(name):
            return False
        self._record.standing(Standing(name, EXCLUDED, "envoy_excluded", round_number, reason, drops=runs))
        self.members[name].standing, self.members[name].reason = EXCLUDED, reason
        self.members.there.discard(name)
        self.members.held.discard(name)
        if runs:
            self.out.add(name)
        if name in self.done:
            self.done.remove(name)
        return True

    def take_back(self, name: str, round_number: int) -> bool:
        """Let an envoy that failed or was excluded take part again, from the next round; False if it does anyway."""
        if name not in self.members or self.members.takes_part(name):
            return False
        self._change(name, ACTIVE, "envoy_taken_back", round_number)
        return True

    def too_few(self) -> str:
        """Say why the envoys that the plan needs cannot be reached any more, if so."""
        return self.members.too_few(self._settings.envoys)

    def drawn(self, round_number: int, attempt: int) -> OpenedRound | None:
        """Draw a round's cohort; None while too few are there to begin it.

        Raises
        ------
        InputError
            If cohorts are given, and not that of this round.
        """
        if self._planned is not None:
            if round_number not in self._planned:
                raise InputError(f"the cohorts that are given hold no round {round_number}")
            return self._planned[round_number]
        names, settings = self.members.active(), self._settings
        if len(self.members.working()) < settings.envoys:
            return None
        size = wanted(names, settings.cohort)
        cohort = draw(names, size, settings.seed, round_number, attempt)
        late = tuple(sorted(self.late)) if attempt else ()
        return OpenedRound(round_number, cohort, attempt, late, size if size > len(names) else None)

    def again(self, round_number: int) -> OpenedRound | None:
        """Draw the cohort of a round that nobody is left in, or that could not begin before."""
        return self.drawn(round_number, self.opened.attempt + 1 if self.opened is not None else 0)

    def _change(
        self, name: str, standing: str, event: str, round_number: int, reason: str = "", traceback: str = ""
    ) -> None:
        drops = self.runs(name) and name not in self.done
        self._record.standing(Standing(name, standing, event, round_number, reason, traceback, drops))
        self.members[name].standing, self.members[name].reason = standing, reason
        if drops:
            self.out.add(name)
