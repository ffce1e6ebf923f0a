"""What a site's policy says to a plan.

The director asks what the site has announced before it starts an experiment; the site asks itself again before it runs one,
since it believes no director.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.protocol import federation_pb2 as pb

Asked = Mapping[str, float | str]

_BOUNDED = {
    "rounds": (("aggregator", "settings", "rounds_to_train"),),
    "threads": (("federation", "settings", "torch_threads"),),
    "round_seconds": (("federation", "settings", "round_limit"),),
    "epochs": (("task_runner", "settings", "epochs"),),
    "batch_size": (
        ("task_runner", "settings", "batch_size"),
        ("task_runner", "settings", "evaluation_batch_size"),
    ),
}
_DEFAULTS = {"round_seconds": 86_400.0}  # that a plan's JSON leaves out
CHECKPOINT, PARAMETERS = "checkpoint", "parameters"


def asked_by(config: Mapping[str, Any]) -> dict[str, float | str]:
    """Say what a checked plan asks for that a policy may bound, by the bound's name; and its checkpoint, if it has one.

    Settings of an experiment that is not installed here are data: what is no number is left to the sites.
    """
    asked: dict[str, float | str] = {}
    for name, paths in _BOUNDED.items():
        found = [value for path in paths if _is_number(value := _at(config, path))]
        if found or name in _DEFAULTS:
            asked[name] = max(found, default=_DEFAULTS.get(name, 0))
    checkpoint = _at(config, ("task_runner", "settings", "checkpoint"))
    if isinstance(checkpoint, str):
        asked[CHECKPOINT] = checkpoint
    return asked


def objection(policy: pb.SitePolicy, asked: Asked) -> str | None:
    """Say what a site's policy objects to, as a clause about the site that names the rule; None if it does not."""
    checkpoint = asked.get(CHECKPOINT)
    if policy.limits_checkpoints and checkpoint is not None and checkpoint not in policy.checkpoints:
        return f"does not permit the checkpoint {checkpoint} (its site policy: checkpoints)"
    for name in sorted(policy.bounds.keys() & asked.keys()):
        limit, wanted = policy.bounds[name], float(asked[name])
        if wanted > limit:
            return f"permits {name} up to {limit:.12g}, the plan asks for {wanted:.12g} (its site policy: bounds.{name})"
    return None


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
