"""A collaborator's way to its aggregator over gRPC: one stream down, one stream up, retried while the director is away."""

from __future__ import annotations

from collections.abc import Iterator

from federation.engine.results import TaskOutput
from federation.errors import Unreachable
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from federation.tensors import Tensors, assemble, chunks, measure, pack, unpack

WAIT_SECONDS = 30.0
TRANSFER_SECONDS = 3600.0


class GrpcAggregatorClient:
    """The `federation.engine.client.AggregatorClient` of a deployed envoy.

    Parameters
    ----------
    link
        To the director.
    experiment
        The experiment's name.
    """

    def __init__(self, link: Link, experiment: str) -> None:
        self._link = link
        self._metadata = ((EXPERIMENT_KEY, experiment),)

    def get_tasks(self) -> tuple[list[str] | None, int, int, bool]:
        """Return tasks as soon as there are some; an empty answer after a while, so that a dead director is noticed."""
        request = pb.TasksRequest(wait=WAIT_SECONDS)
        tasks = self._link.call(
            lambda stub: stub.GetTasks(request, metadata=self._metadata, timeout=WAIT_SECONDS + 15)
        )
        return list(tasks.tasks) or None, tasks.round, 0, tasks.quit

    def get_model(self, round_number: int) -> Tensors:
        """Download the model that a round starts from."""
        return self._link.call(lambda stub: self._download(stub, round_number))

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

        receipt = self._link.call(
            lambda stub: stub.SendTaskResults(upload(), metadata=self._metadata, timeout=TRANSFER_SECONDS)
        )
        return bool(receipt.counted)

    def report_failure(self, reason: str, traceback: str) -> None:
        """Tell the director that this envoy cannot go on with the experiment."""
        failure = pb.Failure(reason=reason, traceback=traceback)
        self._link.call(
            lambda stub: stub.ReportFailure(failure, metadata=self._metadata, timeout=30), patience=60
        )

    def _download(self, stub: rpc.DirectorStub, round_number: int) -> Tensors:
        stream = stub.GetModel(
            pb.ModelRequest(round=round_number), metadata=self._metadata, timeout=TRANSFER_SECONDS
        )
        info = next(stream).info
        data = assemble((chunk.data for chunk in stream), info.blob.size)
        if len(data) != info.blob.size:
            raise Unreachable(f"the model arrived cut off: {len(data)} of {info.blob.size} bytes")
        return unpack(data)
