"""The notebook's way to a federation: see the envoys, submit a plan, watch it, take home the model."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from federation.amendments import amendment_settings
from federation.code import code_hash, project_version
from federation.download import MOST_BYTES, TRANSFER_SECONDS, download
from federation.errors import ExperimentFailed, InputError, Refused
from federation.faults import path_fault
from federation.identity import Credentials, Identity
from federation.introduction import ask
from federation.link import Link
from federation.logs import state_folder
from federation.names import is_experiment_name
from federation.plan import CheckedPlan, load_plan, plan_from_json
from federation.printing import printable
from federation.protocol import VERSION
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from federation.tensors import Tensors, chunks, measure, most_bytes
from workspace.infos import EnvoyInfo, Event, ExperimentInfo, envoy_info, event_info, experiment_info
from workspace.metrics import metric_rows
from workspace.signed import sign_submission, signed_amendment

if TYPE_CHECKING:
    import pandas as pd

    from workspace.initial_exchange import Earlier
    from workspace.learning.recipe import Role

logger = logging.getLogger(__name__)
T = TypeVar("T")
PATIENCE_SECONDS = 10.0
# For what is worth waiting for: a director that is started again takes a while.
RESTART_SECONDS = 60.0
CALL_SECONDS = 30.0


class Federation:
    """A connection to a director.

    Parameters
    ----------
    director
        ``host:port``.
    certificates
        The folder with ``authority.crt``, ``NAME.crt`` and ``NAME.key``.
    name
        Of this workspace, as in its certificate.
    insecure
        Without certificates, on the loopback address only.
    checkpoints
        Hub ids of pretrained models, mapped to local folders.
    role
        ``workspace`` or ``operator``, where there is no certificate to say it.
    """

    def __init__(
        self,
        director: str = "localhost:50051",
        certificates: str | Path = "../certificates",
        name: str = "workspace",
        insecure: bool = False,
        checkpoints: Mapping[str, str] | None = None,
        role: str = "workspace",
    ) -> None:
        self.address = director
        self.checkpoints = dict(checkpoints or {})
        self.credentials = None if insecure else Credentials(Path(certificates), name)
        self.link = Link(director, Identity(name, role), None if insecure else Path(certificates))

    def __enter__(self) -> Federation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.link.close()

    def envoys(self) -> list[EnvoyInfo]:
        """Return the envoys that are online, by name."""
        listed = self.call(lambda stub: stub.ListEnvoys(pb.Empty(), timeout=CALL_SECONDS))
        return [envoy_info(e) for e in listed.envoys]

    def experiments(self, patience: float = PATIENCE_SECONDS) -> list[ExperimentInfo]:
        """Return all experiments, oldest first; ``patience`` is for a director that is away, in seconds."""
        listed = self.call(lambda stub: stub.ListExperiments(pb.Empty(), timeout=CALL_SECONDS), patience)
        if listed.paused:
            logger.warning("the director takes nothing in for now: %s", printable(listed.paused))
        return [experiment_info(e) for e in listed.experiments]

    def experiment(self, name: str, patience: float = PATIENCE_SECONDS) -> Experiment:
        """Return an experiment by name, one of yesterday too; ``patience`` is for a director that is away.

        Raises
        ------
        InputError
            If the director has none of that name.
        """
        experiment = Experiment(self, name)
        experiment.info(patience)
        return experiment

    def submit(
        self, plan: str | Path | CheckedPlan, overrides: Sequence[str] = (), name: str | None = None
    ) -> Experiment:
        """Hand in a plan with its initial model.

        Parameters
        ----------
        plan
            A plan file, or a plan that was loaded.
        overrides
            Such as ``task_runner.settings.learning_rate=1e-4``, for a file.
        name
            Of the experiment; the plan's name if left out. A number is added if the name is taken.

        Returns
        -------
        Experiment
            It is on the director's disk then, and queued until enough envoys that match are online.
        """
        from workspace.initial_exchange import initial_exchange

        checked = plan if isinstance(plan, CheckedPlan) else load_plan(plan, overrides)
        exchange = initial_exchange(checked, self.checkpoints, self._earlier)
        sha256, size = measure(exchange.tensors)
        submission = pb.Submission(
            name=name or checked.name,
            id=uuid.uuid4().hex,
            plan=checked.to_json(),
            version=project_version(),
            protocol=VERSION,
            code_hash=code_hash(checked.experiment),
            frozen_fingerprint=exchange.frozen_fingerprint,
            blob=pb.Blob(sha256=sha256, size=size),
            plan_name=checked.name,
        )
        if exchange.frozen:
            sha256, size = measure(exchange.frozen)
            submission.frozen.CopyFrom(pb.Blob(sha256=sha256, size=size))
        sign_submission(submission, self.credentials, self.director_name(RESTART_SECONDS))

        def upload() -> Iterator[pb.SubmitChunk]:
            yield pb.SubmitChunk(submission=submission)
            for tensors in filter(None, (exchange.tensors, exchange.frozen)):
                for piece in chunks(tensors):
                    yield pb.SubmitChunk(data=piece)

        made = self.call(lambda stub: stub.Submit(upload(), timeout=TRANSFER_SECONDS), RESTART_SECONDS)
        if not is_experiment_name(made.name):
            raise Refused(f"the director calls the experiment {made.name[:80]!r}, which is no name")
        return Experiment(self, made.name)

    def director_name(self, patience: float = PATIENCE_SECONDS) -> str:
        """Return the director's name, which it shows to be its own; empty without certificates, and of an earlier version.

        Raises
        ------
        Refused
            If it cannot show it.
        """
        if (ours := self.credentials) is None:
            return ""
        return self.call(lambda stub: ask(stub, self.address, ours), patience)

    def _earlier(self, experiment: str, which: str) -> Earlier:
        from workspace.initial_exchange import Earlier

        try:
            return Earlier(*Experiment(self, experiment)._whole(which)[1:])
        except InputError as error:
            raise InputError(f"federation.settings.start_from: {error}") from error

    def call(self, function: Callable[[rpc.DirectorStub], T], patience: float = PATIENCE_SECONDS) -> T:
        """Make a call, again while the director is away for a moment."""
        return self.link.call(function, patience=patience)


class Experiment:
    """One experiment at the director; it goes on whether or not anybody looks."""

    def __init__(self, federation: Federation, name: str) -> None:
        self._federation = federation
        self.name = name
        self._metadata = ((EXPERIMENT_KEY, name),)

    def __repr__(self) -> str:
        return f"Experiment({self.name!r})"

    def info(self, patience: float = PATIENCE_SECONDS) -> ExperimentInfo:
        """Return how the experiment stands; ``patience`` is for a director that is away, in seconds."""
        for info in self._federation.experiments(patience):
            if info.name == self.name:
                return info
        if is_experiment_name(self.name):
            # The director's answer says more of one that was removed.
            next(self.events(), None)
        raise InputError(
            f"no experiment {self.name!r} at {self._federation.address}; `fed list` names those that are"
        )

    def events(self, after: int = 0, follow: bool = False) -> Iterator[Event]:
        """Yield the experiment's events, from the first; with ``follow``, until it has ended.

        A connection that breaks is taken up again where it broke.
        """

        def watch(stub: rpc.DirectorStub) -> Iterator[pb.Event]:
            request = pb.WatchRequest(after=after, follow=follow)
            stream: Iterator[pb.Event] = stub.Watch(request, metadata=self._metadata)
            return stream

        patience = math.inf if follow else PATIENCE_SECONDS
        with contextlib.closing(self._federation.link.stream(watch, patience=patience)) as stream:
            for event in stream:
                after = event.id
                yield event_info(event)

    def watch(self, show: bool = True) -> ExperimentInfo:
        """Wait until the experiment has ended; ``show`` draws the rounds as they come.

        Raises
        ------
        ExperimentFailed
            If it failed or was stopped.
        """
        from workspace.progress import RoundProgress

        with RoundProgress(self.name, self.info(RESTART_SECONDS).rounds, show) as progress:
            return self.follow(lambda event: progress.take(event.kind, event.body, event.time))

    def follow(self, notice: Callable[[Event], None]) -> ExperimentInfo:
        """Wait as `watch` does; ``notice`` is told of each event, from the first."""
        for event in self.events(follow=True):
            notice(event)
        info = self.info(RESTART_SECONDS)
        if info.state != "finished":
            more = f"`fed logs {self.name}` says more, `fed resume {self.name}` goes on from its last closed round"
            raise ExperimentFailed(printable(f"experiment {self.name} {info.state}: {info.reason}; {more}"))
        return info

    def metrics(self) -> pd.DataFrame:
        """Return all metrics so far: columns round, task, origin (an envoy, or "aggregator"), metric, value."""
        import pandas as pd

        rows = [row for event in self.events() for row in metric_rows(event.kind, event.body)]
        return pd.DataFrame(rows, columns=["round", "task", "origin", "metric", "value"])

    def stop(self) -> ExperimentInfo:
        """Stop the experiment; what it has reached so far is kept."""
        stopped = self._federation.call(
            lambda stub: stub.Stop(pb.Empty(), metadata=self._metadata, timeout=CALL_SECONDS)
        )
        return experiment_info(stopped)

    def resume(self, settings: Mapping[str, Any] | None = None, accept_code: bool = False) -> ExperimentInfo:
        """Queue the experiment again if it failed or was stopped; if it runs, let all of its envoys take part again.

        Parameters
        ----------
        settings
            A plan's dotted keys and new values; rounds and limits only.
        accept_code
            Go on with the code that the envoys which are held share.
        """
        told = {key: json.dumps(value) for key, value in (settings or {}).items()}
        request = pb.ResumeRequest(
            settings=told,
            accept_code=accept_code,
            amendment=self._amendment(amendment_settings(told, accept_code)),
        )
        return experiment_info(
            self._federation.call(
                lambda stub: stub.Resume(request, metadata=self._metadata, timeout=CALL_SECONDS)
            )
        )

    def _amendment(self, changes: Mapping[str, str]) -> pb.Amendment | None:
        if not changes:
            return None
        name = self._federation.director_name()
        return signed_amendment(self.events(), changes, self._federation.credentials, name)

    def exclude(self, envoy: str) -> ExperimentInfo:
        """Let the experiment go on without an envoy, until it is resumed."""
        request = pb.ExcludeRequest(envoy=envoy)
        return experiment_info(
            self._federation.call(
                lambda stub: stub.Exclude(request, metadata=self._metadata, timeout=CALL_SECONDS)
            )
        )

    def remove(self) -> ExperimentInfo:
        """Remove the experiment, which has ended, with its models and events; its name stays taken."""
        removed = self._federation.call(
            lambda stub: stub.Remove(pb.Empty(), metadata=self._metadata, timeout=CALL_SECONDS)
        )
        return experiment_info(removed)

    def tensors(self, which: str = "best") -> Tensors:
        """Return the exchanged tensors of the best or the last model."""
        return self._download(which)[1]

    def model(self, folder: str | Path, which: str = "best", force: bool = False) -> Path:
        """Write the best or the last model as a Hugging Face folder, joined with its frozen part, whole or not at all.

        Raises
        ------
        InputError
            If the frozen part here is not that which the experiment was submitted with, or the folder holds another model,
            which only ``force`` replaces.
        """
        from workspace.initial_exchange import InitialExchange, build_model, require_frozen, write_model
        from workspace.learning.exchange import load_frozen, tensor_specs

        @cache
        def built(plan: str) -> InitialExchange:
            recipe, model = build_model(plan_from_json(plan, self.name), self._federation.checkpoints)
            return InitialExchange(recipe, model, {}, "")

        def most(info: pb.ModelInfo, role: Role) -> int:
            exchange = built(info.plan)
            if not info.HasField("frozen"):
                require_frozen(exchange, info.frozen_fingerprint)
            return most_bytes(tensor_specs(exchange.model, exchange.recipe.role, role))

        info, tensors, frozen = self._whole(which, most)
        exchange = built(info.plan)
        load_frozen(exchange.model, frozen, exchange.recipe.role)
        require_frozen(exchange, info.frozen_fingerprint)
        write_model(exchange, tensors, Path(folder), force)
        return Path(folder)

    def _whole(
        self, which: str, most: Callable[[pb.ModelInfo, Role], int] = lambda info, role: MOST_BYTES
    ) -> tuple[pb.ModelInfo, Tensors, Tensors]:
        """Download a model, and what of it is frozen by value; ``most`` says how large its tensors of a role may be."""
        info, tensors = self._download(which, lambda info: most(info, "exchanged"))
        if not info.HasField("frozen"):
            return info, tensors, {}
        return info, tensors, self._download("frozen", lambda info: most(info, "frozen"))[1]

    def _download(
        self, which: str, most: Callable[[pb.ModelInfo], int] = lambda _: MOST_BYTES
    ) -> tuple[pb.ModelInfo, Tensors]:
        folder = state_folder() / "workspace"

        def receive(stub: rpc.DirectorStub) -> tuple[pb.ModelInfo, Tensors]:
            return download(stub, pb.ModelRequest(kept=which), self._metadata, folder, most)

        try:
            return self._federation.call(receive)
        except OSError as error:
            raise path_fault(folder, error) from error
