"""A collaborator's way to its aggregator over gRPC: one stream down, one stream up, retried while the director is away."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import grpc

from federation.engine.results import TaskOutput
from federation.errors import Unreachable
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY, retrying
from federation.tensors import Tensors, assemble, chunks, measure, pack, unpack

WAIT_SECONDS = 30.0
TRANSFER_SECONDS = 3600.0


class GrpcAggregatorClient:
    """The `federation.engine.client.AggregatorClient` of a deployed envoy.

    Parameters
    ----------
    channel
        To the director.
    address
        Of the director, for messages.
    experiment
        The experiment's name.
    patience
        Seconds to keep trying while the director does not answer.
    """

    def __init__(
        self, channel: grpc.Channel, address: str, experiment: str, patience: float = math.inf
    ) -> None:
        self._stub = rpc.DirectorStub(channel)
        self._address = address
        self._metadata = ((EXPERIMENT_KEY, experiment),)
        self._patience = patience
        self._stop = threading.Event()

    def get_tasks(self) -> tuple[list[str] | None, int, int, bool]:
        """Return tasks as soon as there are some; an empty answer after a while, so that a dead director is noticed."""
        request = pb.TasksRequest(wait=WAIT_SECONDS)
        tasks = retrying(
            lambda: self._stub.GetTasks(request, metadata=self._metadata, timeout=WAIT_SECONDS + 15),
            self._address,
            patience=self._patience,
            stop=self._stop,
        )
        return list(tasks.tasks) or None, tasks.round, 0, tasks.quit

    def get_model(self, round_number: int) -> Tensors:
        """Download the model that a round starts from."""
        return retrying(
            lambda: self._download(round_number), self._address, patience=self._patience, stop=self._stop
        )

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        """Upload a task's result; sending it twice counts it once."""
        sha256, size = measure(named_tensors.tensors) if named_tensors.tensors else ("", 0)
        info = pb.ResultInfo(
            round=round_number,
            task=task_name,
            data_size=data_size,
            statistics=pack(named_tensors.statistics),
            blob=pb.Blob(sha256=sha256, size=size),
        )

        def upload() -> Iterator[pb.ResultChunk]:
            yield pb.ResultChunk(info=info)
            if size:
                for piece in chunks(named_tensors.tensors):
                    yield pb.ResultChunk(data=piece)

        receipt = retrying(
            lambda: self._stub.SendTaskResults(upload(), metadata=self._metadata, timeout=TRANSFER_SECONDS),
            self._address,
            patience=self._patience,
            stop=self._stop,
        )
        return bool(receipt.counted)

    def report_failure(self, reason: str, traceback: str) -> None:
        """Tell the director that this envoy cannot go on with the experiment."""
        failure = pb.Failure(reason=reason, traceback=traceback)
        retrying(
            lambda: self._stub.ReportFailure(failure, metadata=self._metadata, timeout=30),
            self._address,
            patience=60,
        )

    def _download(self, round_number: int) -> Tensors:
        stream = self._stub.GetModel(
            pb.ModelRequest(round=round_number), metadata=self._metadata, timeout=TRANSFER_SECONDS
        )
        info = next(stream).info
        data = assemble((chunk.data for chunk in stream), info.blob.size)
        tensors = unpack(data)
        if len(data) != info.blob.size:
            raise Unreachable(f"the model arrived cut off: {len(data)} of {info.blob.size} bytes")
        return tensors
