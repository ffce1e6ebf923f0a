"""An envoy's agent and a director of a few lines: what is ordered, what is told, what is kept."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from envoy.agent import Agent
from envoy.config import EnvoyConfig
from envoy.run import Run
from federation.code import project_version
from federation.errors import Refused, Unreachable
from federation.protocol import VERSION
from federation.protocol import federation_pb2 as pb
from federation.schema import load
from tests.deployment import shard_entry, write_yaml
from tests.federation.fake_director import FakeDirector, answered, free_address, serving

DEADLINE = 60.0


class Director(FakeDirector):
    """Sends orders as the test puts them, and notes who connects and what fails."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: SimpleQueue[pb.Order | None] = SimpleQueue()
        self.announcements: SimpleQueue[pb.Announcement] = SimpleQueue()
        self.failures: SimpleQueue[tuple[str, pb.Failure]] = SimpleQueue()
        self.fault: Exception = Unreachable("disk full")
        self.takes_failures = threading.Event()
        self.takes_failures.set()
        self.asked = threading.Semaphore(0)

    def Connect(self, request: pb.Announcement, context: grpc.ServicerContext) -> Iterator[pb.Order]:
        self.announcements.put(request)
        yield pb.Order(connected=pb.Empty())
        while (order := self.orders.get()) is not None:
            yield order

    def ReportFailure(self, request: pb.Failure, context: grpc.ServicerContext) -> pb.Receipt:
        self.asked.release()
        with answered("ReportFailure", context):
            if not self.takes_failures.is_set():
                raise self.fault
        [experiment] = [pair.value for pair in context.invocation_metadata() if pair.key == "fed-experiment"]
        self.failures.put((experiment, request))
        return pb.Receipt(counted=True)


@contextmanager
def agent(
    folder: Path, speech: Path, address: str, policy: Mapping[str, Any] | None = None
) -> Iterator[Path]:
    """Run an envoy's agent without certificates, and yield the folder of what it keeps."""
    content = {
        "name": "north",
        "director": address,
        "state": str(folder / "state"),
        "shard_descriptor": shard_entry(speech, 0, 1),
        "policy": {"unsigned": True} | ({"experiments": []} if policy is None else dict(policy)),
    }
    config = load(write_yaml(folder / "envoy_config.yaml", content), EnvoyConfig)
    running = Agent(config, [pb.Device(name="cpu")], insecure=True)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield folder / "state" / "north" / "experiments"
    finally:
        running.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.fixture
def start(tiny_plan: dict[str, Any]) -> Callable[..., pb.Order]:
    """An order that the site's policy does not permit: it fails at once."""

    def order(name: str = "birds", seed: int = 1) -> pb.Order:
        tiny_plan["federation"]["settings"]["seed"] = seed
        return pb.Order(start=pb.Start(experiment=name, plan=json.dumps(tiny_plan)))

    return order


@contextmanager
def served(director: Director, address: str = "127.0.0.1:0") -> Iterator[str]:
    with serving(director, address) as listening:
        try:
            yield listening
        finally:
            director.orders.put(None)


def test_it_announces_what_it_keeps_and_forgets_it_when_it_is_told_to(tmp_path: Path, speech: Path) -> None:
    director = Director()
    data = tmp_path / "state" / "north" / "data"
    for name in ("experiments/birds", "experiments/fish", "data"):
        (tmp_path / "state" / "north" / name).mkdir(parents=True)
    (data / "mine").write_text("x")
    with served(director) as address, agent(tmp_path, speech, address) as kept:
        first = director.announcements.get(timeout=DEADLINE)
        assert list(first.kept) == ["birds", "fish"]
        assert (first.version, first.protocol) == (project_version(), VERSION)
        for name in ("../data", "..", "", "birds"):
            director.orders.put(pb.Order(forget=name))
        director.orders.put(pb.Order(start=pb.Start(experiment="../data", plan="{}")))
        director.orders.put(None)  # it connects again
        assert list(director.announcements.get(timeout=DEADLINE).kept) == ["fish"]
        assert (data / "mine").exists()
        assert [folder.name for folder in kept.iterdir()] == ["fish"]
        assert director.failures.empty()


@pytest.mark.parametrize("fault", [Unreachable("disk full"), RuntimeError("a fault of the director's own")])
def test_a_failure_is_told_when_the_director_takes_it(
    tmp_path: Path, speech: Path, start: Callable[..., pb.Order], fault: Exception
) -> None:
    director = Director()
    director.fault = fault
    director.takes_failures.clear()
    with served(director) as address, agent(tmp_path, speech, address):
        director.orders.put(start())
        for _ in range(2):
            assert director.asked.acquire(timeout=DEADLINE)
        director.takes_failures.set()
        experiment, failure = director.failures.get(timeout=DEADLINE)
        assert experiment == "birds"
        assert "policy does not permit" in failure.reason
        assert not failure.passing


def test_a_failure_outlives_a_director_that_goes(
    tmp_path: Path, speech: Path, start: Callable[..., pb.Order], caplog: pytest.LogCaptureFixture
) -> None:
    """The one that comes back orders the same: it is not done again, but told."""
    address = free_address()
    first, second = Director(), Director()
    first.takes_failures.clear()
    second.takes_failures.clear()
    with ExitStack() as stack, caplog.at_level(logging.INFO):
        with served(first, address):
            stack.enter_context(agent(tmp_path, speech, address))
            first.orders.put(start())
            assert first.asked.acquire(timeout=DEADLINE)
        second.orders.put(start())
        second.orders.put(None)
        stack.enter_context(served(second, address))
        for _ in range(2):
            second.announcements.get(timeout=DEADLINE)
        assert caplog.text.count("birds: has ended here") == 1
        second.takes_failures.set()
        assert second.failures.get(timeout=DEADLINE)[0] == "birds"


@pytest.mark.parametrize("end", [pb.Order(stop="birds"), pb.Order(forget="birds")])
def test_an_order_that_ends_the_experiment_makes_its_failure_idle(
    tmp_path: Path,
    speech: Path,
    start: Callable[..., pb.Order],
    caplog: pytest.LogCaptureFixture,
    end: pb.Order,
) -> None:
    """What is told of it when it was gone on with is what has happened since."""
    director = Director()
    director.takes_failures.clear()
    with (
        served(director) as address,
        agent(tmp_path, speech, address),
        caplog.at_level(logging.INFO),
    ):
        director.orders.put(start())
        assert director.asked.acquire(timeout=DEADLINE)
        director.orders.put(end)
        director.orders.put(start())
        director.orders.put(None)
        for _ in range(2):
            director.announcements.get(timeout=DEADLINE)
        director.takes_failures.set()
        assert director.failures.get(timeout=DEADLINE)[0] == "birds"
        assert caplog.text.count("birds: has ended here") == 2


def test_what_has_failed_is_tried_again_when_it_is_ordered_otherwise(
    tmp_path: Path, speech: Path, start: Callable[..., pb.Order]
) -> None:
    director = Director()
    with served(director) as address, agent(tmp_path, speech, address):
        for seed in (1, 2):
            director.orders.put(start(seed=seed))
            assert director.failures.get(timeout=DEADLINE)[0] == "birds"


def test_a_failure_that_the_director_refuses_to_hear_is_told_no_more_and_the_order_is_tried_again(
    tmp_path: Path, speech: Path, start: Callable[..., pb.Order], caplog: pytest.LogCaptureFixture
) -> None:
    director = Director()
    director.fault = Refused("north is not in the cohort of experiment birds")
    director.takes_failures.clear()
    with served(director) as address, agent(tmp_path, speech, address), caplog.at_level(logging.INFO):
        director.orders.put(start("birds"))
        assert director.asked.acquire(timeout=DEADLINE)
        director.takes_failures.set()
        director.orders.put(start("fish"))
        assert director.failures.get(timeout=DEADLINE)[0] == "fish", "of birds nothing is told any more"
        director.orders.put(start("birds"))
        assert director.failures.get(timeout=DEADLINE)[0] == "birds"
        assert caplog.text.count("birds: has ended here") == 2


def test_an_order_is_tried_again_though_its_disk_was_full_and_the_director_does_not_know_yet(
    tmp_path: Path, speech: Path, start: Callable[..., pb.Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    began: SimpleQueue[str] = SimpleQueue()
    ends = threading.Event()

    def work(run: Run, order: Any, room: Any, away: Callable[[pb.Failure | None], None], **_: Any) -> None:
        away(pb.Failure(reason="its disk is full", passing=True))
        began.put(order.experiment)
        assert ends.wait(DEADLINE)

    monkeypatch.setattr(Run, "work", work)
    director = Director()
    director.takes_failures.clear()
    with served(director) as address, agent(tmp_path, speech, address, {"experiments": ["keyword_spotting"]}):
        director.orders.put(start())
        assert began.get(timeout=DEADLINE) == "birds"
        assert director.asked.acquire(timeout=DEADLINE)
        director.orders.put(start())
        director.orders.put(None)
        for _ in range(2):
            director.announcements.get(timeout=DEADLINE)
        ends.set()
        assert began.get(timeout=DEADLINE) == "birds"
        director.takes_failures.set()
        experiment, failure = director.failures.get(timeout=DEADLINE)
        assert (experiment, failure.passing) == ("birds", True)


def test_the_log_says_what_of_its_data_a_site_does_not_use(
    tmp_path: Path, speech: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "speech"
    shutil.copytree(speech, data)
    for name in ("._a.wav", "notes.txt"):
        (data / "yes" / name).write_text("not a sound")
    director = Director()
    with caplog.at_level(logging.INFO), served(director) as address, agent(tmp_path, data, address):
        director.announcements.get(timeout=DEADLINE)
    [line] = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert line.startswith("north: left out: ")
    assert "hidden files (1)" in line
    assert "files ending in .txt (1)" in line
