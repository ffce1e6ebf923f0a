"""Members of a federation as an attacker plays them: real certificates and connections, and no learning."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from federation.certificates import make_member
from federation.code import code_hash, project_version
from federation.errors import FederationError
from federation.identity import Identity
from federation.link import Link
from federation.protocol import VERSION
from federation.protocol import federation_pb2 as pb
from federation.rpc import EXPERIMENT_KEY
from federation.statistics import classification
from federation.tensors import Tensors, chunks, measure, pack
from tests.deployment import DEADLINE, Deployment
from workspace.client import Experiment, Federation

EXPERIMENT = "keyword_spotting"
MODEL: Tensors = {"weight": np.ones((2, 3), np.float32)}


def user(deployment: Deployment, name: str, role: str = "workspace") -> Federation:
    """Connect as a workspace or an operator, with a certificate of its own."""
    make_member(deployment.certificates, name, role)
    return Federation(deployment.address, deployment.certificates, name)


def submission(name: str, envoys: int = 9, rounds: int = 1) -> pb.Submission:
    """What is said of a plan that only trains, and waits for so many envoys."""
    plan = {
        "aggregator": {"settings": {"rounds_to_train": rounds}},
        "tasks": {"train": {"function": "train_task"}},
        "task_runner": {"settings": {"experiment": EXPERIMENT}},
        "federation": {"settings": {"envoys": envoys, "dataset": "none", "classes": ["a", "b"]}},
    }
    sha256, size = measure(MODEL)
    return pb.Submission(
        name=name,
        id=uuid.uuid4().hex,
        plan=json.dumps(plan),
        version=project_version(),
        protocol=VERSION,
        code_hash=code_hash(EXPERIMENT),
        blob=pb.Blob(sha256=sha256, size=size),
    )


def submitted(federation: Federation, name: str, envoys: int = 9, rounds: int = 1) -> Experiment:
    """Hand in such a plan."""
    said = submission(name, envoys, rounds)
    messages = [pb.SubmitChunk(submission=said), *(pb.SubmitChunk(data=c) for c in chunks(MODEL))]
    made = federation.call(lambda stub: stub.Submit(iter(messages), timeout=DEADLINE))
    return Experiment(federation, made.name)


class Site:
    """An envoy that does what a test says: connected until the director ends it."""

    def __init__(self, deployment: Deployment, name: str, certificates: Path | None = None) -> None:
        self.name = name
        folder = certificates or deployment.certificates
        make_member(folder, name, "envoy")
        self.link = Link(deployment.address, Identity(name, "envoy"), folder)
        self.orders: list[pb.Order] = []
        self.refused: FederationError | None = None
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        self.wait_for("connected")

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def _listen(self) -> None:
        announcement = pb.Announcement(
            version=project_version(),
            protocol=VERSION,
            dataset="none",
            classes=["a", "b"],
            experiments=[EXPERIMENT],
            code_hashes={EXPERIMENT: code_hash(EXPERIMENT)},
            samples={"train": 1, "validation": 1},
            fingerprint=self.name,
            process=uuid.uuid4().hex,
        )
        try:
            for order in self.link.stream(lambda stub: stub.Connect(announcement), endless=True):
                with self._news:
                    self.orders.append(order)
                    self._news.notify_all()
        except FederationError as error:
            with self._news:
                self.refused = error
                self._news.notify_all()

    def wait_for(self, kind: str) -> pb.Order:
        """Return the first order of a kind as soon as it is there."""

        def found() -> pb.Order | None:
            return next((order for order in self.orders if order.HasField(kind)), None)

        with self._news:
            assert self._news.wait_for(lambda: found() or self.refused, DEADLINE), f"no {kind} in time"
            order = found()
        assert order is not None, f"no {kind}: {self.refused}"
        return order

    def wait_for_the_end(self) -> FederationError:
        """Return why the director refuses this site, as soon as it does."""
        with self._news:
            assert self._news.wait_for(lambda: self.refused is not None, DEADLINE)
        assert self.refused is not None
        return self.refused

    def tasks(self, experiment: str, wait: float = 30.0) -> pb.Tasks:
        """Ask for tasks."""
        metadata = [(EXPERIMENT_KEY, experiment)]
        request = pb.TasksRequest(wait=wait)
        return self.link.call(
            lambda stub: stub.GetTasks(request, metadata=metadata, timeout=DEADLINE), patience=0
        )

    def train(self, experiment: str, value: float, number: int = 0) -> bool:
        """Send the result of a round; return whether it counted."""
        label = np.zeros(1, np.int64)
        trained = {name: array + np.float32(value) for name, array in MODEL.items()}
        sha256, size = measure(trained)
        info = pb.ResultInfo(
            round=number,
            task="train",
            data_size=1,
            statistics=pack(classification(label, label, np.ones(1), 2)),
            blob=pb.Blob(sha256=sha256, size=size),
        )
        messages = [pb.ResultChunk(info=info), *(pb.ResultChunk(data=c) for c in chunks(trained))]
        metadata = [(EXPERIMENT_KEY, experiment)]
        answer: Any = self.link.call(
            lambda stub: stub.SendTaskResults(iter(messages), metadata=metadata, timeout=DEADLINE), patience=0
        )
        return bool(answer.counted)
