"""The collaborator of one experiment at one site.

What of ``openfl.component.Collaborator`` 1.9 is replaced, and why:

======================  ===============================================================================================
``__init__``            shares its default ``callbacks=[]`` between collaborators; sets up secure aggregation that corrupts
``run``                 sleeps when there is no task; here the client waits until there is one
``do_task``             looks up and fetches tensor by tensor; here the round's model arrives in one piece; and cannot go on in
                        the middle of a round
``send_task_results``   guesses the sample count from "train" or "valid" in the task's name and sends metrics as averages;
                        here the task says how many samples it used and sends sums
======================  ===============================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import openfl.callbacks as openfl_callbacks
from openfl.component import Collaborator as OpenFLCollaborator
from openfl.pipelines import NoCompressionPipeline, TensorCodec
from openfl.utilities import TensorKey

from federation.engine.client import AggregatorClient, StaleRound
from federation.engine.results import TaskOutput
from federation.engine.tensor_db import TensorDB
from federation.errors import Diverged
from federation.tensors import Array, all_finite

logger = logging.getLogger(__name__)


class Collaborator(OpenFLCollaborator):
    """Does the tasks that the aggregator assigns, with a task runner, until the aggregator says quit.

    Parameters
    ----------
    collaborator_name, aggregator_uuid, federation_uuid, client, task_runner, task_config, compression_pipeline, callbacks
        As in OpenFL; ``client`` moves whole models (`federation.engine.client`).
    """

    def __init__(
        self,
        collaborator_name: str,
        aggregator_uuid: str,
        federation_uuid: str,
        client: AggregatorClient,
        task_runner: Any,
        task_config: Mapping[str, Any],
        compression_pipeline: Any = None,
        callbacks: Sequence[Any] = (),
        secure_aggregation: bool = False,
    ) -> None:
        if secure_aggregation:
            raise NotImplementedError(
                "OpenFL's secure aggregation corrupts models of unequal weights; it is not supported"
            )
        self.collaborator_name = collaborator_name
        self.aggregator_uuid = aggregator_uuid
        self.federation_uuid = federation_uuid
        self.single_col_cert_common_name = ""
        self.client = client
        self.task_runner = task_runner
        self.task_config = task_config
        self.compression_pipeline = compression_pipeline or NoCompressionPipeline()
        self.tensor_codec = TensorCodec(self.compression_pipeline)
        self.tensor_db = TensorDB()
        self.use_delta_updates = False
        # The optimizer starts anew each round, so that a site keeps no state that matters between rounds.
        self.task_runner.set_optimizer_treatment("RESET")
        self.callbacks = openfl_callbacks.CallbackList(
            list(callbacks), tensor_db=self.tensor_db, origin=collaborator_name
        )

    def run(self) -> None:
        """Work until the aggregator says quit."""
        self.callbacks.on_experiment_begin()
        while self.run_once():
            pass
        self.callbacks.on_experiment_end()

    def run_once(self) -> bool:
        """Do what is to be done now; False when the aggregator says quit."""
        tasks, round_number, _, time_to_quit = self.client.get_tasks()
        if time_to_quit:
            return False
        if tasks:
            logger.info("round %d: %s", round_number, ", ".join(tasks))
            self.callbacks.on_round_begin(round_number)
            logs: dict[str, float] = {}
            try:
                for task in tasks:
                    logs.update(self.do_task(task, round_number))
            except StaleRound as error:
                logger.info("round %d went on without us: %s", round_number, error)
            self.callbacks.on_round_end(round_number, logs)
        return True

    def do_task(self, task: str, round_number: int) -> dict[str, float]:
        """Do one task with the round's model and send what comes out.

        Returns
        -------
        dict
            Empty: the director derives the metrics, from the sums of all sites.
        """
        self._fetch_model(round_number)
        required = self._required(self.task_config[task], round_number)
        if any(self.tensor_db.get_tensor_from_cache(key) is None for key in required):
            self._train_again(round_number)
        return self.send_task_results(self._run_task(task, round_number), round_number, task)

    def _run_task(self, task: str, round_number: int) -> Mapping[Any, Array]:
        """Call the task runner, and keep what the round's later tasks need of it; return what is to be sent."""
        config = self.task_config[task]
        inputs = {
            key.tensor_name: self.get_data_for_tensorkey(key) for key in self._required(config, round_number)
        }
        self.callbacks.on_task_begin(task, round_number)
        outputs: Mapping[Any, Array]
        outputs, local_outputs = getattr(self.task_runner, config["function"])(
            col_name=self.collaborator_name,
            round_num=round_number,
            input_tensor_dict=inputs,
            counted=self.client.counted(),
            **config.get("kwargs", {}),
        )
        self.callbacks.on_task_end(task, round_number)
        self.tensor_db.cache_tensor(local_outputs)
        return outputs

    def _train_again(self, round_number: int) -> None:
        """Train once more: the process that did it has died, and its result has counted already, so that it is not sent."""
        for task, config in self.task_config.items():
            if config.get("function") == "train_task":  # OpenFL puts a "settings" beside the tasks
                logger.info("round %d: %s again, for what the tasks after it need", round_number, task)
                self._run_task(task, round_number)

    def get_data_for_tensorkey(self, tensor_key: Any) -> Array:
        """Return a tensor of the round: the global model's, or one that an earlier task left here."""
        value = self.tensor_db.get_tensor_from_cache(tensor_key)
        if value is None:
            raise KeyError(
                f"no tensor {tensor_key}: a task that makes it must come before in the round's tasks"
            )
        return value

    def send_task_results(
        self, tensor_dict: Mapping[Any, Array], round_number: int, task_name: str
    ) -> dict[str, float]:
        """Send a task's tensors (tag "trained") and sums (tag "metric"), weighted by the samples that it used."""
        output = TaskOutput(
            tensors={key.tensor_name: value for key, value in tensor_dict.items() if "trained" in key.tags},
            statistics={key.tensor_name: value for key, value in tensor_dict.items() if "metric" in key.tags},
        )
        # Before it is sent, where it would be refused as this site's fault: the model may be at fault for all.
        if odd := [
            name for name, value in {**output.tensors, **output.statistics}.items() if not all_finite(value)
        ]:
            raise Diverged(f"round {round_number}: {task_name} gives a {odd[0]} that is not finite")
        data_size = int(output.statistics["samples"])
        if not self.client.send_local_task_results(round_number, task_name, data_size, output):
            logger.info("round %d: %s came too late to count", round_number, task_name)
        return {}

    def _fetch_model(self, round_number: int) -> None:
        cached = self.tensor_db.get_tensors_by_round_and_tags(round_number, ("model",))
        if not cached:
            self.tensor_db.cache_tensor(
                {
                    TensorKey(name, self.aggregator_uuid, round_number, False, ("model",)): value
                    for name, value in self.client.get_model(round_number).items()
                }
            )
            self.tensor_db.clean_up(1)

    def _required(self, config: Mapping[str, Any], round_number: int) -> list[Any]:
        relative = self.task_runner.get_required_tensorkeys_for_function(
            config["function"], **config.get("kwargs", {})
        )
        origins = {"GLOBAL": self.aggregator_uuid, "LOCAL": self.collaborator_name}
        return [
            TensorKey(
                key.tensor_name, origins[key.origin], key.round_number + round_number, key.report, key.tags
            )
            for key in relative
        ]
