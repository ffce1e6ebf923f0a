"""What may start: whether the envoys that are online are enough for an experiment, and what keeps the others from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from director.envoys import Envoys, OnlineEnvoy
from director.matching import mismatch
from director.rows import ExperimentRow, MemberRow

AWAY = "is away"
NO_DEVICE = "has no free device"


@dataclass(frozen=True)
class Missing:
    """Why an envoy of an experiment cannot work on it, as a clause about it.

    ``held`` says that it is here, and not what it was when the experiment was started: nothing of it may count. ``tries`` says
    that it has said so itself, and tries again.
    """

    reason: str
    held: bool = False
    tries: bool = False


def cohort_of(
    row: ExperimentRow,
    envoys: Envoys,
    work_of: Callable[[str], list[str]],
    members: Collection[str] = (),
) -> tuple[list[str], str]:
    """Choose the envoys that an experiment can start with.

    Parameters
    ----------
    row
        The experiment.
    envoys
        Those that are online.
    work_of
        Names the experiments that an envoy works on.
    members
        Its envoys, if it has been started before; no others are chosen then.

    Returns
    -------
    cohort, waiting
        Their names, sorted; or none, and what the experiment waits for.
    """
    asked = [envoy for name, envoy in envoys.items() if not members or name in members]
    keeps = unfit(row, asked)
    for envoy in asked:
        if envoy.name not in keeps and len(work_of(envoy.name)) >= envoy.slots:
            keeps[envoy.name] = "is at work on other experiments"
    cohort = sorted(envoy.name for envoy in asked if envoy.name not in keeps)
    if len(cohort) >= row.envoys:
        return cohort, ""
    keeps |= {name: AWAY for name in members if name not in envoys}
    return [], too_few(len(cohort), row.envoys, keeps)


def missing(
    row: ExperimentRow, member: MemberRow, envoy: OnlineEnvoy | None, has_device: bool
) -> Missing | None:
    """Say why an envoy of an experiment that runs cannot work on it now; None if it can."""
    if envoy is None:
        return Missing(AWAY)
    if (reason := mismatch(row, row.code_hash, envoy, row.signer)) is not None:
        return Missing(reason, held=True)
    if member.fingerprint not in ("", envoy.announcement.fingerprint):
        return Missing(
            f"holds another shard ({envoy.announcement.fingerprint[:12]}) than the experiment was started with "
            f"({member.fingerprint[:12]}): give it the data that it had, or go on without it: "
            f"`fed exclude {row.name} {member.name}`",
            held=True,
        )
    return None if has_device else Missing(NO_DEVICE)


def unfit(row: ExperimentRow, envoys: Iterable[OnlineEnvoy]) -> dict[str, str]:
    """Say of those of some envoys that an experiment cannot be run with what keeps them from it."""
    said = {envoy.name: mismatch(row, row.code_hash, envoy, row.signer) for envoy in envoys}
    return {name: reason for name, reason in said.items() if reason is not None}


def too_few(there: int, needed: int, keeps: Mapping[str, str]) -> str:
    """Say what an experiment waits for."""
    return "; ".join([f"{there} of {needed} envoys are there", *told(keeps)])


def told(keeps: Mapping[str, str]) -> list[str]:
    """Put into words what keeps envoys away."""
    return [f"the envoy {name} {reason}" for name, reason in sorted(keeps.items())]
