"""What may start: whether those who are online are enough for an experiment, and what it waits for if they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from director.envoys import Envoys, OnlineEnvoy
from director.journal import ExperimentRow
from director.matching import mismatch


def cohort_of(
    row: ExperimentRow, envoys: Envoys, work_of: Callable[[str], list[str]]
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

    Returns
    -------
    cohort, waiting
        Their names, sorted; or none, and what the experiment waits for.
    """
    keeps = unfit(row, envoys.values())
    for name in envoys.keys() - keeps.keys():
        if len(work_of(name)) >= envoys[name].slots:
            keeps[name] = "is at work on other experiments"
    cohort = sorted(envoys.keys() - keeps.keys())
    if len(cohort) >= row.envoys:
        return cohort, ""
    return [], "; ".join([f"waiting for envoys: {len(cohort)} of {row.envoys} are there", *told(keeps)])


def unfit(row: ExperimentRow, envoys: Iterable[OnlineEnvoy]) -> dict[str, str]:
    """Say of those of some envoys that an experiment cannot be run with what keeps them from it."""
    said = {envoy.name: mismatch(row, row.code_hash, envoy) for envoy in envoys}
    return {name: reason for name, reason in said.items() if reason is not None}


def told(keeps: Mapping[str, str]) -> list[str]:
    """Put into words what keeps envoys away."""
    return [f"the envoy {name} {reason}" for name, reason in sorted(keeps.items())]
