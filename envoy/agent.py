"""The life of an envoy: open the shard, announce it, wait for orders, run a worker for each experiment.

The agent never trains and never imports torch. It keeps nothing that matters: killed and started again it announces itself anew
and the director sends it what it should be doing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from envoy.config import EnvoyConfig
from envoy.connection import Connection
from envoy.policy import permitted_experiments, refusal
from envoy.worker import WorkOrder
from federation.code import code_hashes, project_version
from federation.errors import FederationError
from federation.experiments import broken_experiments
from federation.federation_file import open_shard
from federation.plan import plan_from_json
from federation.protocol import VERSION
from federation.protocol import federation_pb2 as pb
from federation.rpc import EXPERIMENT_KEY
from federation.schema import plain
from federation.templates import package_of

logger = logging.getLogger(__name__)

RESTARTS = 3
TERM_SECONDS = 10.0


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
        self._devices = list(devices)
        self._connection = Connection(
            config.director, config.name, None if insecure else str(config.certificates)
        )
        self._link = self._connection.link()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._workers: dict[str, subprocess.Popen[str]] = {}
        self._ended: set[str] = set()
        self._free = [device.name for device in devices]
        self._waiting: list[pb.Start] = []

    def run(self) -> None:
        """Stay connected until `stop`; says when the director is away, again every few minutes, and when it is back.

        Raises
        ------
        Refused
            If the director refuses this envoy (certificate, role).
        """
        announcement = self._announcement()
        try:
            for order in self._link.stream(lambda stub: stub.Connect(announcement), endless=True):
                if order.HasField("connected"):
                    logger.info(
                        "connected to the director at %s as %s", self._config.director, self._config.name
                    )
                self._obey(order)
        finally:
            self._stop.set()
            self._stop_workers()
        logger.info("envoy %s has stopped", self._config.name)

    def stop(self) -> None:
        """End the connection and the workers; for another thread than that of `run`, which it may have to wait for."""
        self._stop.set()
        self._link.close()

    def _announcement(self) -> pb.Announcement:
        shard = open_shard(self._config.shard_descriptor)
        for problem in broken_experiments():
            logger.warning("%s", problem)
        package, version = package_of(self._config.shard_descriptor.template)
        samples = {split: len(shard.split(split)) for split in ("train", "validation", "test")}
        logger.info(
            "%s: %s, %s",
            self._config.name,
            shard.dataset,
            ", ".join(f"{n} {split}" for split, n in samples.items()),
        )
        return pb.Announcement(
            version=project_version(),
            protocol=VERSION,
            dataset=shard.dataset,
            classes=shard.classes,
            samples=samples,
            fingerprint=shard.fingerprint(),
            devices=self._devices,
            experiments=permitted_experiments(self._config.policy),
            code_hashes=code_hashes(),
            shard_package=pb.Package(name=package, version=version),
        )

    def _obey(self, order: pb.Order) -> None:
        if order.HasField("start"):
            with self._lock:
                busy = order.start.experiment in self._workers
                if not busy and all(s.experiment != order.start.experiment for s in self._waiting):
                    self._waiting.append(order.start)
            self._start_waiting()
        elif order.HasField("stop"):
            with self._lock:
                self._waiting = [s for s in self._waiting if s.experiment != order.stop]
                self._ended.add(order.stop)
                worker = self._workers.get(order.stop)
            if worker is not None:
                worker.terminate()

    def _start_waiting(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or not self._free or self._stop.is_set():
                    return
                start, device = self._waiting.pop(0), self._free.pop(0)
                self._ended.discard(start.experiment)
            threading.Thread(target=self._run_worker, args=(start, device), daemon=True).start()

    def _run_worker(self, start: pb.Start, device: str) -> None:
        name = start.experiment
        try:
            if (reason := refusal(self._config.policy, plan_from_json(start.plan, name))) is not None:
                self._report_failure(name, reason)
                return
            for attempt in range(1 + RESTARTS):
                logger.info("experiment %s: starts on %s", name, device)
                code = self._run_once(start, device)
                if code >= 0 or name in self._ended or self._stop.is_set():
                    break
                logger.warning("experiment %s: its process was killed by signal %d", name, -code)
                if attempt == RESTARTS:
                    self._report_failure(
                        name, f"its process was killed by signal {-code}, {1 + RESTARTS} times"
                    )
            if code == 0:
                shutil.rmtree(self._state_of(name), ignore_errors=True)
            logger.info("experiment %s: has ended here", name)
        except Exception as error:
            logger.exception("experiment %s cannot run here", name)
            self._report_failure(name, f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._workers.pop(name, None)
                self._free.append(device)
            self._start_waiting()

    def _run_once(self, start: pb.Start, device: str) -> int:
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
            state=str(self._state_of(start.experiment)),
        )
        worker = subprocess.Popen(
            [sys.executable, "-m", "envoy.worker"],
            stdin=subprocess.PIPE,
            text=True,
            env=environment_of_worker(),
        )
        with self._lock:
            self._workers[start.experiment] = worker
            stopping = self._stop.is_set() or start.experiment in self._ended
        if stopping:
            worker.terminate()
        assert worker.stdin is not None
        # Its end of the pipe stays open as long as we live: a worker whose agent is gone ends itself.
        with contextlib.suppress(BrokenPipeError), worker.stdin:
            worker.stdin.write(order.to_json() + "\n")
            worker.stdin.flush()
            worker.wait()
        return worker.wait()

    def _state_of(self, experiment: str) -> Path:
        """Return the folder for what an experiment must keep here over a crash; it goes when the experiment ends."""
        return self._config.state.expanduser() / self._config.name / "experiments" / experiment

    def _report_failure(self, experiment: str, reason: str) -> None:
        metadata = ((EXPERIMENT_KEY, experiment),)
        failure = pb.Failure(reason=reason)
        try:
            self._link.call(
                lambda stub: stub.ReportFailure(failure, metadata=metadata, timeout=30), patience=60
            )
        except FederationError as error:
            logger.error("experiment %s: %s; the director could not be told: %s", experiment, reason, error)

    def _stop_workers(self) -> None:
        with self._lock:
            workers = list(self._workers.values())
            self._waiting = []
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(TERM_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def environment_of_worker() -> dict[str, str]:
    """Return the environment of a worker: files in the folder where the envoy was started must shadow no module."""
    return os.environ | {"PYTHONSAFEPATH": "1"}
