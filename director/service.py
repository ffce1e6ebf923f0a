"""The director's gRPC face: who may call what, and how answers are made.

One port serves envoys and workspaces. A caller's name and role are those of its certificate; both are checked before the
first byte of a payload is read. Calls that wait are coroutines; all others are plain functions (`director.calls`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from director.bell import Mailbox
from director.blobs import BlobStore
from director.calls import Caller, brief, in_pool, receiving, sending, waiting, waiting_stream
from director.disk import Disk
from director.experiments import Experiments
from director.opening import FAULTS
from director.protocol_versions import incompatibility
from director.rows import ExperimentRow, MemberRow
from director.uploads import Announced, SendAgain, Uploads
from federation.engine.aggregator import Aggregator
from federation.engine.client import StaleRound, rounds_to
from federation.engine.results import TaskOutput
from federation.errors import FederationError, InputError, Refused, Unreachable
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.protocol.limits import LARGEST_ANSWER
from federation.rpc import GoingDown
from federation.tensors import unpack

logger = logging.getLogger(__name__)

MAX_TEXT = 64 << 10
MAX_LISTED = 4_000
HEADER_ROOM = 64 << 20
LONGEST_WAIT = 60.0


class DirectorService(rpc.DirectorServicer):  # type: ignore[misc]
    """Answers envoys and workspaces; all state is in `Experiments`.

    Parameters
    ----------
    experiments, blobs, uploads, disk
        The director's.
    pool
        For what may block for a moment.
    """

    def __init__(
        self,
        experiments: Experiments,
        blobs: BlobStore,
        uploads: Uploads,
        disk: Disk,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._experiments = experiments
        self._blobs = blobs
        self._uploads = uploads
        self.disk = disk
        self.pool = pool
        self._closing = False

    def close(self) -> None:
        """End every call that waits as one that cannot be answered now: whoever made it tries again."""
        self._closing = True
        self._experiments.close()

    # Envoys.

    @waiting_stream("envoy")
    async def Connect(self, request: pb.Announcement, caller: Caller) -> AsyncIterator[pb.Order]:  # noqa: N802
        """Keep an envoy's connection and send it work as it comes."""
        if (reason := incompatibility(f"the envoy {caller.name}", request.protocol)) is not None:
            raise Refused(reason)
        orders = Mailbox()
        envoy = await in_pool(self.pool, self._experiments.connect, caller.name, request, orders)
        try:
            while (order := await orders.get()) is not None:
                yield order
            self._refuse_while_closing()
        finally:
            # The call may have been cancelled: there is nothing to wait for any more.
            self.pool.submit(self._experiments.disconnect, envoy)

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

    @sending("envoy", "workspace")
    def GetModel(self, request: pb.ModelRequest, caller: Caller) -> Iterator[pb.ModelChunk]:  # noqa: N802
        """Stream the open round's model to an envoy, or the best or last model to a workspace."""
        if caller.role == "envoy":
            self._member_of(caller)
            info, pieces = self._opened(caller.experiment, best=False, round_number=request.round)
        elif request.kept in ("best", "last"):
            info, pieces = self._opened(caller.experiment, best=request.kept == "best")
        else:
            raise InputError("ask for the best or the last model")
        yield pb.ModelChunk(info=info)
        for piece in pieces:
            yield pb.ModelChunk(data=piece)

    def _opened(
        self, experiment: str, best: bool, round_number: int | None = None
    ) -> tuple[pb.ModelInfo, Iterator[bytes]]:
        """Open an experiment's best or last model (for the round that must be open), which may be removed while it is sent."""
        with self._experiments.unchanged():
            row = self._experiments.with_models(experiment)
            if round_number not in (None, row.round):
                raise StaleRound(f"round {round_number} is not open; round {row.round} is")
            best = best and bool(row.best_model)
            sha256 = row.best_model if best else row.model
            info = pb.ModelInfo(
                blob=pb.Blob(sha256=sha256, size=self._blobs.size(sha256)),
                round=row.best_round if best else row.round,
                # A site has it from its order.
                plan=self._experiments.plan(row.name) if round_number is None else "",
                frozen_fingerprint=row.frozen_fingerprint,
            )
            return info, self._blobs.stream(sha256)

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
            aggregator.fail(caller.name, reason, request.traceback[-MAX_TEXT:])
        return pb.Receipt(counted=aggregator is not None)

    # Workspaces.

    @brief("workspace")
    def ListEnvoys(self, request: pb.Empty, caller: Caller) -> pb.Envoys:  # noqa: N802
        """List the envoys that are online."""
        online = self._experiments.online()
        # Together they fit into an answer, whatever some of them have announced.
        most = LARGEST_ANSWER // 2 // max(1, len(online))
        return pb.Envoys(
            envoys=[
                pb.Envoy(name=e.name, announcement=e.listed(most), since=e.since, experiments=work)
                for e, work in online
            ]
        )

    @brief("workspace")
    def ListExperiments(self, request: pb.Empty, caller: Caller) -> pb.Experiments:  # noqa: N802
        """List all experiments."""
        return listing(self._experiments, self.disk.paused)

    @receiving("workspace")
    def Submit(self, requests: Iterator[pb.SubmitChunk], caller: Caller) -> pb.Experiment:  # noqa: N802
        """Take in a plan and its initial model."""
        if (first := next(requests, None)) is None:
            raise Unreachable("the stream ended before it began")
        pieces = (chunk.data for chunk in requests)
        row = self._experiments.submit(first.submission, pieces, caller.name)
        return self._answer(row)

    @waiting_stream("workspace")
    async def Watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncIterator[pb.Event]:  # noqa: N802
        """Stream an experiment's events, from the first if asked, until it has ended."""
        after = request.after
        with self._experiments.news.listening() as news:
            while True:
                news.clear()
                self._refuse_while_closing()
                found = await in_pool(self.pool, self._experiments.events_after, caller.experiment, after)
                for event in found.events:
                    after = event.id
                    yield pb.Event(id=event.id, time=event.time, kind=event.kind, body=json.dumps(event.body))
                if not found.events and (found.ended or not request.follow):
                    return
                if not found.events:
                    await news.wait()

    @brief("workspace", writes=True)
    def Stop(self, request: pb.Empty, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Stop an experiment."""
        logger.info("experiment %s: %s asks to stop it", caller.experiment, caller.name)
        return self._answer(self._experiments.stop(caller.experiment))

    @brief("workspace", writes=True)
    def Resume(self, request: pb.ResumeRequest, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Queue an experiment that failed or was stopped again, or take back the envoys of one that runs."""
        row = self._experiments.resume(
            caller.experiment, dict(request.settings), request.accept_code, caller.name
        )
        return self._answer(row)

    @brief("workspace", writes=True)
    def Exclude(self, request: pb.ExcludeRequest, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Let an experiment go on without an envoy."""
        logger.info("experiment %s: %s excludes %s", caller.experiment, caller.name, request.envoy)
        return self._answer(self._experiments.exclude(caller.experiment, request.envoy, caller.name))

    @brief("workspace")
    def Remove(self, request: pb.Empty, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Remove an experiment that has ended."""
        return self._answer(self._experiments.remove(caller.experiment, caller.name))

    def _answer(self, row: ExperimentRow) -> pb.Experiment:
        return _message(row, self._experiments.plan(row.name), self._experiments.members(row.name))

    def _refuse_while_closing(self) -> None:
        if self._closing:
            raise GoingDown("the director is going down; try again when it is back")

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
        sha256 = self._uploads.receive(_announced(caller, info), info.offset, pieces)
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


def listing(experiments: Experiments, paused: str = "") -> pb.Experiments:
    """Say how all experiments stand, and why nothing is taken in for now."""
    return pb.Experiments(experiments=[_message(row) for row in experiments.experiments()], paused=paused)


def _message(row: ExperimentRow, plan: str = "", members: Sequence[MemberRow] = ()) -> pb.Experiment:
    """Say how an experiment stands; a listing leaves the plans out, which no workspace reads there."""
    return pb.Experiment(
        name=row.name,
        state=row.state,
        reason=row.reason[: MAX_TEXT if plan else MAX_LISTED],
        round=row.round,
        rounds=row.rounds,
        created=row.created,
        ended=row.ended,
        cohort=row.cohort,
        submitted_by=row.submitted_by,
        plan=plan,
        best_round=row.best_round,
        best_score=row.best_score,
        exchanged_sha256=row.model,
        members=[
            pb.Member(name=m.name, standing=m.standing, reason=m.reason[:MAX_TEXT], counted=m.counted)
            for m in members
        ],
    )
