"""Results whose upload breaks off: the experiment does not notice, and little is sent twice."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from envoy.client import GrpcAggregatorClient
from federation.code import code_hash, project_version
from federation.engine.results import TaskOutput
from federation.identity import Identity
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.statistics import classification
from federation.tensors import Tensors, chunks, measure
from tests.cutting_proxy import CuttingProxy
from tests.deployment import WORDS, Deployment, Service, write_yaml
from workspace.client import Federation

CHUNK = 1 << 20
EXPERIMENT = "keyword_spotting"


class Running:
    """A director with an experiment whose only envoy is the test."""

    def __init__(self, deployment: Deployment, megabytes: int) -> None:
        self.deployment = deployment
        self.listen = "127.0.0.1:0"
        self.director = self.start()
        self.listen = self.address
        generator = np.random.default_rng(1)
        self.model: Tensors = {
            f"layer{number}": generator.standard_normal(CHUNK // 4, dtype=np.float32)
            for number in range(megabytes)
        }
        self.trained: Tensors = {name: value + 1 for name, value in self.model.items()}
        self.size = measure(self.trained)[1]

    def start(self) -> Service:
        config = {"listen": self.listen, "state": "state"}
        write_yaml(self.deployment.folder / "director_config.yaml", config)
        director = self.deployment.start("director", "start", "-c", "director_config.yaml", "--insecure")
        self.address = f"127.0.0.1:{director.wait_for(r'director listening on .*:(?P<port>[0-9]+)')['port']}"
        return director

    def submit(self, federation: Federation) -> None:
        plan = {
            "aggregator": {"settings": {"rounds_to_train": 1}},
            "tasks": {"train": {"function": "train_task"}},
            "task_runner": {"settings": {"experiment": EXPERIMENT}},
            "federation": {"settings": {"envoys": 1, "dataset": "none", "classes": WORDS}},
        }
        sha256, size = measure(self.model)
        submission = pb.Submission(
            name="words",
            id=uuid.uuid4().hex,
            plan=json.dumps(plan),
            version=project_version(),
            code_hash=code_hash(EXPERIMENT),
            blob=pb.Blob(sha256=sha256, size=size),
        )

        def upload() -> Iterator[pb.SubmitChunk]:
            yield pb.SubmitChunk(submission=submission)
            for piece in chunks(self.model):
                yield pb.SubmitChunk(data=piece)

        federation.link.call(lambda stub: stub.Submit(upload(), timeout=60))

    def announcement(self) -> pb.Announcement:
        return pb.Announcement(
            version=project_version(),
            dataset="none",
            classes=WORDS,
            experiments=[EXPERIMENT],
            code_hashes={EXPERIMENT: code_hash(EXPERIMENT)},
            samples={"train": 5, "validation": 5},
        )

    def result(self) -> TaskOutput:
        labels = np.zeros(5, np.int64)
        return TaskOutput(self.trained, classification(labels, labels, np.ones(5), len(WORDS)))


def send_through(running: Running, proxy: CuttingProxy) -> Any:
    """Be the envoy: its orders come directly, its result goes through the proxy. Return how the experiment stands then."""
    north = Identity("north", "envoy")
    with (
        Federation(running.address, insecure=True) as federation,
        Link(running.address, north, None) as orders,
        Link(proxy.address, north, None) as link,
    ):
        running.submit(federation)
        started = orders.stream(lambda stub: stub.Connect(running.announcement()), endless=True)
        assert next(order for order in started if order.HasField("start")).start.experiment == "words"
        client = GrpcAggregatorClient(link, "words")
        assert client.send_local_task_results(0, "train", 5, running.result())
        experiment = federation.experiment("words")
        events = [event.kind for event in experiment.events(follow=True)]
        assert "envoy_failed" not in events
        return experiment.info()


def test_one_that_is_cut_five_times_is_sent_hardly_more_than_once(deployment: Deployment) -> None:
    running = Running(deployment, 8)
    cuts = [int(running.size * share) for share in (0.15, 0.3, 0.45, 0.6, 0.75)]
    proxy = CuttingProxy(running.address, cuts)
    assert send_through(running, proxy).state == "finished"
    assert proxy.made == len(cuts)
    assert proxy.sent <= 1.1 * running.size + len(cuts) * CHUNK
    assert list((deployment.folder / "state" / "uploads").rglob("*.partial")) == []


@pytest.mark.sweep
def test_so_is_one_of_the_base_plans_size(deployment: Deployment) -> None:
    running = Running(deployment, 361)
    cuts = [int(running.size * share) for share in (0.15, 0.3, 0.45, 0.6, 0.75)]
    proxy = CuttingProxy(running.address, cuts)
    assert send_through(running, proxy).state == "finished"
    assert proxy.sent <= 1.1 * running.size + len(cuts) * CHUNK


class KillingProxy(CuttingProxy):
    """Stops the director, and starts it again, when it cuts."""

    def __init__(self, running: Running, cuts: list[int], number: int) -> None:
        self._running, self._number = running, number
        self.on_disk = self.sent_before = 0
        super().__init__(running.address, cuts)

    def _is_cut(self, length: int) -> bool:
        cut = super()._is_cut(length)
        if cut:
            self._running.director.end(self._number)
            folder = self._running.deployment.folder / "state" / "uploads"
            self.on_disk = sum(file.stat().st_size for file in folder.rglob("*.partial"))
            self.sent_before = self.sent
            self._running.director = self._running.start()
        return cut


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_it_goes_on_after_a_director_that_ends_in_its_middle(deployment: Deployment, number: int) -> None:
    running = Running(deployment, 8)
    proxy = KillingProxy(running, [running.size // 2], number)
    assert send_through(running, proxy).state == "finished"
    assert proxy.made == 1
    # How much of what was on its way had reached the disk is the system's affair; of that nothing is sent again.
    assert proxy.sent - proxy.sent_before <= running.size - proxy.on_disk + CHUNK // 8
    if number == signal.SIGTERM:
        assert proxy.on_disk > running.size // 2 - CHUNK, "a director that stops takes in what has reached it"
