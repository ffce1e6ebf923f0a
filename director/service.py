"""The director's gRPC face: who may call what, and how answers are streamed.

One port serves envoys and workspaces. A caller's name and role are those of its certificate; both are checked before the
first byte of a payload is read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc

from director.blobs import BlobStore
from director.experiments import Experiments
from director.journal import ExperimentRow
from federation.engine.aggregator import Aggregator
from federation.engine.client import StaleRound
from federation.engine.results import TaskOutput
from federation.errors import InputError, Refused
from federation.identity import require_role
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY, answering, streaming
from federation.tensors import unpack

logger = logging.getLogger(__name__)

MAX_STATISTICS_BYTES = 16 << 20
MAX_TEXT = 64 << 10
HEADER_ROOM = 64 << 20


class DirectorService(rpc.DirectorServicer):  # type: ignore[misc]
    """Answers envoys and workspaces; all state is in `Experiments`."""

    def __init__(self, experiments: Experiments, blobs: BlobStore) -> None:
        self._experiments = experiments
        self._blobs = blobs

    # Envoys.

    @streaming
    def Connect(self, request: pb.Announcement, context: grpc.ServicerContext) -> Iterator[pb.Order]:  # noqa: N802
        """Keep an envoy's connection and send it work as it comes."""
        name = require_role(context, "envoy").name
        if len(request.classes) > 10_000 or len(request.devices) > 1_000 or request.ByteSize() > 1 << 20:
            raise InputError("the announcement is too large")
        envoy = self._experiments.connect(name, request)
        context.add_callback(lambda: envoy.orders.put(None))
        try:
            while (order := envoy.orders.get()) is not None:
                yield order
        finally:
            self._experiments.disconnect(envoy)

    @answering
    def GetTasks(self, request: pb.TasksRequest, context: grpc.ServicerContext) -> pb.Tasks:  # noqa: N802
        """Answer with an envoy's tasks as soon as there are some."""
        name = require_role(context, "envoy").name
        aggregator = self._experiments.live(_experiment_of(context))
        if aggregator is None:
            return pb.Tasks(quit=True)
        tasks, round_number, _, time_to_quit = aggregator.get_tasks(
            name, wait=max(0.0, min(request.wait, 60.0))
        )
        return pb.Tasks(tasks=tasks or [], round=round_number, quit=time_to_quit)

    @streaming
    def GetModel(self, request: pb.ModelRequest, context: grpc.ServicerContext) -> Iterator[pb.ModelChunk]:  # noqa: N802
        """Stream the open round's model to an envoy, or the best or last model to a workspace."""
        identity = require_role(context, "envoy", "workspace")
        experiment = _experiment_of(context)
        if identity.role == "envoy":
            aggregator = self._member_of(experiment, identity.name)
            with aggregator.lock:
                aggregator.get_model(request.round)
                row = self._experiments.experiment(experiment)
                sha256, round_number = row.model, request.round
        else:
            row = self._experiments.experiment(experiment)
            if request.kept not in ("best", "last"):
                raise InputError("ask for the best or the last model")
            best = request.kept == "best" and row.best_model
            sha256 = row.best_model if best else row.model
            round_number = row.best_round if best else row.round
        info = pb.ModelInfo(
            blob=pb.Blob(sha256=sha256, size=self._blobs.size(sha256)),
            round=round_number,
            plan=self._experiments.plan(row.name),
            frozen_fingerprint=row.frozen_fingerprint,
        )
        yield pb.ModelChunk(info=info)
        for piece in self._blobs.stream(sha256):
            yield pb.ModelChunk(data=piece)

    @answering
    def SendTaskResults(self, request: Iterator[pb.ResultChunk], context: grpc.ServicerContext) -> pb.Receipt:  # noqa: N802
        """Receive a task's result; one that fails its checks is refused and reported as the envoy's failure."""
        name = require_role(context, "envoy").name
        try:
            aggregator = self._member_of(_experiment_of(context), name)
        except StaleRound as error:
            return pb.Receipt(counted=False, reason=str(error))
        info = next(request).info
        try:
            with self._blobs.held(info.blob.sha256):
                output = self._receive(aggregator, info, request)
                counted = aggregator.send_local_task_results(
                    name, info.round, info.task, info.data_size, output
                )
        except (Refused, InputError) as error:
            aggregator.fail(name, f"its result was refused: {error}")
            raise
        except Exception as error:
            aggregator.abort(f"the director could not take a result: {type(error).__name__}: {error}")
            raise
        finally:
            # Refused, late, or counted and done with: the store keeps what the journal names.
            if info.blob.size:
                self._experiments.discard(info.blob.sha256)
        return pb.Receipt(counted=counted)

    @answering
    def ReportFailure(self, request: pb.Failure, context: grpc.ServicerContext) -> pb.Receipt:  # noqa: N802
        """Take note that an envoy cannot go on with an experiment."""
        name = require_role(context, "envoy").name
        aggregator = self._experiments.live(_experiment_of(context))
        if aggregator is not None:
            aggregator.fail(name, request.reason[:2000] or "no reason given", request.traceback[-MAX_TEXT:])
        return pb.Receipt(counted=aggregator is not None)

    # Workspaces.

    @answering
    def ListEnvoys(self, request: pb.Empty, context: grpc.ServicerContext) -> pb.Envoys:  # noqa: N802
        """List the envoys that are online."""
        require_role(context, "workspace")
        return pb.Envoys(
            envoys=[
                pb.Envoy(name=e.name, announcement=e.announcement, since=e.since, experiments=work)
                for e, work in self._experiments.online()
            ]
        )

    @answering
    def ListExperiments(self, request: pb.Empty, context: grpc.ServicerContext) -> pb.Experiments:  # noqa: N802
        """List all experiments."""
        require_role(context, "workspace")
        return pb.Experiments(experiments=[_message(row) for row in self._experiments.experiments()])

    @answering
    def Submit(self, request: Iterator[pb.SubmitChunk], context: grpc.ServicerContext) -> pb.Experiment:  # noqa: N802
        """Take in a plan and its initial model."""
        identity = require_role(context, "workspace")
        submission = next(request).submission
        row = self._experiments.submit(submission, (chunk.data for chunk in request), identity.name)
        return _message(row, self._experiments.plan(row.name))

    @streaming
    def Watch(self, request: pb.WatchRequest, context: grpc.ServicerContext) -> Iterator[pb.Event]:  # noqa: N802
        """Stream an experiment's events, from the first if asked, until it has ended."""
        require_role(context, "workspace")
        context.add_callback(self._experiments.notify)
        events = self._experiments.events(
            _experiment_of(context), request.after, lambda: request.follow and context.is_active()
        )
        for event in events:
            yield pb.Event(id=event.id, time=event.time, kind=event.kind, body=json.dumps(event.body))

    @answering
    def Stop(self, request: pb.Empty, context: grpc.ServicerContext) -> pb.Experiment:  # noqa: N802
        """Stop an experiment."""
        identity = require_role(context, "workspace")
        name = _experiment_of(context)
        logger.info("experiment %s: %s asks to stop it", name, identity.name)
        return _message(self._experiments.stop(name), self._experiments.plan(name))

    def _member_of(self, experiment: str, envoy: str) -> Aggregator:
        aggregator = self._experiments.live(experiment)
        if aggregator is None:
            raise StaleRound(f"experiment {experiment} does not run")
        if envoy not in aggregator.authorized_cols:
            raise Refused(f"{envoy} is not in the cohort of experiment {experiment}")
        return aggregator

    def _receive(
        self, aggregator: Aggregator, info: pb.ResultInfo, chunks: Iterator[pb.ResultChunk]
    ) -> TaskOutput:
        if len(info.statistics) > MAX_STATISTICS_BYTES:
            raise Refused("the statistics are too large")
        statistics = unpack(info.statistics)
        if info.blob.size == 0:
            return TaskOutput({}, statistics)
        limit = aggregator.model_bytes + HEADER_ROOM
        if info.blob.size > limit:
            raise Refused(
                f"an update of {info.blob.size} bytes, where the model has {aggregator.model_bytes}"
            )
        sha256 = self._blobs.receive((chunk.data for chunk in chunks), info.blob.sha256, info.blob.size)
        return TaskOutput(self._blobs.open(sha256), statistics, sha256)


def _experiment_of(context: grpc.ServicerContext) -> str:
    metadata: Any = dict(context.invocation_metadata())
    return str(metadata.get(EXPERIMENT_KEY, ""))


def _message(row: ExperimentRow, plan: str = "") -> pb.Experiment:
    """Say how an experiment stands; a listing leaves the plans out, which no workspace reads there."""
    return pb.Experiment(
        name=row.name,
        state=row.state,
        reason=row.reason,
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
    )
