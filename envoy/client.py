"""A collaborator's way to its aggregator over gRPC: one stream down, one stream up, retried while the director is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import gettempdir

import grpc

from federation.download import MOST_BYTES, TRANSFER_SECONDS, OtherBytes, download
from federation.engine.results import TaskOutput
from federation.errors import Refused
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from federation.tensors import Tensors, chunks, measure, pack

WAIT_SECONDS = 30.0
OFFER_SECONDS = 30.0
MOST_DAMAGED = 3
# Characters that are told of a failure: the director takes more.
MOST_REASON = 2_000
MOST_TRACEBACK = 64 << 10


class GrpcAggregatorClient:
    """The `federation.engine.client.AggregatorClient` of a deployed envoy.

    Parameters
    ----------
    link
        To the director.
    experiment
        The experiment's name.
    taken
        Called whenever the director has taken a result.
    downloads
        The folder that models are downloaded to.
    may_go_on
        Called before a task is asked for or taken; raises what keeps the site from it.
    signed
        The model of round 0, where somebody has signed which it is.

    Attributes
    ----------
    most_bytes
        What a model may have; whoever has built the plan's model knows better.
    """

    def __init__(
        self,
        link: Link,
        experiment: str,
        taken: Callable[[], None] = lambda: None,
        downloads: Path | None = None,
        may_go_on: Callable[[], None] = lambda: None,
        signed: pb.Blob | None = None,
    ) -> None:
        self.most_bytes = MOST_BYTES
        self._link = link
        self._signed = signed
        self._metadata = ((EXPERIMENT_KEY, experiment),)
        self._taken = taken
        self._may_go_on = may_go_on
        self._downloads = downloads or Path(gettempdir())
        self._counted: int | None = None

    def get_tasks(self) -> tuple[list[str] | None, int, int, bool]:
        """Return tasks as soon as there are some; an empty answer after a while, so that a dead director is noticed."""
        self._may_go_on()
        request = pb.TasksRequest(wait=WAIT_SECONDS)
        tasks = self._link.call(
            lambda stub: stub.GetTasks(request, metadata=self._metadata, timeout=WAIT_SECONDS + 15)
        )
        if tasks.tasks:
            self._may_go_on()  # it may have come after a while
        self._counted = tasks.counted if tasks.HasField("counted") else None
        return list(tasks.tasks) or None, tasks.round, 0, tasks.quit

    def counted(self) -> int | None:
        """Return what the director has said beside the last tasks; None from one that does not say it."""
        return self._counted

    def get_model(self, round_number: int) -> Tensors:
        """Download the model that a round starts from."""
        info, tensors = self._fetch(pb.ModelRequest(round=round_number), self.most_bytes)
        if round_number == 0 and self._signed not in (None, info.blob):
            raise Refused("the director's initial model is not the one that was signed")
        return tensors

    def get_frozen(self, announced: pb.Blob, path: Path) -> Tensors:
        """Download what is frozen by value to a file.

        Raises
        ------
        Refused
            If the director sends something else than was announced.
        """
        info, tensors = self._fetch(pb.ModelRequest(kept="frozen"), min(announced.size, MOST_BYTES), path)
        if info.blob != announced:
            path.unlink()
            raise Refused("what the director sends as frozen is not what was announced")
        return tensors

    def _fetch(
        self, request: pb.ModelRequest, most: int, keep: Path | None = None
    ) -> tuple[pb.ModelInfo, Tensors]:
        attempts = count(1)

        def fetch(stub: rpc.DirectorStub) -> tuple[pb.ModelInfo, Tensors]:
            try:
                return download(stub, request, self._metadata, self._downloads, lambda _: most, keep)
            except OtherBytes as error:
                if next(attempts) < MOST_DAMAGED:
                    raise
                raise Refused(f"{error} ({MOST_DAMAGED} times)") from error

        return self._link.call(fetch)

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        """Upload a task's result; sending it twice counts it once, and what broke off goes on where it broke."""
        sha256, size = measure(named_tensors.tensors) if named_tensors.tensors else ("", 0)
        info = pb.ResultInfo(
            round=round_number,
            task=task_name,
            data_size=data_size,
            statistics=pack(named_tensors.statistics),
            blob=pb.Blob(sha256=sha256, size=size),
        )
        attempts = count()

        def send(stub: rpc.DirectorStub) -> pb.Receipt:
            # Nothing of it can be there before the first attempt.
            have = self._have(stub, info) if size and next(attempts) else 0
            receipt = self._upload(stub, info, named_tensors.tensors, have)
            return self._upload(stub, info, named_tensors.tensors, 0) if receipt.again else receipt

        counted = bool(self._link.call(send).counted)
        if counted:
            self._taken()
        self._may_go_on()  # more of the round's tasks may follow
        return counted

    def _have(self, stub: rpc.DirectorStub, info: pb.ResultInfo) -> int:
        """Ask how much of a result is at the director."""
        try:
            return int(stub.OfferResult(info, metadata=self._metadata, timeout=OFFER_SECONDS).have)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:  # a director of an earlier version
                return 0
            raise

    def _upload(self, stub: rpc.DirectorStub, info: pb.ResultInfo, tensors: Tensors, have: int) -> pb.Receipt:
        def pieces() -> Iterator[pb.ResultChunk]:
            first = pb.ResultInfo()
            first.CopyFrom(info)
            first.offset = have
            yield pb.ResultChunk(info=first)
            passed = 0
            for piece in chunks(tensors) if tensors else ():
                if passed + len(piece) > have:
                    yield pb.ResultChunk(data=piece[max(0, have - passed) :])
                passed += len(piece)

        receipt: pb.Receipt = stub.SendTaskResults(
            pieces(), metadata=self._metadata, timeout=TRANSFER_SECONDS
        )
        return receipt

    def report_failure(
        self,
        reason: str,
        traceback: str = "",
        passing: bool = False,
        kind: str = "",
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Tell the director that this envoy cannot go on with the experiment, for as long as it takes and is wanted.

        Parameters
        ----------
        reason, traceback
            One line, and what may help whoever mends it.
        passing
            It has not failed: it goes on by itself when the reason is gone.
        kind
            Of the failure, such as `federation.errors.DIVERGED`.
        is_wanted
            Asked before each attempt.
        """
        told, last = reason[:MOST_REASON], traceback[-MOST_TRACEBACK:]
        failure = pb.Failure(reason=told, traceback=last, passing=passing, kind=kind)

        def report(stub: rpc.DirectorStub) -> None:
            if is_wanted():
                stub.ReportFailure(failure, metadata=self._metadata, timeout=30)

        self._link.call(report)
