"""What may be changed of an experiment: its rounds and limits, the code that it goes on with, and who takes part in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from director.envoys import OnlineEnvoy
from director.journal import Journal
from director.matching import mismatch
from director.needs import needs_of
from director.retention import check_has_models
from director.rows import ExperimentRow
from director.states import ENDED
from federation.amendments import amended
from federation.engine.aggregator import Aggregator
from federation.engine.members import ACTIVE
from federation.errors import InputError
from federation.plan import CheckedPlan
from federation.site_policy import PARAMETERS

logger = logging.getLogger(__name__)


def exclude(name: str, aggregator: Aggregator | None, envoy: str, by: str) -> None:
    """Let an experiment that runs go on without an envoy.

    Raises
    ------
    InputError
        If it does not run, or not with this envoy.
    """
    if aggregator is None:
        raise InputError(f"experiment {name} does not run: there is nobody to exclude")
    if not aggregator.members.takes_part(envoy):
        known = ", ".join(sorted(filter(aggregator.members.takes_part, aggregator.members)))
        raise InputError(f"{envoy[:80]!r} takes no part in experiment {name}; {known} do")
    aggregator.exclude(envoy, f"{by} asked for it")


def check_resume(row: ExperimentRow, settings: Mapping[str, str]) -> None:
    """Raise an `InputError` if an experiment has finished, or cannot be changed as it is."""
    if row.state == "finished":
        raise InputError(
            f"experiment {row.name} has finished; submit a plan with "
            f"`federation.settings.start_from: {{experiment: {row.name}}}` to train on"
        )
    if settings and row.state not in ENDED:
        raise InputError(
            f"experiment {row.name} is {row.state}; stop it first to change {', '.join(sorted(settings))}"
        )


def changed_plan(row: ExperimentRow, plan: str, settings: Mapping[str, str]) -> CheckedPlan:
    """Change the rounds and limits of an experiment's plan; raises as `amended` does, and if no round is left to do."""
    changed = amended(plan, settings, row.name, "checked_if_known")
    if changed.aggregator.rounds_to_train <= row.round:
        raise InputError(
            f"aggregator.settings.rounds_to_train must be more than the {row.round} rounds that are closed"
        )
    return changed


def shared_code(row: ExperimentRow, envoys: Iterable[OnlineEnvoy]) -> str:
    """Return the hash of the code that envoys share, of those that nothing but their code keeps from an experiment.

    Raises
    ------
    InputError
        If none is kept by its code alone, or they do not share one.
    """
    held, hashes = [], {}
    for envoy in envoys:
        found = envoy.announcement.code_hashes.get(row.experiment, "")
        if mismatch(row, found, envoy, row.signer) is None:
            hashes[envoy.name] = found
            held += [envoy.name] if mismatch(row, row.code_hash, envoy, row.signer) is not None else []
    if not held:
        raise InputError(f"no envoy is kept from the experiment {row.name} by its code alone")
    if len(set(hashes.values())) > 1:
        told = ", ".join(f"{name} {found[:12]}" for name, found in sorted(hashes.items()))
        raise InputError(
            f"the envoys do not share one code of {row.experiment}: {told}; install the same at all of them"
        )
    return hashes[held[0]]


def accept_shared_code(
    journal: Journal, row: ExperimentRow, envoys: Iterable[OnlineEnvoy], by: Mapping[str, Any]
) -> None:
    """Go on with the code that an experiment's envoys share, as an event says with ``by``; raises as `shared_code` does."""
    members = {member.name for member in journal.members(row.name)}
    found = shared_code(row, [envoy for envoy in envoys if not members or envoy.name in members])
    with journal.transaction():
        journal.update_experiment(row.name, code_hash=found)
        journal.add_event(row.name, "code_accepted", {**by, "code_hash": found, "before": row.code_hash})


def queue_again(
    journal: Journal,
    row: ExperimentRow,
    settings: Mapping[str, str],
    by: Mapping[str, Any],
    gone: Collection[str] = (),
) -> None:
    """Queue an experiment that has ended again, but its ``gone`` envoys with it, as an event says with ``by``.

    Raises
    ------
    InputError
        As `changed_plan` does, or if its models are not there any more.
    """
    plan = changed_plan(row, journal.plan(row.name), settings) if settings else None
    with journal.transaction():
        check_has_models(journal, journal.experiment(row.name) or row)
        journal.update_experiment(row.name, state="queued", reason="", ended=0.0)
        if plan is not None:
            parameters = json.loads(row.asked).get(PARAMETERS)
            journal.change_plan(row.name, plan.to_json(), needs_of(row.name, plan.config, parameters))
        members = [member.name for member in journal.members(row.name) if not member.takes_part]
        back = [member for member in members if member not in gone]
        journal.change_members(row.name, back, standing=ACTIVE, reason="")
        journal.add_event(row.name, "resumed", {**by, "round": row.round, "settings": dict(settings)})
    logger.info("experiment %s: %s resumes it with round %d", row.name, by["by"], row.round)
