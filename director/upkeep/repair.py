"""Mending a state that is not whole, as far as it can be: what is unsound is given up, and only that.

What a director would do by itself at its next start or when it first reads what is unsound (`director.opening`) is done here
all at once, and told before. What is lost is not made up: a damaged journal or model comes from a backup or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from director.blobs import BlobStore
from director.journal import Journal
from director.record import write_end
from director.rows import ResultRow
from director.state import lock
from director.upkeep.check import Findings, Problem, examine, require_state


@dataclass(frozen=True)
class Mend:
    """Something that can be mended, and how."""

    says: str
    do: Callable[[Journal, BlobStore], object]


@dataclass(frozen=True)
class Plan:
    """What would be mended, in this order, and what cannot be."""

    mends: list[Mend]
    hopeless: list[str]


def plan_of(found: Findings) -> Plan:
    """Say what can be done about what was found."""
    if not found.readable:
        return Plan([], [problem.says for problem in found.problems])
    mends: list[Mend] = []
    hopeless: list[str] = []
    if found.come_back or found.unnamed:
        says = [f"take back the blob {name} from blobs/aside" for name in found.come_back]
        if found.unnamed:
            says.append(f"set aside {len(found.unnamed)} blobs that nothing names")
        # Last, when what was given up is named no more.
        last = [Mend("; ".join(says), lambda journal, blobs: blobs.sort_out(journal.named_blobs()))]
    else:
        last = []
    failing: set[str] = set()
    for problem in found.problems:
        if problem.key and problem.key[-1] in found.come_back:
            continue
        if problem.kind in ("model", "plan") and problem.state in ("queued", "running"):
            if problem.experiment not in failing:
                failing.add(problem.experiment)
                mends.append(Mend(f"fail it: {problem.says}", partial(_fail, problem)))
        elif problem.kind in ("result", "stray"):
            mends.append(Mend(f"drop it: {problem.says}", partial(_drop, problem)))
        else:
            ending = "" if problem.kind == "events" else "; restore it from a backup"
            hopeless.append(problem.says + ending)
    return Plan([*mends, *last], hopeless)


def repair(state: Path, really: bool) -> Plan:
    """Say what can be mended in a state folder that no director uses, and mend it if that is ``really`` wanted.

    Raises
    ------
    InputError
        If a director uses it, or it is no director's.
    """
    require_state(state)
    with lock(state):
        plan = plan_of(examine(state))
        if really and plan.mends:
            journal = Journal(state / "journal.sqlite")
            try:
                blobs = BlobStore(state / "blobs")
                for mend in plan.mends:
                    mend.do(journal, blobs)
                # What was dropped is named no more.
                blobs.sort_out(journal.named_blobs())
            finally:
                journal.close()
    return plan


def _fail(problem: Problem, journal: Journal, _: BlobStore) -> None:
    write_end(journal, problem.experiment, "failed", f"repaired: {problem.says}")


def _drop(problem: Problem, journal: Journal, _: BlobStore) -> None:
    round_number, task, envoy = problem.key[:3]
    with journal.transaction():
        gone = journal.remove_result(problem.experiment, ResultRow(round_number, task, envoy, 0, "", b""))
        if gone and journal.experiment(problem.experiment) is not None and problem.kind == "result":
            told = {"envoy": envoy, "task": task, "round": round_number, "reason": problem.says}
            journal.add_event(problem.experiment, "result_dropped", told)
