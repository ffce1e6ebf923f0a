"""What a director says of envoys, experiments and events, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.errors import InputError
from federation.protocol import federation_pb2 as pb

# What is read of an event by whoever shows it.
_SAID: dict[str, dict[str, type]] = {
    "round_started": {"round": int},
    "result": {"round": int, "task": str, "envoy": str, "metrics": dict},
    "round_closed": {"round": int, "metrics": dict},
}
# Of these an event may say something, and if it does, it is of this type.
_MAY_SAY: dict[str, type] = {"traceback": str, "metrics": dict, "envoys": list, "cohort": list}
ENDED = ("finished", "failed", "stopped")
_LARGEST = 2**63


@dataclass(frozen=True)
class EnvoyInfo:
    """An envoy that is online; ``samples`` by split, ``devices`` as name and model.

    ``experiments`` are those that it works on, ``shard_package`` is name and version of what brings its shard descriptor,
    ``certificate_ends`` is a Unix time; None if there is no certificate, or the director does not say it.
    """

    name: str
    dataset: str
    classes: list[str]
    samples: dict[str, int]
    devices: list[dict[str, Any]]
    version: str
    experiments: list[str]
    shard_package: str
    certificate_ends: float | None = None


@dataclass(frozen=True)
class ExperimentInfo:
    """An experiment as it stands; times are Unix times, ``best_round`` is None while there is none.

    ``pruned`` says that its models are not kept any more; its events, and so its metrics, are. ``plan`` is the name of the plan
    and ``best_metric`` what ``best_score`` is of; both are empty where the director is of an earlier version.
    """

    name: str
    state: str
    reason: str
    round: int
    rounds: int
    created: float
    ended: float
    cohort: list[str]
    submitted_by: str
    best_round: int | None
    best_score: float | None
    exchanged_sha256: str
    pruned: bool = False
    plan: str = ""
    best_metric: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened in an experiment; ids count from 1 without gaps."""

    id: int
    time: float
    kind: str
    body: Mapping[str, Any]


def envoy_info(envoy: pb.Envoy) -> EnvoyInfo:
    """Return what a director says of an envoy."""
    said = envoy.announcement
    return EnvoyInfo(
        name=envoy.name,
        dataset=said.dataset,
        classes=list(said.classes),
        samples=dict(said.samples),
        devices=[{"name": d.name, "model": d.model, "memory": d.memory} for d in said.devices],
        version=said.version,
        experiments=list(envoy.experiments),
        shard_package=f"{said.shard_package.name} {said.shard_package.version}".strip(),
        certificate_ends=envoy.certificate_ends or None,
    )


def experiment_info(experiment: pb.Experiment) -> ExperimentInfo:
    """Return what a director says of an experiment."""
    has_best = experiment.best_round >= 0
    return ExperimentInfo(
        name=experiment.name,
        state=experiment.state,
        reason=experiment.reason,
        round=experiment.round,
        rounds=experiment.rounds,
        created=experiment.created,
        ended=experiment.ended,
        cohort=list(experiment.cohort),
        submitted_by=experiment.submitted_by,
        best_round=experiment.best_round if has_best else None,
        best_score=experiment.best_score if has_best else None,
        exchanged_sha256=experiment.exchanged_sha256,
        pruned=experiment.state in ENDED and not experiment.exchanged_sha256,
        plan=experiment.plan_name,
        best_metric=experiment.best_metric,
    )


def event_info(event: pb.Event) -> Event:
    """Return what a director says has happened.

    Raises
    ------
    InputError
        If it says nothing that can be read.
    """
    try:
        body = json.loads(event.body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the director has sent an event that is no JSON: {type(error).__name__}") from error
    if not _is_sound(event.kind, body):
        raise InputError("the director has sent an event that says not what its kind must")
    return Event(event.id, event.time, event.kind, body)


def _is_sound(kind: str, body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    if not all(isinstance(body[key], kept) for key, kept in _MAY_SAY.items() if key in body):
        return False
    said = {key: body.get(key) for key in _SAID.get(kind, {})}
    if not all(isinstance(said[key], kept) for key, kept in _SAID.get(kind, {}).items()):
        return False
    # Of all envoys together metrics are told by task, of one envoy those of one task.
    parts = list(body.get("metrics", {}).values())
    if any(isinstance(part, dict) != (kind == "round_closed") for part in parts):
        return False
    metrics = [number for part in parts for number in (part.values() if isinstance(part, dict) else [part])]
    return all(_is_number(number) for number in [*metrics, *([body["round"]] if "round" in said else [])])


def _is_number(value: Any) -> bool:
    # An integer of any length is JSON, and none of a certain length is a float.
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST)
