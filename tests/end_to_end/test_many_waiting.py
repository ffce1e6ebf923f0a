"""Who only waits holds no thread of the director: a few threads serve whoever has something to do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federation.certificates import make_member
from federation.code import code_hash, project_version
from federation.identity import Credentials
from federation.link import OPTIONS
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from federation.statistics import classification
from federation.tensors import Tensors, chunks, measure, pack
from tests.deployment import DEADLINE, Deployment

EXPERIMENT = "keyword_spotting"
MODEL: Tensors = {"weight": np.ones((2, 3), np.float32)}
ENVOYS, WATCHES = 40, 10
# Longer than a call may wait: one that found no thread would not be answered within it.
PROMPT = 30.0


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(tmp_path) as deployment:
        deployment.start_director(threads=4)
        yield deployment


class Caller:
    """A member's connection; an envoy's calls name the experiment."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.channel = Credentials(deployment.certificates, name).channel(deployment.address, OPTIONS)
        self.stub: Any = rpc.DirectorStub(self.channel)

    def submit(self, name: str, envoys: int) -> str:
        """Hand in a plan that only trains; return the experiment's name."""
        plan = {
            "aggregator": {"settings": {"rounds_to_train": 1}},
            "tasks": {"train": {"function": "train_task"}},
            "task_runner": {"settings": {"experiment": EXPERIMENT}},
            "federation": {"settings": {"envoys": envoys, "dataset": "none", "classes": ["a", "b"]}},
        }
        sha256, size = measure(MODEL)
        submission = pb.Submission(
            name=name,
            id=uuid.uuid4().hex,
            plan=json.dumps(plan),
            version=project_version(),
            code_hash=code_hash(EXPERIMENT),
            blob=pb.Blob(sha256=sha256, size=size),
        )
        messages = [pb.SubmitChunk(submission=submission), *(pb.SubmitChunk(data=c) for c in chunks(MODEL))]
        return str(self.stub.Submit(iter(messages), timeout=PROMPT).name)

    def connect(self) -> Any:
        """Announce a site that fits; return the orders, of which the first has come."""
        announcement = pb.Announcement(
            version=project_version(),
            dataset="none",
            classes=["a", "b"],
            experiments=[EXPERIMENT],
            code_hashes={EXPERIMENT: code_hash(EXPERIMENT)},
            samples={"train": 1, "validation": 1},
        )
        orders = self.stub.Connect(announcement)
        assert next(orders).HasField("connected")
        return orders

    def tasks(self, experiment: str, wait: float) -> Any:
        """Ask for tasks; the answer is a future."""
        metadata = [(EXPERIMENT_KEY, experiment)]
        return self.stub.GetTasks.future(pb.TasksRequest(wait=wait), metadata=metadata, timeout=DEADLINE)

    def train(self, experiment: str, value: float) -> bool:
        """Send the result of the first round; return whether it counted."""
        label = np.zeros(1, np.int64)
        trained = {name: array + np.float32(value) for name, array in MODEL.items()}
        sha256, size = measure(trained)
        info = pb.ResultInfo(
            round=0,
            task="train",
            data_size=1,
            statistics=pack(classification(label, label, np.ones(1), 2)),
            blob=pb.Blob(sha256=sha256, size=size),
        )
        messages = [pb.ResultChunk(info=info), *(pb.ResultChunk(data=c) for c in chunks(trained))]
        metadata = [(EXPERIMENT_KEY, experiment)]
        return bool(self.stub.SendTaskResults(iter(messages), metadata=metadata, timeout=PROMPT).counted)


def test_four_threads_serve_while_forty_envoys_and_ten_watchers_wait(deployment: Deployment) -> None:
    names = [f"site-{number}" for number in range(ENVOYS)]
    for name in names:
        make_member(deployment.certificates, name, "envoy")
    workspace = Caller(deployment, "workspace")
    envoys = [Caller(deployment, name) for name in names]
    orders = [envoy.connect() for envoy in envoys]
    running = workspace.submit("running", ENVOYS)
    assert all(next(order).start.experiment == running for order in orders)
    *done, last = envoys
    for number, envoy in enumerate(done):
        assert list(envoy.tasks(running, 0).result().tasks) == ["train"]
        assert envoy.train(running, number)
    watches = [
        workspace.stub.Watch(
            pb.WatchRequest(follow=True), metadata=[(EXPERIMENT_KEY, running)], timeout=DEADLINE
        )
        for _ in range(WATCHES)
    ]
    assert all(next(watch).kind for watch in watches)
    waiting = [envoy.tasks(running, 60) for envoy in done]

    listed = workspace.stub.ListExperiments(pb.Empty(), timeout=PROMPT)
    assert [experiment.name for experiment in listed.experiments] == [running]
    assert len(workspace.stub.ListEnvoys(pb.Empty(), timeout=PROMPT).envoys) == ENVOYS
    assert workspace.submit("another", ENVOYS + 1) == "another"
    assert not any(answer.done() for answer in waiting)
    assert last.train(running, ENVOYS)

    assert all(answer.result().quit for answer in waiting)
    for watch in watches:
        assert [event.kind for event in watch][-1] == "finished"
    for caller in (workspace, *envoys):
        caller.channel.close()
