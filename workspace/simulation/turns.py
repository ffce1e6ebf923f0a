"""Take several collaborators of one process in turn: torch's generators and threads are global, so two never train at once."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence

from federation.engine.client import AggregatorClient
from federation.engine.collaborator import Collaborator
from federation.engine.results import TaskOutput
from federation.errors import FederationError, kind_of
from federation.tensors import Tensors

logger = logging.getLogger(__name__)

Fail = Callable[[str, str, str, str], None]  # envoy, reason, traceback, kind


class TurnClient:
    """Passes calls on and notes whether the last one found work."""

    def __init__(self, client: AggregatorClient) -> None:
        self._client = client
        self.idle = False

    def get_tasks(self) -> tuple[list[str] | None, int, int, bool]:
        """Ask for tasks without waiting."""
        tasks, round_number, sleep, time_to_quit = self._client.get_tasks()
        self.idle = not tasks
        return tasks, round_number, sleep, time_to_quit

    def counted(self) -> int | None:
        """Pass on."""
        return self._client.counted()

    def get_model(self, round_number: int) -> Tensors:
        """Pass on."""
        return self._client.get_model(round_number)

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        """Pass on."""
        return self._client.send_local_task_results(round_number, task_name, data_size, named_tensors)


def take_turns(
    collaborators: Sequence[Collaborator],
    clients: Mapping[str, TurnClient],
    fail: Fail,
    wait_for_work: Callable[[Sequence[str]], None],
) -> None:
    """Run collaborators until the aggregator has told all of them to quit.

    Parameters
    ----------
    collaborators
        In the order in which they are taken.
    clients
        Theirs, by the collaborator's name.
    fail
        Told of a collaborator that raised; the others go on.
    wait_for_work
        Returns when one of these has work, or it is time to quit; called when none has.
    """
    active = list(collaborators)
    while active:
        for collaborator in list(active):
            try:
                if not collaborator.run_once():
                    active.remove(collaborator)
            except Exception as error:
                logger.exception("%s cannot go on", collaborator.collaborator_name)
                active.remove(collaborator)
                fail(collaborator.collaborator_name, *describe(error))
        if active and all(clients[c.collaborator_name].idle for c in active):
            wait_for_work([c.collaborator_name for c in active])


def describe(error: Exception) -> tuple[str, str, str]:
    """Return an error's one line, its traceback and its kind, as a failure is reported."""
    reason = str(error) if isinstance(error, FederationError) else f"{type(error).__name__}: {error}"
    return reason, "".join(traceback.format_exception(error)), kind_of(error)
