"""What an experiment asks for, in the few values that listing and scheduling read in the place of its plan.

A plan may be large, and is checked anew whenever it is read: as a whole it is read when its experiment is taken in, and when
it is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from federation.site_policy import PARAMETERS, asked_by


@dataclass(frozen=True)
class Needs:
    """How long an experiment takes, and which envoys it can be run with.

    Parameters
    ----------
    name
        Of this run, as the director calls it.
    experiment
        Which of the installed experiments it runs.
    rounds
        How many it trains; 0 if its plan cannot be read.
    envoys
        At least so many must be there.
    dataset
        What their shards must hold.
    classes, classes_sha256
        How many labels there are, and the `fingerprint` of their list.
    asked
        JSON of what sites' policies may object to (`federation.site_policy`).
    best_metric
        Which decides what the best model is.
    """

    name: str
    experiment: str
    rounds: int
    envoys: int
    dataset: str
    classes: int
    classes_sha256: str
    asked: str
    best_metric: str


def needs_of(name: str, config: Mapping[str, Any], parameters: float | None = None) -> Needs:
    """Take an experiment's needs from the configuration of a checked plan.

    Parameters
    ----------
    name
        Of this run.
    config
        The plan's.
    parameters
        How many its initial model exchanges, where that is known; the whole model has at least as many.

    Raises
    ------
    KeyError, TypeError
        If it is none.
    """
    federation = config["federation"]["settings"]
    asked = asked_by(config) | ({} if parameters is None else {PARAMETERS: parameters})
    return Needs(
        name=name,
        experiment=str(config["task_runner"]["settings"]["experiment"]),
        rounds=int(config["aggregator"]["settings"]["rounds_to_train"]),
        envoys=int(federation["envoys"]),
        dataset=str(federation["dataset"]),
        classes=len(federation["classes"]),
        classes_sha256=fingerprint(federation["classes"]),
        asked=json.dumps(asked, sort_keys=True),
        best_metric=str(config["aggregator"]["settings"]["best_metric"]),
    )


def fingerprint(classes: Iterable[str]) -> str:
    """Return the SHA-256 of a list of labels; two lists have the same if they are equal and in the same order."""
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()
