"""The life of an envoy: open the shard, announce it, wait for orders, run a worker for each experiment.

The agent never trains and never imports torch. It keeps nothing that matters: killed and started again it announces itself anew
and the director sends it what it should be doing.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial

from envoy.config import EnvoyConfig
from envoy.connection import Connection
from envoy.failures import Failures
from envoy.frozen import remove_unfinished
from envoy.hours import Hours
from envoy.kept import Kept
from envoy.policy import (
    announced,
    bounds_of,
    permits_hub,
    permitted_devices,
    permitted_experiments,
    refusal,
)
from envoy.revoked import Revoked
from envoy.room import has_room, what_is_full, words_of
from envoy.run import Run
from envoy.trust import Trust
from envoy.worker import WorkOrder
from envoy.workers import Workers
from federation.code import code_hashes, project_version
from federation.errors import InputError, Refused, Unreachable
from federation.experiments import broken_experiments
from federation.federation_file import open_shard, samples_of
from federation.introduction import ask
from federation.plan import plan_from_json
from federation.protocol import VERSION
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.protocol.limits import check
from federation.schema import plain
from federation.templates import package_of

logger = logging.getLogger(__name__)


class Agent:
    """An envoy that keeps its connection to the director and runs what it is sent.

    Parameters
    ----------
    config
        Checked.
    insecure
        Without certificates, on the loopback address only.
    devices
        As `envoy.devices.find_devices` found them.
    """

    def __init__(self, config: EnvoyConfig, devices: Sequence[pb.Device], insecure: bool = False) -> None:
        self._config = config
        self._devices = permitted_devices(config.policy, devices)
        self._hours = Hours.parse(config.policy.hours)
        self._connection = Connection(
            config.director, config.name, None if insecure else str(config.certificates)
        )
        self._link = self._connection.link()
        self._stop = threading.Event()
        self._announcement = pb.Announcement()
        # By which the director tells a connection that is made anew from another envoy of our name.
        self._process = uuid.uuid4().hex
        self._state = config.state.expanduser() / config.name
        self.revoked = Revoked(self._state, None if insecure else config.certificates)
        self._kept = Kept(self._state / "experiments")
        self._trust = Trust(
            self._connection.credentials, config.policy, self._state / "taken", self.revoked.is_revoked
        )
        self._director = ""
        self._failures = Failures(self._link, self._stop)
        self._workers = Workers([device.name for device in self._devices], self._work, self._failures.add)

    def run(self) -> None:
        """Stay connected until `stop`; says when the director is away, again every few minutes, and when it is back.

        Raises
        ------
        InputError
            If the shard is more than a director takes in an announcement.
        Refused
            If the director refuses this envoy (certificate, role).
        """
        self._announcement = check(self._shard_and_code())
        remove_unfinished(self._kept.frozen)
        self._kept.drop_unnamed()
        try:
            for order in self._link.stream(self._connect, endless=True):
                if order.HasField("connected"):
                    logger.info(
                        "connected to the director at %s as %s", self._config.director, self._config.name
                    )
                self._obey(order)
        finally:
            self._stop.set()
            self._workers.close()
        logger.info("envoy %s has stopped", self._config.name)

    def stop(self) -> None:
        """End the connection and the workers; for another thread than that of `run`, which it may have to wait for."""
        self._stop.set()
        self._link.close()

    def _connect(self, stub: rpc.DirectorStub) -> Iterator[pb.Order]:
        """Learn who the director is, and connect."""
        credentials = self._connection.credentials
        try:
            self._director = ask(stub, self._config.director, credentials) if credentials else ""
        except (Refused, InputError) as error:  # its certificate, or ours, is perhaps being replaced
            raise Unreachable(str(error)) from error
        orders: Iterator[pb.Order] = stub.Connect(self._announced())
        return orders

    def _announced(self) -> pb.Announcement:
        """Return what is announced, with what is kept here by now."""
        announcement = pb.Announcement()
        announcement.CopyFrom(self._announcement)
        announcement.kept.extend(self._kept.names())
        return announcement

    def _shard_and_code(self) -> pb.Announcement:
        shard = open_shard(self._config.shard_descriptor)
        for problem in broken_experiments():
            logger.warning("%s", problem)
        package, version = package_of(self._config.shard_descriptor.template)
        samples = samples_of(shard)
        logger.info(
            "%s: %s, %s",
            self._config.name,
            shard.dataset,
            ", ".join(f"{n} {split}" for split, n in samples.items()),
        )
        for line in shard.remarks():
            logger.warning("%s: %s", self._config.name, line)
        return pb.Announcement(
            version=project_version(),
            protocol=VERSION,
            process=self._process,
            dataset=shard.dataset,
            classes=shard.classes,
            samples=samples,
            fingerprint=shard.fingerprint(),
            devices=self._devices,
            experiments=permitted_experiments(self._config.policy),
            code_hashes=code_hashes(),
            shard_package=pb.Package(name=package, version=version),
            policy=announced(self._config.policy, self._config.checkpoints),
        )

    def _obey(self, order: pb.Order) -> None:
        try:
            match order.WhichOneof("order"):
                case "start":
                    self._start(order.start)
                case "stop":
                    self._workers.stop(order.stop)
                    self._failures.drop(order.stop)
                case "revoked":
                    self.revoked.keep(order.revoked)
                case "forget":
                    self._workers.stop(order.forget, partial(self._kept.forget, order.forget))
                    self._failures.drop(order.forget)
        except Refused as error:
            logger.error("an order of the director's is not obeyed: %s", error)

    def _start(self, start: pb.Start) -> None:
        self._kept.folder_of(start.experiment)
        if self._failures.is_untold(start):
            return
        self._failures.drop(start.experiment)
        self._workers.start(start)

    def _work(self, run: Run, device: str) -> pb.Failure | None:
        start = run.start

        def away(failure: pb.Failure | None) -> None:
            if failure is None:
                self._failures.drop(start.experiment)
            else:
                self._failures.add(start, failure)

        while (failure := self._take(start)) is not None:
            if not failure.passing or run.ended.is_set():
                return failure
            run.wait_until(partial(has_room, self._state), failure, away)
        plan = plan_from_json(start.plan, start.experiment)
        if (reason := refusal(self._config.policy, plan, self._config.checkpoints)) is not None:
            return pb.Failure(reason=reason)
        order = WorkOrder(
            experiment=start.experiment,
            plan=start.plan,
            frozen_fingerprint=start.frozen_fingerprint,
            code_hash=start.code_hash,
            device=device,
            connection=asdict(self._connection),
            shard_descriptor=plain(self._config.shard_descriptor),
            checkpoints=dict(self._config.checkpoints),
            log_level=self._config.log_level,
            state=str(self._kept.folder_of(start.experiment)),
            downloads=str(self._state / "downloads"),
            hub=permits_hub(self._config.policy, self._config.checkpoints),
            hours=self._config.policy.hours or "",
            bounds=bounds_of(self._config.policy),
            model_sha256=start.submitted.blob.sha256,
            model_size=start.submitted.blob.size,
            frozen=str(self._kept.frozen),
            frozen_sha256=start.frozen.sha256,
            frozen_size=start.frozen.size,
        )
        return run.work(order, partial(has_room, self._state), away, closed=self._hours.closed)

    def _take(self, start: pb.Start) -> pb.Failure | None:
        """Take an experiment; say why it is not to be trusted, or what keeps that it is from being noted for now."""
        try:
            # A name that an earlier submission had must not bring that one's personal layers into this one.
            self._trust.take(start, self._director, first=partial(self._kept.clear, start.experiment))
            if start.HasField("frozen"):
                self._kept.name_frozen(start.experiment, start.frozen.sha256)
        except Refused as error:
            return pb.Failure(reason=str(error))
        except InputError as error:  # its certificates are perhaps being replaced
            return pb.Failure(reason=str(error), passing=True)
        except OSError as error:
            if (full := what_is_full(error)) is None:
                raise
            return pb.Failure(reason=words_of(full), passing=True)
        return None
