"""The director's gRPC face: who may call what, and how answers are made.

One port serves envoys and workspaces. A caller's name and role are those of its certificate; both are checked before the
first byte of a payload is read. Calls that wait are coroutines; all others are plain functions (`director.calls`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import asdict, replace
from functools import partial

from director.answers import described, end_of, listing
from director.audit import AuditLog
from director.bell import Mailbox
from director.blobs import BlobStore
from director.calls import Caller, brief, in_pool, receiving, sending, waiting, waiting_stream
from director.disk import Disk
from director.experiments import Experiments
from director.holdings import Holdings
from director.open_calls import OpenCalls
from director.opening import FAULTS
from director.protocol_versions import incompatibility
from director.quotas import Quotas
from director.rights import OPERATOR, USERS, Rights
from director.rows import ExperimentRow
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
    transfers
        For uploads and downloads.
    rights
        Who may do what to whose experiment.
    quotas, holdings, audit
        What one member may use, what it holds, and what is written down of what it does.
    """

    def __init__(
        self,
        experiments: Experiments,
        blobs: BlobStore,
        uploads: Uploads,
        disk: Disk,
        pool: ThreadPoolExecutor,
        transfers: ThreadPoolExecutor,
        rights: Rights,
        quotas: Quotas,
        holdings: Holdings,
        audit: AuditLog,
    ) -> None:
        self._experiments = experiments
        self._blobs = blobs
        self._uploads = uploads
        self.disk = disk
        self.pool = pool
        self.transfers = transfers
        self._rights = rights
        self.quotas = quotas
        self._holdings = holdings
        self.audit = audit
        self.revocations = experiments.revocations
        self.open_calls = OpenCalls()
        self._closing = False

    def close(self) -> None:
        """End every call that waits as one that cannot be answered now: whoever made it tries again."""
        self._closing = True
        self._experiments.close()

    @brief("envoy", "workspace", "operator")
    def Introduce(self, request: pb.Challenge, caller: Caller) -> pb.Introduction:  # noqa: N802
        """Show who we are."""
        return self._experiments.signatures.introduce(request)

    # Envoys.

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

    @sending("envoy", *USERS)
    def GetModel(self, request: pb.ModelRequest, caller: Caller) -> Iterator[pb.ModelChunk]:  # noqa: N802
        """Stream the open round's model to an envoy, or the best or last model to a workspace."""
        if caller.role == "envoy":
            self._member_of(caller)
            info, pieces = self._opened(caller.experiment, best=False, round_number=request.round)
        elif request.kept in ("best", "last"):
            self._rights.require_reading(caller)
            info, pieces = self._opened(caller.experiment, best=request.kept == "best")
            self.audit.noted(caller.entry("model"))
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
            aggregator.fail(caller.name, reason, request.traceback[-MAX_TEXT:], request.kind)
        return pb.Receipt(counted=aggregator is not None)

    # Workspaces.

    @brief(*USERS)
    def ListEnvoys(self, request: pb.Empty, caller: Caller) -> pb.Envoys:  # noqa: N802
        """List the envoys that are online."""
        online = self._experiments.online()
        # Together they fit into an answer, whatever some of them have announced.
        most = LARGEST_ANSWER // 2 // max(1, len(online))
        return pb.Envoys(
            envoys=[
                pb.Envoy(
                    name=e.name,
                    announcement=e.listed(most),
                    since=e.since,
                    certificate_ends=end_of(e.certificate),
                    experiments=self._rights.readable(caller, work),
                )
                for e, work in online
            ]
        )

    @brief(*USERS)
    def ListExperiments(self, request: pb.Empty, caller: Caller) -> pb.Experiments:  # noqa: N802
        """List the experiments that the caller may read."""
        rows = [row for row in self._experiments.experiments() if self._rights.may_read(caller, row)]
        return listing(rows, self.disk.paused)

    @receiving(*USERS, does="submit")
    def Submit(self, requests: Iterator[pb.SubmitChunk], caller: Caller) -> pb.Experiment:  # noqa: N802
        """Take in a plan and its initial model."""
        if (first := next(requests, None)) is None:
            raise Unreachable("the stream ended before it began")
        pieces = (chunk.data for chunk in requests)
        with self._holdings.submission(caller.name, first.submission):
            row = self._experiments.submit(first.submission, pieces, caller.name)
        self._rights.require_reading(replace(caller, experiment=row.name))
        return self._answer(row)

    @waiting_stream(*USERS)
    async def Watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncIterator[pb.Event]:  # noqa: N802
        """Stream an experiment's events, from the first if asked, until it has ended."""
        after = request.after
        await in_pool(self.pool, self._rights.require_reading, caller)
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

    @brief(*USERS, writes=True, does="stop")
    def Stop(self, request: pb.Empty, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Stop an experiment."""
        self._rights.require_owner(caller)
        logger.info("experiment %s: %s asks to stop it", caller.experiment, caller.name)
        return self._answer(self._experiments.stop(caller.experiment))

    @brief(*USERS, writes=True, does="resume")
    def Resume(self, request: pb.ResumeRequest, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Queue an experiment that failed or was stopped again, or take back the envoys of one that runs."""
        self._rights.require_owner(caller)
        amendment = request.amendment if request.HasField("amendment") else None
        row = self._experiments.resume(
            caller.experiment, dict(request.settings), request.accept_code, caller.name, amendment
        )
        return self._answer(row)

    @brief(*USERS, writes=True, does="exclude", whom=lambda request: request.envoy)
    def Exclude(self, request: pb.ExcludeRequest, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Let an experiment go on without an envoy."""
        self._rights.require_owner(caller)
        logger.info("experiment %s: %s excludes %s", caller.experiment, caller.name, request.envoy)
        return self._answer(self._experiments.exclude(caller.experiment, request.envoy, caller.name))

    @brief(*USERS, does="remove")
    def Remove(self, request: pb.Empty, caller: Caller) -> pb.Experiment:  # noqa: N802
        """Remove an experiment that has ended."""
        self._rights.require_owner(caller)
        return self._answer(self._experiments.remove(caller.experiment, caller.name))

    # Operators.

    @sending(OPERATOR)
    def Audit(self, request: pb.AuditRequest, caller: Caller) -> Iterator[pb.AuditEntry]:  # noqa: N802
        """Stream the audit log."""
        for entry in self.audit.read(request.since, request.member, request.what, request.last):
            yield pb.AuditEntry(**asdict(entry))

    @brief(OPERATOR, writes=True, does="revoke", whom=lambda request: request.serial or request.name)
    def Revoke(self, request: pb.Revocation, caller: Caller) -> pb.Revocations:  # noqa: N802
        """Make certificates worth nothing, and whoever has them gone."""
        end_calls = partial(self.open_calls.end, self.revocations.reason)
        self._experiments.revoke(request, caller.name, end_calls)
        return pb.Revocations(revocations=self.revocations)

    @brief(*USERS)
    def ListRevocations(self, request: pb.Empty, caller: Caller) -> pb.Revocations:  # noqa: N802
        """List what is revoked, oldest first."""
        return pb.Revocations(revocations=self.revocations)

    def _answer(self, row: ExperimentRow) -> pb.Experiment:
        return described(row, self._experiments.plan(row.name), self._experiments.members(row.name))

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
