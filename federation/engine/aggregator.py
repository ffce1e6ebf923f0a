"""The aggregator of one experiment: OpenFL's life cycle with checks, a journal and no sleeping.

What of ``openfl.component.Aggregator`` 1.9 is replaced, and why:

===========================================  ==========================================================================
``__init__``                                 builds a protobuf of the whole model, shares its default ``callbacks=[]``
                                             between aggregators, persists to ``tensor.db`` in the current folder
``get_tasks``                                tells an idle collaborator to sleep 10 s; here the call waits for the round
``get_aggregated_tensor``                    polls every 5 s, one call for each tensor; see `get_model`
``send_local_task_results``                  records before it checks: a wrong shape wedges the round, a NaN poisons it
``process_task_results``                     takes no lock; OpenFL's quorum divides by all who were ever authorised
``_compute_validation_related_task_metrics`` averages metrics and lets every one of them compete for "best"
``_end_of_round_check``                      ``last.pbuf`` lacks the last aggregate, which is never validated
===========================================  ==========================================================================

The cycle is OpenFL's: tasks are assigned, results come in, the straggler policy says when a round may end, the round ends,
callbacks run. A round's sums are taken when it ends, tensor by tensor, in the order of the sorted names.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Condition, RLock
from typing import Any

import openfl.callbacks as openfl_callbacks
from openfl.component import Aggregator as OpenFLAggregator
from openfl.component import WaitForAllPolicy
from openfl.interface.aggregation_functions import WeightedAverage
from openfl.pipelines import NoCompressionPipeline, TensorCodec
from openfl.utilities import TaskResultKey, TensorKey, change_tags

from federation import statistics as sums
from federation.engine.assigner import validates_the_aggregate
from federation.engine.client import StaleRound
from federation.engine.results import BestModel, ClosedRound, Record, TaskOutput, TaskResult
from federation.engine.tensor_db import TensorDB
from federation.errors import Refused
from federation.tensors import Tensors, all_finite, check_update, specs_of

logger = logging.getLogger(__name__)


class Aggregator(OpenFLAggregator):
    """Coordinates the rounds of one experiment; passive, driven by its callers' threads.

    Parameters
    ----------
    aggregator_uuid, federation_uuid, authorized_cols, assigner, straggler_handling_policy, compression_pipeline, \
initial_tensor_dict, rounds_to_train, callbacks
        As in OpenFL; ``authorized_cols`` is the cohort, ``initial_tensor_dict`` the exchanged tensors.
    best_metric, best_direction
        The metric of the aggregate's validation that decides which model is best, and "maximize" or "minimize".
    metrics, classes
        How sites' sums become metrics; see `federation.statistics.derive`.
    minimum_collaborators
        With fewer left, the experiment fails.
    record
        Where results and rounds are written before they count.
    round_number, best, resumed
        Where to go on after a restart; a resumed aggregator does not announce its round again.
    """

    def __init__(
        self,
        aggregator_uuid: str,
        federation_uuid: str,
        authorized_cols: Sequence[str],
        assigner: Any,
        initial_tensor_dict: Tensors,
        record: Record,
        straggler_handling_policy: Callable[[], Any] = WaitForAllPolicy,
        compression_pipeline: Any = None,
        rounds_to_train: int = 1,
        best_metric: str = "accuracy",
        best_direction: str = "maximize",
        metrics: str = "classification",
        classes: Sequence[str] = (),
        minimum_collaborators: int = 1,
        callbacks: Sequence[Any] = (),
        round_number: int = 0,
        best: BestModel | None = None,
        resumed: bool = False,
    ) -> None:
        self.uuid = aggregator_uuid
        self.federation_uuid = federation_uuid
        self.authorized_cols = sorted(authorized_cols)
        self.assigner = assigner
        self.rounds_to_train = rounds_to_train
        self.round_number = round_number
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
        self.best = best
        self.metrics_kind = metrics
        self.classes = list(classes)
        self.minimum_collaborators = minimum_collaborators
        self.failure: str | None = None
        self.stopped = False

        self.stragglers: list[str] = []
        self.collaborators_done: list[str] = []
        self.quit_job_sent_to: list[str] = []
        self.collaborator_tasks_results: dict[Any, TaskOutput] = {}
        self.collaborator_task_weight: dict[Any, int] = {}
        self._counted = dict.fromkeys(self.authorized_cols, round_number - 1) if round_number else {}

        self.lock = RLock()
        self.turned = Condition(self.lock)
        # Told beside those who wait in `get_tasks`, for a caller that must not hold a thread while it waits.
        self.on_turn: Callable[[], None] = lambda: None

        self.expected = specs_of(initial_tensor_dict)
        self.model_bytes = sum(value.nbytes for value in initial_tensor_dict.values())
        self.tensor_db = TensorDB()
        self._cache_model(round_number, initial_tensor_dict)

        self.callbacks = openfl_callbacks.CallbackList(
            list(callbacks), tensor_db=self.tensor_db, origin="aggregator"
        )
        self.callbacks.on_experiment_begin()
        self._begin_round(announce=not resumed)

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
                if self._time_to_quit() or collaborator_name not in self.authorized_cols:
                    self.quit_job_sent_to.append(collaborator_name)
                    return None, self.round_number, 0, True
                tasks = self._open_tasks(collaborator_name)
                if tasks:
                    self.straggler_handling_policy.start_policy(callback=self._straggler_cutoff_time_elapsed)
                    return tasks, self.round_number, 0, False
                left = deadline - time.monotonic()
                if left <= 0:
                    return None, self.round_number, 0, False
                self.turned.wait(left)

    def wait_for_turn(self, round_number: int) -> None:
        """Wait until another round than this is open, or it is time to quit."""
        with self.turned:
            self.turned.wait_for(lambda: self.round_number != round_number or self._time_to_quit())

    def counted_of(self, collaborator_name: str) -> int | None:
        """Return the last round in which a collaborator counted; None if it never did."""
        with self.lock:
            return self._counted.get(collaborator_name)

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
            return {name: self._model_tensor(name, round_number) for name in self.expected}

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
            False if it came too late (another round is open) or was counted before.

        Raises
        ------
        Refused
            If the result is not what the task must send. Nothing has been recorded then.
        """
        if not self._is_wanted(collaborator_name, round_number, task_name):
            return False
        metrics = self._check_result(task_name, data_size, named_tensors)
        result = TaskResult(collaborator_name, round_number, task_name, data_size, named_tensors, metrics)
        with self.lock:
            if not self._is_wanted(collaborator_name, round_number, task_name):
                return False
            self.record.result(result)
            self.process_task_results(collaborator_name, round_number, task_name, data_size, named_tensors)
        return True

    def fail(self, collaborator_name: str, reason: str, traceback: str = "") -> None:
        """Take a collaborator that failed out of the cohort; without enough left the experiment fails."""
        with self.turned:
            if collaborator_name not in self.authorized_cols or self._time_to_quit():
                return
            logger.warning("%s failed: %s", collaborator_name, reason)
            self.authorized_cols.remove(collaborator_name)
            if collaborator_name in self.collaborators_done:
                self.collaborators_done.remove(collaborator_name)
            self.assigner.authorized_cols = self.authorized_cols
            self.record.event(
                "envoy_failed",
                envoy=collaborator_name,
                round=self.round_number,
                reason=reason,
                traceback=traceback,
                cohort=list(self.authorized_cols),
            )
            if len(self.authorized_cols) < self.minimum_collaborators:
                self.abort(f"{collaborator_name} failed: {reason}")
            else:
                self._end_of_round_with_stragglers_check()

    def abort(self, reason: str) -> None:
        """End the experiment as failed."""
        with self.turned:
            if not self._time_to_quit():
                self.failure = reason
                self.callbacks.on_experiment_end()
            self._wake()

    def stop(self, failed_collaborator: str | None = None) -> None:
        """End the experiment because somebody asked for it."""
        with self.turned:
            if not self._time_to_quit():
                self.stopped = True
                self.callbacks.on_experiment_end()
            self._wake()

    @property
    def finished(self) -> bool:
        """Whether every round, and the validation of the last aggregate, is done."""
        return bool(self.round_number > self.rounds_to_train)

    # OpenFL's life cycle.

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
            self.tensor_db.cache_tensor(
                {
                    TensorKey(
                        name,
                        self.uuid,
                        round_number,
                        False,
                        change_tags(("trained",), add_field=collaborator_name),
                    ): value
                    for name, value in named_tensors.tensors.items()
                }
            )
            self._is_collaborator_done(collaborator_name, round_number)
            self._end_of_round_with_stragglers_check()

    def _wake(self) -> None:
        self.turned.notify_all()
        self.on_turn()

    def _begin_round(self, announce: bool = True) -> None:
        if announce:
            self.record.event("round_started", round=self.round_number, cohort=list(self.authorized_cols))
        self.callbacks.on_round_begin(self.round_number)

    def _open_tasks(self, collaborator_name: str) -> list[str]:
        if collaborator_name in self.stragglers:
            return []
        tasks = self.assigner.get_tasks_for_collaborator(collaborator_name, self.round_number)
        return [
            t for t in tasks if not self._collaborator_task_completed(collaborator_name, t, self.round_number)
        ]

    def wants(self, collaborator_name: str, round_number: int, task_name: str) -> bool:
        """Say whether a result would count; raises as `send_local_task_results` does."""
        return self._is_wanted(collaborator_name, round_number, task_name)

    def _is_wanted(self, collaborator_name: str, round_number: int, task_name: str) -> bool:
        with self.lock:
            if collaborator_name not in self.authorized_cols:
                raise Refused(f"{collaborator_name} is not in the cohort of this experiment")
            if (
                self._time_to_quit()
                or round_number != self.round_number
                or collaborator_name in self.stragglers
            ):
                logger.info("%s reports %s of round %d too late", collaborator_name, task_name, round_number)
                return False
            if task_name not in self.assigner.get_tasks_for_collaborator(collaborator_name, round_number):
                raise Refused(f"task {task_name[:100]!r} was not assigned in round {round_number}")
            return not self._collaborator_task_completed(collaborator_name, task_name, round_number)

    def _check_result(self, task_name: str, data_size: int, output: TaskOutput) -> Mapping[str, float]:
        trains = self.assigner.tasks[task_name]["function"] == "train_task"
        # A site may hold no validation samples, but an update of no sample has no weight.
        if not int(trains) <= data_size <= sums.MOST_COUNTED:
            raise Refused(f"{task_name}: a sample count of {data_size} is not possible")
        check_update(output.tensors, self.expected if trains else {})
        try:
            sums.check(self.metrics_kind, output.statistics, len(self.classes))
        except Exception as error:
            # Not only what a check refuses: a package's kind may meet sums that it cannot reckon with.
            raise Refused(f"{task_name}: {error}") from error
        if int(output.statistics["samples"]) != data_size:
            raise Refused(
                f"{task_name}: {data_size} samples are said, {int(output.statistics['samples'])} counted"
            )
        try:
            return self._derive(output.statistics)
        except Exception as error:
            raise Refused(f"{task_name}: no metrics come from its statistics: {error}") from error

    def _derive(self, statistics: Tensors) -> dict[str, float]:
        return sums.derive(self.metrics_kind, statistics, self.classes) if int(statistics["samples"]) else {}

    def _straggler_cutoff_time_elapsed(self) -> None:
        with self.lock:
            policy = self.straggler_handling_policy
            # The timer runs on the monotonic clock, the policy's check on the wall clock, which may disagree by a little.
            policy.round_start_time = min(
                policy.round_start_time, time.time() - policy.straggler_cutoff_time - 1e-3
            )
            logger.warning("round %d: the time for stragglers is over", self.round_number)
            self._end_of_round_with_stragglers_check()

    def _end_of_round_with_stragglers_check(self) -> None:
        if self._time_to_quit():
            return
        cohort = [
            c for c in self.authorized_cols if self.assigner.get_tasks_for_collaborator(c, self.round_number)
        ]
        if self.straggler_handling_policy.straggler_cutoff_check(len(self.collaborators_done), len(cohort)):
            self.stragglers = [c for c in cohort if c not in self.collaborators_done]
            if self.stragglers:
                self.record.event("stragglers", round=self.round_number, envoys=self.stragglers)
            self._end_of_round_check()

    def _compute_validation_related_task_metrics(self, task_name: str) -> dict[str, float]:
        """Derive a task's metrics from the sum of what the round's collaborators sent."""
        results = [self.collaborator_tasks_results[key] for key in self._result_keys(task_name)]
        if not results:
            return {}
        total = results[0].statistics
        for output in results[1:]:
            total = sums.add(total, output.statistics)
        return self._derive(total)

    def _aggregate(self, task_name: str) -> Tensors:
        """Aggregate the tensors of a training task; weights are the sites' sample counts."""
        keys = self._result_keys(task_name)
        total = sum(self.collaborator_task_weight[key] for key in keys)
        weights = {key.owner: self.collaborator_task_weight[key] / total for key in keys}
        function = self.assigner.get_aggregation_type_for_task(task_name) or WeightedAverage()
        model: dict[str, Any] = {}
        for name, spec in self.expected.items():
            key = TensorKey(name, self.uuid, self.round_number, False, ("trained",))
            value = self.tensor_db.get_aggregated_tensor(key, weights, aggregation_function=function)
            if value is None or tuple(value.shape) != spec.shape or not all_finite(value):
                raise ArithmeticError(
                    f"the aggregate of tensor {name!r} in round {self.round_number} is not usable"
                )
            model[name] = value.astype(spec.dtype, copy=False)
        return model

    def _result_keys(self, task_name: str) -> list[Any]:
        keys = [TaskResultKey(task_name, name, self.round_number) for name in sorted(self.collaborators_done)]
        return [key for key in keys if key in self.collaborator_tasks_results]

    def _end_of_round_check(self) -> None:
        """End the round; what goes wrong then is the experiment's failure, not that of whoever reported last."""
        round_number = self.round_number
        try:
            self._end_round()
        except OSError:
            # A fault of the machine gives nothing up.
            raise
        except Exception as error:
            logger.exception("round %d cannot be ended", round_number)
            self.abort(f"round {round_number} cannot be ended: {str(error) or type(error).__name__}")

    def _end_round(self) -> None:
        """Derive metrics, aggregate, write it down, and let the next round begin."""
        tasks = self.assigner.get_all_tasks_for_round(self.round_number)
        metrics = {task: self._compute_validation_related_task_metrics(task) for task in tasks}
        for task in tasks:
            if validates_the_aggregate(self.assigner.tasks[task]) and self.best_metric in metrics[task]:
                self._compare_with_best(metrics[task][self.best_metric])
        trained = [task for task in tasks if self.assigner.tasks[task]["function"] == "train_task"]
        model = self._aggregate(trained[0]) if trained else None
        last = self.round_number >= self.rounds_to_train or (
            self.round_number + 1 == self.rounds_to_train
            and not self.assigner.get_all_tasks_for_round(self.rounds_to_train)
        )
        cohort = tuple(sorted(self.collaborators_done))
        kept = self.record.close_round(
            ClosedRound(self.round_number, cohort, metrics, model, self.best, last)
        )
        self._counted |= dict.fromkeys(cohort, self.round_number)
        logs = {f"aggregator/{task}/{name}": value for task in tasks for name, value in metrics[task].items()}
        self.callbacks.on_round_end(self.round_number, logs)

        current = kept if kept is not None else self.get_model(self.round_number)
        self.round_number = self.rounds_to_train + 1 if last else self.round_number + 1
        self.stragglers = []
        self.collaborators_done = []
        self.collaborator_tasks_results = {}
        self.collaborator_task_weight = {}
        self.tensor_db.clean_up(0)
        self._cache_model(self.round_number, current)
        self.straggler_handling_policy.reset_policy_for_round()
        if last:
            self.callbacks.on_experiment_end()
        else:
            self._begin_round()
        self._wake()

    def _compare_with_best(self, score: float) -> None:
        sign = 1 if self.best_direction == "maximize" else -1
        # Ties go to the earlier round.
        if self.best is None or sign * score > sign * self.best.score:
            self.best = BestModel(self.round_number, score)

    def _cache_model(self, round_number: int, tensors: Tensors) -> None:
        self.tensor_db.cache_tensor(
            {
                TensorKey(name, self.uuid, round_number, False, ("model",)): value
                for name, value in tensors.items()
            }
        )

    def _model_tensor(self, name: str, round_number: int) -> Any:
        return self.tensor_db.get_tensor_from_cache(
            TensorKey(name, self.uuid, round_number, False, ("model",))
        )

    def _time_to_quit(self) -> bool:
        return bool(self.finished or self.failure is not None or self.stopped)
