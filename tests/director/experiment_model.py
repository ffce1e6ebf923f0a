"""An experiment on a page: what the rules of who takes part, of time and of failures make of what happens to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from federation.engine.members import ABSENT, ACTIVE, EXCLUDED, FAILED, draw, wanted
from tests.director.in_process import TRAIN, TUNED, VALIDATE


@dataclass
class Model:
    """Whatever happens is told by a method; `look` follows each, as the director attends to all that happens."""

    needed: int
    size: float | None
    rounds: int
    join_late: bool
    seed: int
    grace: float
    limit: float
    state: str = "queued"
    round: int = 0
    attempt: int = 0
    cohort: tuple[str, ...] = ()  # of the open round; none between rounds
    out: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    did: dict[str, set[str]] = field(default_factory=dict)
    standing: dict[str, str] = field(default_factory=dict)
    closed: list[tuple[int, list[str]]] = field(default_factory=list)
    fits: dict[str, bool] = field(default_factory=dict)  # who is connected, and as it was
    full: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    away: dict[str, float] = field(default_factory=dict)
    began: tuple[tuple[int, int], float] = ((-1, 0), 0.0)
    now: float = 0.0

    def tasks(self) -> list[str]:
        return [VALIDATE, TRAIN, TUNED] if self.round < self.rounds else [VALIDATE]

    def takes_part(self, name: str) -> bool:
        return self.standing.get(name) in (ACTIVE, ABSENT)

    def is_there(self, name: str) -> bool:
        return self.takes_part(name) and self.fits.get(name, False) and name not in self.full

    def finished(self) -> list[str]:
        return [n for n in self.cohort if n not in self.out and self.did.get(n) == set(self.tasks())]

    def awaited(self) -> list[str]:
        return [n for n in self.cohort if n not in self.out | self.late and n not in self.finished()]

    def open_tasks(self, name: str) -> list[str]:
        given = self.state == "running" and self.is_there(name) and name in self.awaited()
        return [task for task in self.tasks() if task not in self.did.get(name, ())] if given else []

    def result(self, name: str, round_number: int, task: str) -> bool | str:
        runs = name in self.cohort and name not in self.out
        if not runs and not self.takes_part(name):
            return "refused"
        runs = runs and name not in self.late | self.held and round_number == self.round
        if not runs or task in self.did.setdefault(name, set()):
            return False
        self.did[name].add(task)
        self.turn()
        return True

    def leave(self, name: str, standing: str) -> None:
        """It fails, is excluded or becomes absent: what it has not finished counts for nothing."""
        if self.state == "running" and self.takes_part(name) and self.standing[name] != standing:
            if name in self.cohort and name not in self.finished():
                self.out.add(name)
                self.did.pop(name, None)
            self.standing[name] = standing
            self.turn()

    def resume(self) -> None:
        self.standing |= {n: ACTIVE for n, s in self.standing.items() if s in (FAILED, EXCLUDED)}
        if self.state in ("failed", "stopped"):
            self.state = "queued"

    def end(self, state: str) -> None:
        self.state, self.cohort, self.out, self.late, self.did = state, (), set(), set(), {}
        self.away, self.full, self.held, self.began = {}, set(), set(), ((-1, 0), 0.0)

    def restart(self) -> None:
        """The director is another process: nobody is connected, and every clock begins anew."""
        self.fits, self.full, self.held, self.late, self.away = {}, set(), set(), set(), {}
        self.began, self.now = ((-1, 0), 0.0), 0.0

    def open(self, round_number: int, attempt: int) -> None:
        """Draw a round's cohort, unless too few are there to begin: who is away for a little is drawn too."""
        active = [name for name in self.standing if self.standing[name] == ACTIVE]
        if sum(map(self.is_there, active)) >= self.needed:
            self.cohort = draw(active, wanted(active, self.size), self.seed, round_number, attempt)
            self.round, self.attempt, self.out, self.late, self.did = round_number, attempt, set(), set(), {}

    def turn(self) -> None:
        """Close the round if nobody is awaited any more, and begin the next, or this one again if nobody has finished it."""
        lost = sum(map(self.takes_part, self.standing)) < self.needed
        if self.state != "running" or self.awaited():
            return
        if done := self.finished():
            self.closed.append((self.round, done))
            last = self.round == self.rounds
            self.round += not last
            self.cohort, self.out, self.late, self.did = (), set(), set(), {}
            if last or lost:
                self.end("finished" if last else "failed")
            else:
                self.open(self.round, 0)
        elif lost:
            self.end("failed")
        else:
            self.open(self.round, self.attempt + 1 if self.cohort else 0)

    def look(self) -> None:
        """Start it, let time do what it does, and let come in who may."""
        online = sorted(name for name, fits in self.fits.items() if fits)
        here = [name for name in online if not self.standing or name in self.standing]
        if self.state == "queued" and len(here) >= self.needed:
            self.state = "running"
            self.standing = self.standing or dict.fromkeys(here, ACTIVE)
        if self.state != "running":
            return
        self.held |= {n for n, fits in self.fits.items() if not fits and self.takes_part(n)}
        for name in sorted(self.standing):
            if self.is_there(name):
                self.standing[name] = ACTIVE
            if self.is_there(name) or not self.takes_part(name):
                self.held.discard(name)
        self.turn()
        missing = [n for n in sorted(self.standing) if self.takes_part(n) and not self.is_there(n)]
        self.away = {name: self.away.get(name, self.now) for name in missing}
        for name in missing:
            if self.now - self.away.get(name, self.now) >= self.grace:
                self.leave(name, ABSENT)
        if self.cohort and self.began[0] != (self.round, self.attempt):
            self.began = (self.round, self.attempt), self.now
        if self.cohort and self.now - self.began[1] >= self.limit:
            self.late |= set(filter(self.is_there, self.awaited()))
            self.turn()
        if self.state == "running" and self.join_late and (new := set(online) - set(self.standing)):
            self.standing |= dict.fromkeys(new, ACTIVE)
            self.look()
