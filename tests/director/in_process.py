"""A director's experiments without its service: real files, a real journal, envoys that are only names."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from director.blobs import BlobStore
from director.envoys import OnlineEnvoy
from director.experiments import Experiments
from director.journal import Journal
from director.rows import EventRow
from director.uploads import Uploads
from federation.engine.results import TaskOutput
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.tensors import Tensors, chunks, measure
from tests.deployment import TINY_PLAN, WORDS

MODEL: Tensors = {"weight": np.ones((2, 3), np.float32)}
HASH = "c" * 64
VALIDATE, TRAIN, TUNED = "aggregated_model_validation", "train", "locally_tuned_model_validation"


class Director:
    """One life of a director over a state folder."""

    def __init__(
        self, folder: Path, retention_days: float | None = None, credentials: Credentials | None = None
    ) -> None:
        self.now = 0.0
        self.journal = Journal(folder / "journal.sqlite")
        self.blobs = BlobStore(folder / "blobs")
        self.uploads = Uploads(folder / "uploads", self.blobs)
        self.experiments = Experiments(
            self.journal, self.blobs, self.uploads, 1 << 20, lambda: self.now, retention_days, credentials
        )
        self.connections: dict[str, OnlineEnvoy] = {}

    def submit(
        self,
        name: str = "rows",
        model: Tensors = MODEL,
        envoys: int = 2,
        tasks: Sequence[str] = (VALIDATE, TRAIN, TUNED),
        federation: Mapping[str, Any] | None = None,
        rounds: int = 2,
        cutoff: float | None = None,
        by: str = "workspace",
        **settings: Any,
    ) -> None:
        """Take in an experiment that needs so many envoys."""
        content = copy.deepcopy(TINY_PLAN)
        content["federation"]["settings"] |= {"envoys": envoys} | (federation or {})
        content["aggregator"]["settings"]["rounds_to_train"] = rounds
        if cutoff is not None:
            content["straggler_handling_policy"] = {
                "template": "openfl.component.CutoffTimePolicy",
                "settings": {"straggler_cutoff_time": cutoff},
            }
        content["assigner"]["settings"]["task_groups"][0]["tasks"] = list(tasks)
        content["task_runner"]["settings"] = {"experiment": "tabular", **settings}
        sha256, size = measure(model)
        submission = pb.Submission(
            name=name,
            id=f"submission-{name}",
            plan=json.dumps(content),
            version="1.0",
            code_hash=HASH,
            blob=pb.Blob(sha256=sha256, size=size),
        )
        self.experiments.submit(submission, chunks(model), by)
        self.attend()

    def connect(self, *names: str) -> None:
        """Bring envoys online."""
        for name in names:
            self.connect_as(name)

    def connect_as(self, name: str, **said: Any) -> SimpleQueue[Any]:
        """Bring an envoy online that says something else of itself; return where its orders go."""
        orders: SimpleQueue[Any] = SimpleQueue()
        self.connections[name] = self.experiments.connect(name, announcement(**said), orders)
        self.attend()
        return orders

    def disconnect(self, *names: str) -> None:
        """Let envoys go."""
        for name in names:
            self.experiments.disconnect(self.connections.pop(name))
        self.attend()

    def pass_time(self, seconds: float) -> None:
        """Let time pass in which the director listens, and nothing happens."""
        self.now += seconds
        self.attend()

    def attend(self) -> None:
        """Do what the service's thread does when something has happened."""
        while self.experiments.attend() <= 0:
            pass

    def work(self, experiment: str, envoy: str, value: float = 1.0, most: int = 9) -> list[str]:
        """Do an envoy's open tasks in a round, or the first few of them; return what was done."""
        aggregator = self.experiments.live(experiment)
        assert aggregator is not None
        tasks = (aggregator.get_tasks(envoy)[0] or [])[:most]
        for task in tasks:
            self.report(experiment, envoy, task, value)
        return tasks

    def report(self, experiment: str, envoy: str, task: str, value: float = 1.0, **changes: Any) -> bool:
        """Hand in a result of the open round, as the service does."""
        aggregator = self.experiments.live(experiment)
        assert aggregator is not None
        tensors = {name: np.full_like(array, value) for name, array in MODEL.items()} if task == TRAIN else {}
        blob = self.blobs.put(tensors) if tensors else None
        output = TaskOutput(tensors, statistics() | changes, blob)
        return aggregator.send_local_task_results(envoy, aggregator.round_number, task, 10, output)

    def finish(self, experiment: str, values: dict[str, float]) -> str:
        """Do what is left of an experiment, each envoy training to a value; return its model."""
        self.connect(*(name for name in values if name not in {e.name for e, _ in self.experiments.online()}))
        while (aggregator := self.experiments.live(experiment)) is not None:
            for name, value in values.items():
                for task in aggregator.get_tasks(name)[0] or []:
                    self.report(experiment, name, task, value + aggregator.round_number)
        return self.experiments.experiment(experiment).model

    def events(self, experiment: str) -> list[EventRow]:
        """Return the events so far."""
        return self.journal.events(experiment)

    def kinds(self, experiment: str) -> list[str]:
        """Return the kinds of the events so far."""
        return [event.kind for event in self.events(experiment)]


@contextmanager
def director(
    folder: Path, retention_days: float | None = None, credentials: Credentials | None = None
) -> Iterator[Director]:
    """Live a life that ends without a goodbye: nothing is written at its end."""
    alive = Director(folder, retention_days, credentials)
    try:
        yield alive
    finally:
        alive.journal.close()


def announcement(**changes: Any) -> pb.Announcement:
    """What an envoy says that fits."""
    told = {
        "version": "1.0",
        "dataset": "speech_commands",
        "classes": WORDS,
        "samples": {"train": 10, "validation": 10},
        "experiments": ["tabular"],
        "code_hashes": {"tabular": HASH},
        "devices": [pb.Device(name=f"cpu:{number}") for number in range(8)],
    }
    return pb.Announcement(**(told | changes))


def statistics() -> dict[str, Any]:
    """The sums of ten samples, of which five are right."""
    confusion = np.zeros((len(WORDS), len(WORDS)), np.int64)
    confusion[0, :2] = 5
    return {"confusion": confusion, "loss_sum": np.asarray(10.0), "samples": np.asarray(10, np.int64)}
