"""The rounds of one experiment: OpenFL's life cycle with a journal, and a rule for who counts.

What of ``openfl.component.Aggregator`` 1.9 is replaced here, and why:

========================  =============================================================================================
``__init__``              builds a protobuf of the whole model, shares its default ``callbacks=[]`` between aggregators,
                          persists to ``tensor.db`` in the current folder
``process_task_results``  takes no lock; OpenFL's quorum divides by all who were ever authorised
``_end_of_round_check``   ``last.pbuf`` lacks the last aggregate, which is never validated
========================  =============================================================================================

The cycle is OpenFL's: tasks are assigned, results come in, the straggler policy says when a round may end, the round ends,
callbacks run. A round's sums are taken when it ends, tensor by tensor, in the order of the sorted names.

A round closes when each envoy of its cohort has finished, failed, been excluded or become absent, and one has finished. An
envoy counts in it with all of its tasks or with none. If nobody is left the round begins again, with envoys drawn anew.

Nothing changes here before it is written: a record that cannot write leaves everything as it was, and `go_on` tries again.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Condition, RLock
from typing import Any

import openfl.callbacks as openfl_callbacks
from openfl.component import Aggregator as OpenFLAggregator
from openfl.component import WaitForAllPolicy
from openfl.pipelines import NoCompressionPipeline, TensorCodec
from openfl.utilities import TaskResultKey, TensorKey, change_tags

from federation.engine.assigner import validates_the_aggregate
from federation.engine.outcome import Finished, Outcome, best_of, events_of, outcome_of
from federation.engine.participation import Participation
from federation.engine.results import (
    ClosedRound,
    OpenedRound,
    Progress,
    Record,
    TaskOutput,
)
from federation.engine.tensor_db import TensorDB
from federation.settings import FederationSettings
from federation.tensors import Tensors, specs_of

logger = logging.getLogger(__name__)


class Rounds(OpenFLAggregator):
    """The rounds of one experiment, from the first to the last.

    Parameters
    ----------
    aggregator_uuid, federation_uuid, authorized_cols, assigner, straggler_handling_policy, compression_pipeline, \
initial_tensor_dict, rounds_to_train, callbacks
        As in OpenFL; ``authorized_cols`` are the experiment's envoys, ``initial_tensor_dict`` the exchanged tensors.
    best_metric, best_direction
        The metric of the aggregate's validation that decides which model is best, and "maximize" or "minimize".
    federation
        The plan's section: how many envoys a round needs and draws, classes, kind of metrics, patience, seed.
    record
        Where results and rounds are written before they count.
    progress
        Where to go on after a restart.
    there
        The envoys that are there now: see `arrive`.
    planned
        The cohorts of rounds that have been run already, by number, in the place of draws.
    most_seen
        How often a round's training may see each sample.
    """

    def __init__(
        self,
        aggregator_uuid: str,
        federation_uuid: str,
        authorized_cols: Sequence[str],
        assigner: Any,
        initial_tensor_dict: Tensors,
        record: Record,
        federation: FederationSettings,
        progress: Progress,
        there: Sequence[str] = (),
        straggler_handling_policy: Callable[[], Any] = WaitForAllPolicy,
        compression_pipeline: Any = None,
        rounds_to_train: int = 1,
        best_metric: str = "accuracy",
        best_direction: str = "maximize",
        callbacks: Sequence[Any] = (),
        planned: Mapping[int, OpenedRound] | None = None,
        most_seen: float = 1.0,
    ) -> None:
        self.uuid = aggregator_uuid
        self.federation_uuid = federation_uuid
        self.authorized_cols = sorted(authorized_cols)
        self.assigner = assigner
        self.rounds_to_train = rounds_to_train
        self.round_number = progress.round_number
        self.straggler_handling_policy = straggler_handling_policy()
        self.single_col_cert_common_name = ""
        self.connector = None
        self.persistent_db = None
        self.use_delta_updates = False
        self._secure_aggregation_enabled = False
        self.compression_pipeline = compression_pipeline or NoCompressionPipeline()
        self.tensor_codec = TensorCodec(self.compression_pipeline)
        self.metric_queue: queue.Queue[Any] = queue.Queue()

        self.record = record
        self.best_metric = best_metric
        self.best_direction = best_direction
        self.best = progress.best
        self.federation = federation
        self.most_seen = most_seen
        self.follows = planned is not None
        self.failure: str | None = None
        self.stopped = False

        self.participation = Participation(record, federation, progress, there, planned)
        self.members = self.participation.members
        # OpenFL's names for the same lists.
        self.stragglers, self.collaborators_done = self.participation.late, self.participation.done
        self.quit_job_sent_to: list[str] = []
        self.collaborator_tasks_results: dict[Any, TaskOutput] = {}
        self.collaborator_task_weight: dict[Any, int] = {}

        self.lock = RLock()
        self.turned = Condition(self.lock)
        # Told beside those who wait in `get_tasks`, for a caller that must not hold a thread while it waits.
        self.on_turn: Callable[[], None] = lambda: None
        # Told of a fault of the machine that kept a round from turning.
        self.on_fault: Callable[[OSError], None] = lambda error: None
        self._replaying = True
        self._clocks_run = False

        self.expected = specs_of(initial_tensor_dict)
        self.model_bytes = sum(value.nbytes for value in initial_tensor_dict.values())
        self.tensor_db = TensorDB()
        self.tensor_db.cache_model(self.uuid, self.round_number, initial_tensor_dict)

        self.callbacks = openfl_callbacks.CallbackList(
            list(callbacks), tensor_db=self.tensor_db, origin="aggregator"
        )
        self.callbacks.on_experiment_begin()
        if progress.opened is not None:
            self._begin_round(progress.opened)

    def process_task_results(
        self,
        collaborator_name: str,
        round_number: int,
        task_name: str,
        data_size: int,
        named_tensors: TaskOutput,
    ) -> None:
        """Count a checked (or, after a restart, a recorded) result; ends the round if it was the last one."""
        with self.lock:
            key = TaskResultKey(task_name, collaborator_name, round_number)
            self.collaborator_task_weight[key] = data_size
            self.collaborator_tasks_results[key] = named_tensors
            tags = change_tags(("trained",), add_field=collaborator_name)
            self.tensor_db.cache_tensor(
                {
                    TensorKey(name, self.uuid, round_number, False, tags): value
                    for name, value in named_tensors.tensors.items()
                }
            )
            self._is_collaborator_done(collaborator_name, round_number)
            self._end_of_round_with_stragglers_check()

    def _wake(self) -> None:
        self.turned.notify_all()
        self.on_turn()

    def _begin_round(self, opened: OpenedRound) -> None:
        self.participation.begin(opened)
        self.collaborator_tasks_results, self.collaborator_task_weight = {}, {}
        self.assigner.authorized_cols = list(opened.cohort)
        self.straggler_handling_policy.reset_policy_for_round()
        self._start_policy()
        self.callbacks.on_round_begin(self.round_number)

    def _start_policy(self) -> None:
        if self._clocks_run and (opened := self.participation.opened) is not None:
            elapsed = partial(self._straggler_cutoff_time_elapsed, opened.round_number, opened.attempt)
            self.straggler_handling_policy.start_policy(callback=elapsed)

    def _is_open(self, round_number: int, attempt: int) -> bool:
        opened = self.participation.opened
        return opened is not None and (opened.round_number, opened.attempt) == (round_number, attempt)

    def _open_tasks(self, collaborator_name: str) -> list[str]:
        there = collaborator_name in self.members.there
        if not there or not self.participation.is_awaited(collaborator_name):
            return []
        tasks = self.assigner.get_tasks_for_collaborator(collaborator_name, self.round_number)
        return [
            t for t in tasks if not self._collaborator_task_completed(collaborator_name, t, self.round_number)
        ]

    def _awaited(self) -> list[str]:
        """Return those of the round's cohort that have tasks to finish, and may."""
        tasks = self.assigner.get_tasks_for_collaborator
        cohort = self.participation.cohort
        return [n for n in cohort if self.participation.is_awaited(n) and tasks(n, self.round_number)]

    def _straggler_cutoff_time_elapsed(self, round_number: int, attempt: int) -> None:
        with self.lock:
            if not self._is_open(round_number, attempt):
                return
            policy = self.straggler_handling_policy
            # The timer runs on the monotonic clock, the policy's check on the wall clock, which may disagree by a little.
            policy.round_start_time = min(
                policy.round_start_time, time.time() - policy.straggler_cutoff_time - 1e-3
            )
            logger.warning("round %d: the time for stragglers is over", self.round_number)
            self._end_of_round_with_stragglers_check()

    def _end_of_round_with_stragglers_check(self) -> None:
        """Turn the round if it is time; what goes wrong then is the experiment's failure, not that of whoever reported last."""
        if self._replaying or self._time_to_quit():
            return
        try:
            try:
                self._turn()
            except OSError:
                raise
            except Exception as error:
                logger.exception("round %d cannot be ended", self.round_number)
                self.abort(f"round {self.round_number} cannot be ended: {str(error) or type(error).__name__}")
        except OSError as error:
            # A fault of the machine gives nothing up, and is not that of whoever has called.
            logger.error("round %d cannot turn now: %s", self.round_number, error)
            self.on_fault(error)

    def _turn(self) -> None:
        awaited, done = self._awaited(), len(self.collaborators_done)
        check = self.straggler_handling_policy.straggler_cutoff_check
        if awaited and not (done and check(done, done + len(awaited))):
            return
        if self.participation.diverged and (reason := self.participation.judge_diverged(self.round_number)):
            self.abort(reason)
            return
        self._drop_results()
        if self._has_results():
            self._end_of_round_check(awaited)
        elif not awaited and (reason := self.participation.too_few()):
            self.abort(reason)
        elif not awaited and (opened := self.participation.again(self.round_number)):
            self.record.open_round(opened)
            self._begin_round(opened)
            self._wake()

    def _drop_results(self) -> None:
        """Forget what those have sent that count for nothing in the round."""
        for key in [key for key in self.collaborator_tasks_results if key.owner in self.participation.out]:
            del self.collaborator_tasks_results[key]

    def _has_results(self) -> bool:
        """Say whether each kind of work of the round was finished by one: training without an update is none."""
        trained = self._training_task()
        return bool(self.collaborators_done) and (trained is None or bool(self._result_keys(trained)))

    def _training_task(self) -> str | None:
        tasks = self.assigner.get_all_tasks_for_round(self.round_number)
        return next((task for task in tasks if self.assigner.tasks[task]["function"] == "train_task"), None)

    def _outcome(self, tasks: Sequence[str]) -> Outcome:
        """Return what the open round comes to; collaborators weigh by what they announced, if that is known."""
        outputs = {(key.task_name, key.owner): sent for key, sent in self.collaborator_tasks_results.items()}
        said = {(key.task_name, key.owner): size for key, size in self.collaborator_task_weight.items()}
        names, trained = sorted(self.collaborators_done), self._training_task()
        known = {name: self.members[name].announced("train") for name in names}
        weights = {name: said.get((trained, name), 0) if n is None else n for name, n in known.items()}
        finished = Finished(self.round_number, names, tasks, trained, outputs, weights)
        function = self.assigner.get_aggregation_type_for_task(trained) if trained else None
        return outcome_of(finished, self.tensor_db, self.uuid, self.expected, self.federation, function)

    def _result_keys(self, task_name: str) -> list[Any]:
        keys = [TaskResultKey(task_name, name, self.round_number) for name in sorted(self.collaborators_done)]
        return [key for key in keys if key in self.collaborator_tasks_results]

    def _end_of_round_check(self, late: Sequence[str] = ()) -> None:
        """Derive metrics, aggregate, write it down, and let the next round begin."""
        number = self.round_number
        tasks = self.assigner.get_all_tasks_for_round(number)
        outcome = self._outcome(tasks)
        metrics, model = outcome.metrics, outcome.model
        validating = [task for task in tasks if validates_the_aggregate(self.assigner.tasks[task])]
        scores = [metrics[task].get(self.best_metric) for task in validating]
        best = best_of(self.best, number, scores, self.best_direction)
        last = number >= self.rounds_to_train or (
            number + 1 == self.rounds_to_train
            and not self.assigner.get_all_tasks_for_round(self.rounds_to_train)
        )
        patience, reason = self.federation.patience, ""
        since = best.since(self.best_direction) if best is not None else number
        if not last and patience is not None and number - since >= patience:
            last = True
            reason = f"{self.best_metric} has not improved for {patience} rounds"
        failure = "" if last else self.participation.too_few()
        opens = None if last or failure else self.participation.drawn(number + 1, 0)
        cohort, all_late = tuple(sorted(self.collaborators_done)), tuple(sorted({*self.stragglers, *late}))
        left_out, events = tuple(outcome.left_out), events_of(outcome, number)
        closed = ClosedRound(
            number, cohort, metrics, model, best, last, all_late, opens, failure, reason, left_out, events
        )
        kept = self.record.close_round(closed)
        self.best = best
        for name in closed.counted:
            self.members[name].counted = number
        logs = {f"aggregator/{task}/{name}": value for task in tasks for name, value in metrics[task].items()}
        self.callbacks.on_round_end(number, logs)

        current = kept if kept is not None else self.get_model(number)
        self.round_number = self.rounds_to_train + 1 if last else number + 1
        self.participation.close()
        self.collaborator_tasks_results = {}
        self.tensor_db.clean_up(0)
        self.tensor_db.cache_model(self.uuid, self.round_number, current)
        if last or failure:
            self._has_ended(failure or None)
        elif opens is not None:
            self._begin_round(opens)
        self._wake()

    def _time_to_quit(self) -> bool:
        return bool(self.finished or self.failure is not None or self.stopped)

    def _end(self, state: str, reason: str) -> None:
        with self.turned:
            if not self._time_to_quit():
                self.record.end(state, reason)
                self._has_ended(reason if state == "failed" else None, state == "stopped")

    def _has_ended(self, failure: str | None = None, stopped: bool = False) -> None:
        self.failure, self.stopped = failure, stopped
        self.straggler_handling_policy.reset_policy_for_round()
        self.callbacks.on_experiment_end()
        self._wake()

    @property
    def finished(self) -> bool:
        """Whether every round, and the validation of the last aggregate, is done."""
        return bool(self.round_number > self.rounds_to_train)
