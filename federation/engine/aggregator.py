"""The aggregator of one experiment, as collaborators and the director call it; its rounds are in `federation.engine.rounds`.

What of ``openfl.component.Aggregator`` 1.9 is replaced here, and why:

===========================  ==========================================================================================
``get_tasks``                tells an idle collaborator to sleep 10 s; here the call waits for the round
``get_aggregated_tensor``    polls every 5 s, one call for each tensor; see `get_model`
``send_local_task_results``  records before it checks: a wrong shape wedges the round, a NaN poisons it
===========================  ==========================================================================================
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from federation.engine.checks import check_result, norm_of
from federation.engine.client import StaleRound
from federation.engine.members import ABSENT, EXCLUDED, FAILED
from federation.engine.results import TaskOutput, TaskResult
from federation.engine.rounds import Rounds
from federation.errors import DIVERGED, Refused
from federation.tensors import Tensors

logger = logging.getLogger(__name__)


class Aggregator(Rounds):
    """Coordinates the rounds of one experiment; passive, driven by its callers' threads. `go_on` begins.

    Its parameters are those of `Rounds`.
    """

    # What collaborators call.

    def get_tasks(self, collaborator_name: str, wait: float = 0.0) -> tuple[list[str] | None, int, int, bool]:
        """Return a collaborator's open tasks, waiting for the round to turn if there are none.

        Parameters
        ----------
        wait
            Seconds to wait at most; 0 answers at once.

        Returns
        -------
        tasks, round_number, sleep_time, time_to_quit
            As in OpenFL; ``sleep_time`` is always 0.
        """
        deadline = time.monotonic() + wait
        with self.turned:
            while True:
                if self._time_to_quit() or not self.members.takes_part(collaborator_name):
                    self.quit_job_sent_to.append(collaborator_name)
                    return None, self.round_number, 0, True
                tasks = self._open_tasks(collaborator_name)
                left = deadline - time.monotonic()
                if tasks or left <= 0:
                    return tasks or None, self.round_number, 0, False
                self.turned.wait(left)

    def wait_for_work(self, collaborator_names: Sequence[str]) -> None:
        """Wait until there are tasks for one of these collaborators, or it is time to quit."""
        with self.turned:
            self.turned.wait_for(
                lambda: self._time_to_quit() or any(map(self._open_tasks, collaborator_names))
            )

    def get_model(self, round_number: int) -> Tensors:
        """Return the exchanged tensors that a round starts from, all at once.

        Raises
        ------
        StaleRound
            If the round is not the one that is open.
        """
        with self.lock:
            if round_number != self.round_number:
                raise StaleRound(f"round {round_number} is not open; round {self.round_number} is")
            return self.tensor_db.model(self.uuid, round_number, self.expected)

    def counted_of(self, collaborator_name: str) -> int | None:
        """Return the last round in which a collaborator counted; None if it did in none."""
        with self.lock:
            member = self.members.get(collaborator_name)
            return member.counted if member else None

    def send_local_task_results(
        self,
        collaborator_name: str,
        round_number: int,
        task_name: str,
        data_size: int,
        named_tensors: TaskOutput,
    ) -> bool:
        """Check a result, write it down, and count it.

        Returns
        -------
        bool
            False if it came too late (another round is open, or it is run without this collaborator) or was counted before.

        Raises
        ------
        Refused
            If the result is not what the task must send. Nothing has been recorded then.
        """
        if not self.wants(collaborator_name, round_number, task_name):
            return False
        trains = self.assigner.tasks[task_name]["function"] == "train_task"
        metrics = check_result(
            task_name,
            data_size,
            named_tensors,
            self.expected if trains else None,
            self.federation.metrics,
            self.federation.classes,
            self._most_samples(collaborator_name, trains),
        )
        if trains:
            try:
                length = norm_of(named_tensors, self.get_model(round_number))
            except StaleRound:
                return False
            named_tensors = replace(named_tensors, norm=length)
            metrics = {**metrics, "update_norm": length}
        result = TaskResult(collaborator_name, round_number, task_name, data_size, named_tensors, metrics)
        with self.lock:
            if not self.wants(collaborator_name, round_number, task_name):
                return False
            self.record.result(result)
            self.process_task_results(collaborator_name, round_number, task_name, data_size, named_tensors)
        return True

    def _most_samples(self, collaborator_name: str, trains: bool) -> int | None:
        """Return how many samples a collaborator can have used for a task; None if it is not known what it has."""
        announced = self.members[collaborator_name].announced("train" if trains else "validation")
        return None if announced is None else int(announced * (self.most_seen if trains else 1.0))

    def wants(self, collaborator_name: str, round_number: int, task_name: str) -> bool:
        """Say whether a result would count; raises as `send_local_task_results` does."""
        with self.lock:
            runs = self.participation.runs(collaborator_name)
            if not runs and not self.members.takes_part(collaborator_name):
                raise Refused(f"{collaborator_name} is not in the cohort of this experiment")
            late = collaborator_name in self.stragglers or collaborator_name in self.members.held
            if self._time_to_quit() or round_number != self.round_number or not runs or late:
                logger.info("%s reports %s of round %d too late", collaborator_name, task_name, round_number)
                return False
            if task_name not in self.assigner.get_tasks_for_collaborator(collaborator_name, round_number):
                raise Refused(f"task {task_name[:100]!r} was not assigned in round {round_number}")
            return not self._collaborator_task_completed(collaborator_name, task_name, round_number)

    # What is known of collaborators.

    def arrive(self, name: str) -> None:
        """Take note that an envoy is there. One that was absent takes part again, from the next round."""
        self._note(lambda: self.participation.arrive(name, self.round_number))

    def depart(self, name: str, reason: str, held: bool = False) -> None:
        """Take note that an envoy is not there; of one that is held no result counts."""
        self._note(lambda: self.participation.depart(name, self.round_number, reason, held))

    def give_up(self, name: str, reason: str) -> None:
        """Wait for an envoy no longer: it is absent until it is back."""
        self._note(lambda: self.participation.leave(name, ABSENT, "envoy_absent", self.round_number, reason))

    def fail(self, collaborator_name: str, reason: str, traceback: str = "", kind: str = "") -> None:
        """Take a collaborator that failed out; if too few can be reached then, the experiment fails with the open round.

        One that is `DIVERGED` is judged when the rest of the round have reported: it may be the model that is at fault.
        """
        number = self.round_number
        if kind == DIVERGED and not self.follows and self.participation.is_awaited(collaborator_name):
            logger.warning("%s diverged: %s", collaborator_name, reason)
            self._note(lambda: self.participation.diverge(collaborator_name, number, reason, traceback))
            return
        logger.warning("%s failed: %s", collaborator_name, reason)
        self._note(
            lambda: self.participation.leave(
                collaborator_name, FAILED, "envoy_failed", number, reason, traceback
            )
        )
        if self.follows:
            self.abort(f"{collaborator_name} failed, where it is said to have counted: {reason}")

    def exclude(self, name: str, reason: str) -> None:
        """Take a collaborator out because somebody asked for it."""
        self._note(
            lambda: self.participation.leave(name, EXCLUDED, "envoy_excluded", self.round_number, reason)
        )

    def expel(self, name: str, reason: str) -> None:
        """Take a collaborator out because it is not to be believed: what it has sent for the open round does not count."""
        self._note(lambda: self.participation.expel(name, self.round_number, reason))

    def take_back(self, name: str) -> None:
        """Let a collaborator that failed or was excluded take part again, from the next round."""
        self._note(lambda: self.participation.take_back(name, self.round_number))

    def _note(self, change: Callable[[], bool | None]) -> None:
        with self.turned:
            if not self._time_to_quit() and change():
                self._end_of_round_with_stragglers_check()
                self._wake()

    # What ends a round or the experiment.

    def go_on(self) -> None:
        """Open, close or end what is due: at the beginning, after a restart, and when the machine can write again."""
        with self.turned:
            self._replaying = False
            self._end_of_round_with_stragglers_check()

    def start_clocks(self) -> None:
        """Let time count from now on for the straggler policy; in a simulation it does not."""
        with self.turned:
            if not self._clocks_run and not self._time_to_quit():
                self._clocks_run = True
                self._start_policy()

    def pass_limit(self, round_number: int, attempt: int) -> None:
        """End the time of those that are there and have not finished a round."""
        with self.turned:
            if self._is_open(round_number, attempt):
                self.stragglers += [name for name in self._awaited() if name in self.members.there]
                self._end_of_round_with_stragglers_check()

    def abort(self, reason: str) -> None:
        """End the experiment as failed."""
        self._end("failed", reason)

    def stop(self, failed_collaborator: str | None = None) -> None:
        """End the experiment because somebody asked for it."""
        self._end("stopped", "stopped on request")
