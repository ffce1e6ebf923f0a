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
    """

    name: str
    experiment: str
    rounds: int
    envoys: int
    dataset: str
    classes: int
    classes_sha256: str


def needs_of(name: str, config: Mapping[str, Any]) -> Needs:
    """Take an experiment's needs from the configuration of a checked plan.

    Raises
    ------
    KeyError, TypeError
        If it is none.
    """
    federation = config["federation"]["settings"]
    return Needs(
        name=name,
        experiment=str(config["task_runner"]["settings"]["experiment"]),
        rounds=int(config["aggregator"]["settings"]["rounds_to_train"]),
        envoys=int(federation["envoys"]),
        dataset=str(federation["dataset"]),
        classes=len(federation["classes"]),
        classes_sha256=fingerprint(federation["classes"]),
    )


def fingerprint(classes: Iterable[str]) -> str:
    """Return the SHA-256 of a list of labels; two lists have the same if they are equal and in the same order."""
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()
