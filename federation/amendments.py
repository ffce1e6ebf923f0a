"""What may be changed of an experiment when it is resumed: its rounds and limits, and the code that it goes on with.

The director applies a change when it is asked for; a site applies all of them again to the plan that was signed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping

from federation.document import Problems
from federation.errors import InputError
from federation.plan import CheckedPlan, plan_from_json
from federation.plan_checks import Checking

CHANGEABLE = (
    "aggregator.settings.rounds_to_train",
    "federation.settings.grace",
    "federation.settings.patience",
    "federation.settings.round_limit",
    "straggler_handling_policy.settings.straggler_cutoff_time",
)
MOST = 1000
"""Amendments of one experiment: each travels to the sites with every order."""
ACCEPT_CODE = "accept_code"
"""In an amendment beside a plan's settings: go on with the code that the envoys which are held share."""


def amended(plan: str, settings: Mapping[str, str], name: str, experiment: Checking) -> CheckedPlan:
    """Change the rounds and limits of an experiment's plan.

    Parameters
    ----------
    plan : str
        Its JSON.
    settings : mapping
        Dotted keys of the plan, and their values in JSON.
    name : str
        Of the experiment.
    experiment
        As in `plan_from_json`.

    Raises
    ------
    InputError
        If another setting is to be changed, or what comes out is no plan.
    """
    config = json.loads(plan)
    for key, value in sorted(settings.items()):
        if key not in CHANGEABLE:
            meant = difflib.get_close_matches(key[:100], CHANGEABLE, n=1, cutoff=0.9)
            hint = f" (did you mean {meant[0]}?)" if meant else ""
            raise InputError(
                f"{key[:100]} cannot be changed by a resume{hint}: only {', '.join(CHANGEABLE)}; for anything else submit a "
                f"plan with `federation.settings.start_from: {{experiment: {name}}}`"
            )
        section, _, setting = key.split(".")
        try:
            config.setdefault(section, {}).setdefault("settings", {})[setting] = json.loads(value)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{key}: {value[:100]!r} is no value in JSON") from error
    try:
        return plan_from_json(json.dumps(config), name, experiment)
    except Problems as error:
        raise InputError("; ".join(str(error).splitlines())) from error


def amendment_settings(settings: Mapping[str, str], accept_code: bool) -> dict[str, str]:
    """Return what is signed of a resume; empty if it changes nothing."""
    return dict(settings) | ({ACCEPT_CODE: "true"} if accept_code else {})
