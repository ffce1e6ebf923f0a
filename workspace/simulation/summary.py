"""What a simulation comes to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from federation.errors import InputError
from federation.files import read_regular
from workspace.simulation.run_folder import MOST_BYTES, SUMMARY


@dataclass(frozen=True)
class Summary:
    """What a simulation leaves in ``summary.json``.

    ``test_accuracy`` is the best model's on the federation file's test shard, ``test`` and ``last_test`` hold all metrics of
    the best and the last model; None without a test shard, or where there are no classes. ``exchanged_sha256`` names the
    exchanged tensors after the last round, ``exchanged_bytes`` is what an envoy sends in a round, and receives as well.
    ``state`` is "finished" or "interrupted": then ``rounds`` are those that were done, and nothing has been tested.
    """

    plan: str
    state: str
    rounds: int
    envoys: list[str]
    best_round: int
    test_accuracy: float | None
    last_test_accuracy: float | None
    test: dict[str, float] | None
    last_test: dict[str, float] | None
    exchanged_sha256: str
    exchanged_bytes: int
    seconds: float
    peak_memory_mb: float


def read_summary(folder: Path) -> Summary:
    """Read what a simulation has left in a folder.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        return Summary(**json.loads(read_regular(folder / SUMMARY, MOST_BYTES)))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder / SUMMARY}: cannot be read ({error}); begin anew with --force") from error
