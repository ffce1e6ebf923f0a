"""What envoys call: they connect, ask for tasks and hand in results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from contextvars import copy_context

from director.bell import Mailbox
from director.calls import Caller, brief, in_pool, receiving, waiting, waiting_stream
from director.desk import Desk
from director.opening import FAULTS
from director.protocol_versions import incompatibility
from director.uploads import Announced, SendAgain
from federation.engine.aggregator import Aggregator
from federation.engine.client import StaleRound, rounds_to
from federation.engine.results import TaskOutput
from federation.errors import FederationError, InputError, Refused, Unreachable
from federation.protocol import federation_pb2 as pb
from federation.tensors import unpack

MAX_TEXT = 64 << 10
HEADER_ROOM = 64 << 20
LONGEST_WAIT = 60.0


class EnvoyCalls(Desk):
    """Answers envoys."""

    @waiting_stream("envoy")
    async def Connect(self, request: pb.Announcement, caller: Caller) -> AsyncIterator[pb.Order]:  # noqa: N802
        """Keep an envoy's connection and send it work as it comes."""
        if (reason := incompatibility(f"the envoy {caller.name}", request.protocol)) is not None:
            raise Refused(reason)
        orders = Mailbox()
        envoy = await in_pool(
            self.pool,
            self._experiments.connect,
            caller.name,
            request,
            orders,
            caller.address,
            caller.certificate,
        )
        try:
            while (order := await orders.get()) is not None:
                yield order
            self._refuse_while_closing()
        finally:
            # The call may have been cancelled: there is nothing to wait for any more.
            self.pool.submit(copy_context().run, self._experiments.disconnect, envoy)

    @waiting("envoy")
    async def GetTasks(self, request: pb.TasksRequest, caller: Caller) -> pb.Tasks:  # noqa: N802
        """Answer with an envoy's tasks as soon as there are some."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + max(0.0, min(request.wait, LONGEST_WAIT))
        with self._experiments.turned.listening() as turned:
            while True:
                turned.clear()
                self._refuse_while_closing()
                tasks = await in_pool(self.pool, self._open_tasks, caller)
                left = deadline - loop.time()
                if tasks is not None or left <= 0:
                    return tasks or pb.Tasks()
                with suppress(TimeoutError):
                    await asyncio.wait_for(turned.wait(), left)

    def _open_tasks(self, caller: Caller) -> pb.Tasks | None:
        aggregator = self._experiments.live(caller.experiment)
        if aggregator is None:
            return pb.Tasks(quit=True)
        self._experiments.works(caller.experiment, caller.name)
        with aggregator.lock:
            tasks, round_number, _, time_to_quit = aggregator.get_tasks(caller.name)
            counted = aggregator.counted_of(caller.name)
        if not tasks and not time_to_quit:
            return None
        told = rounds_to(counted)
        return pb.Tasks(tasks=tasks or [], round=round_number, quit=time_to_quit, counted=told)

    @brief("envoy")
    def OfferResult(self, request: pb.ResultInfo, caller: Caller) -> pb.Offer:  # noqa: N802
        """Say how much of a result is here, after an upload of it that broke off."""
        aggregator = self._member_of(caller)
        if not aggregator.wants(caller.name, request.round, request.task):
            return pb.Offer()  # sent once more, it gets the answer that got lost
        return pb.Offer(have=self._uploads.have(_announced(caller, request)))

    @receiving("envoy")
    def SendTaskResults(self, requests: Iterator[pb.ResultChunk], caller: Caller) -> pb.Receipt:  # noqa: N802
        """Receive a task's result. One that arrived whole and fails its checks is refused, and is the envoy's failure."""
        try:
            aggregator = self._member_of(caller)
        except StaleRound as error:
            return pb.Receipt(counted=False, reason=str(error))
        if (first := next(requests, None)) is None:
            raise Unreachable("the stream ended before it began")
        info = first.info
        try:
            if not aggregator.wants(caller.name, info.round, info.task):
                return pb.Receipt(counted=False, reason="too late, or counted before")
            with self._blobs.held(info.blob.sha256):
                output = self._receive(aggregator, info, requests, caller)
                counted = self._count(aggregator, info, output, caller)
        except SendAgain:
            return pb.Receipt(counted=False, again=True, reason="came out otherwise than announced")
        except (Refused, InputError) as error:
            aggregator.fail(caller.name, f"its result was refused: {error}")
            raise
        finally:
            # Refused, late, or counted and done with: the store keeps what the journal names.
            if info.blob.size:
                self._experiments.discard(info.blob.sha256)
        return pb.Receipt(counted=counted)

    @brief("envoy", writes=True)
    def ReportFailure(self, request: pb.Failure, caller: Caller) -> pb.Receipt:  # noqa: N802
        """Take note that an envoy cannot go on with an experiment."""
        aggregator = self._experiments.live(caller.experiment)
        reason = request.reason[:2000] or "no reason given"
        if aggregator is not None and request.passing:
            self._experiments.cannot_work(caller.experiment, caller.name, reason)
        elif aggregator is not None:
            aggregator.fail(caller.name, reason, request.traceback[-MAX_TEXT:], request.kind)
        return pb.Receipt(counted=aggregator is not None)

    def _member_of(self, caller: Caller) -> Aggregator:
        aggregator = self._experiments.live(caller.experiment)
        if aggregator is None:
            raise StaleRound(f"experiment {caller.experiment} does not run")
        if caller.name not in aggregator.members:
            raise Refused(f"{caller.name} is not in the cohort of experiment {caller.experiment}")
        return aggregator

    def _receive(
        self, aggregator: Aggregator, info: pb.ResultInfo, chunks: Iterator[pb.ResultChunk], caller: Caller
    ) -> TaskOutput:
        statistics = unpack(info.statistics)
        if info.blob.size == 0:
            return TaskOutput({}, statistics)
        limit = aggregator.model_bytes + HEADER_ROOM
        if info.blob.size > limit:
            raise Refused(
                f"an update of {info.blob.size} bytes, where the model has {aggregator.model_bytes}"
            )
        pieces = (chunk.data for chunk in chunks)
        announced = _announced(caller, info)
        with self._holdings.result(announced):
            sha256 = self._uploads.receive(announced, info.offset, pieces)
        return TaskOutput(self._blobs.open(sha256), statistics, sha256)

    def _count(self, aggregator: Aggregator, info: pb.ResultInfo, output: TaskOutput, caller: Caller) -> bool:
        try:
            return bool(
                aggregator.send_local_task_results(caller.name, info.round, info.task, info.data_size, output)
            )
        except (FederationError, *FAULTS):
            # The machine's faults are nobody's: the result comes again.
            raise
        except Exception as error:
            aggregator.abort(f"the director could not take a result: {type(error).__name__}: {error}")
            raise


def _announced(caller: Caller, info: pb.ResultInfo) -> Announced:
    return Announced(caller.experiment, caller.name, info.round, info.task, info.blob.size, info.blob.sha256)
