"""How a collaborator reaches its aggregator: the interface, and the direct one of a simulation.

OpenFL's ``AggregatorClientInterface`` fetches one tensor a call, 430 calls a round for wav2vec2-base. Ours moves a whole
model a call; its transports are this direct one, pipes (`workspace.simulation.pipes`) and gRPC (`envoy.client`).
"""

from __future__ import annotations

from typing import Any, Protocol

from federation.engine.results import TaskOutput
from federation.errors import FederationError
from federation.tensors import Tensors


class StaleRound(FederationError):  # noqa: N818
    """The round that a call was about has ended; the caller asks for its tasks again."""


def rounds_to(last: int | None) -> int:
    """Return one more than the number of a round, 0 if there is none."""
    return 0 if last is None else last + 1


class AggregatorClient(Protocol):
    """What a collaborator asks of its aggregator."""

    def get_tasks(self) -> tuple[list[str] | None, int, int, bool]:
        """Return tasks, round, seconds to sleep (always 0) and whether to quit; waits while there is nothing to do."""

    def counted(self) -> int | None:
        """Return one more than the round in which the collaborator counted last when it got its tasks, 0 if it never did.

        None stands for an aggregator that does not say it.
        """

    def get_model(self, round_number: int) -> Tensors:
        """Return the exchanged tensors that a round starts from."""

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        """Send a task's output; False if it came too late to count."""


class DirectClient:
    """Calls an aggregator in the same process, for a simulation that takes its collaborators in turn."""

    def __init__(self, aggregator: Any, collaborator_name: str) -> None:
        self._aggregator = aggregator
        self._name = collaborator_name
        self._counted: int | None = None

    def get_tasks(self) -> tuple[list[str] | None, int, int, bool]:
        """Return what is to be done now; never waits."""
        tasks: tuple[list[str] | None, int, int, bool] = self._aggregator.get_tasks(self._name)
        self._counted = rounds_to(self._aggregator.counted_of(self._name))
        return tasks

    def counted(self) -> int | None:
        """Return what was so when the last tasks were given out."""
        return self._counted

    def get_model(self, round_number: int) -> Tensors:
        """Return the model without copying it."""
        model: Tensors = self._aggregator.get_model(round_number)
        return model

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        """Hand over a task's output."""
        return bool(
            self._aggregator.send_local_task_results(
                self._name, round_number, task_name, data_size, named_tensors
            )
        )
