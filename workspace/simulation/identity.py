"""What decides the bits of a run: its plan, code, versions, data, device. Who goes on with one must have the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from federation.code import code_hash
from federation.engine.results import OpenedRound
from federation.equal_code import is_equal
from federation.errors import InputError
from federation.plan import CheckedPlan

LIBRARIES = ("numpy", "openfl", "torch", "transformers")


def identity(command: str, plan: CheckedPlan, data: Mapping[str, str], device: str) -> dict[str, Any]:
    """Say what a run is a run of, as plain data.

    Parameters
    ----------
    command
        Which runs it.
    plan
        Checked.
    data
        The fingerprints of the shards, by name.
    device
        On which it trains.
    """
    return {
        "command": command,
        "plan": plan.name,
        "settings": json.loads(plan.to_json()),
        "data": dict(sorted(data.items())),
        "code": code_hash(plan.experiment),
        "versions": {name: version(name) for name in LIBRARIES},
        "device": device,
    }


def fingerprint_of(cohorts: Mapping[int, OpenedRound] | None) -> str:
    """Return the SHA-256 of cohorts that are given; empty if none are."""
    if cohorts is None:
        return ""
    told = [{**asdict(cohorts[number]), "out": sorted(cohorts[number].out)} for number in sorted(cohorts)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def require_same(now: Mapping[str, Any], then: Mapping[str, Any], where: str) -> None:
    """Refuse to go on with a run with something else than it began with.

    Raises
    ------
    InputError
        With the first difference.
    """
    for change in _changes(now, then):
        raise InputError(
            f"{where}: cannot go on, since {change}; run it as it began, or begin anew with --force"
        )


def _changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[str]:
    for setting, found, before in _differences(now["settings"], then.get("settings")):
        yield f"the plan has changed: {setting or 'it'} is {_shown(found)}, was {_shown(before)}"
    for name, found, before in _differences(now["data"], then.get("data")):
        lack = "is no more there" if found is None else "is new" if before is None else "has changed"
        yield f"the data of {name or 'the envoys'} {lack}"
    if not is_equal(now["code"], str(then.get("code"))):
        yield "the code has changed"
    for name, found, before in _differences(now["versions"], then.get("versions")):
        yield f"the version of {name or 'a library'} is {found}, was {before}"
    for key in sorted(now.keys() - {"settings", "data", "code", "versions", "plan", "command"}):
        if now[key] != then.get(key):
            yield f"the {key} has changed: it is {_shown(now[key])}, was {_shown(then.get(key))}"


def _differences(now: Any, then: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(now, Mapping) and isinstance(then, Mapping):
        for key in sorted(now.keys() | then.keys()):
            yield from _differences(now.get(key), then.get(key), f"{name}.{key}" if name else key)
    elif now != then:
        yield name, now, then


def _shown(value: Any) -> str:
    return json.dumps(value)[:60]
