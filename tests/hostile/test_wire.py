"""What members send beyond all measure: it is refused in one short line, and everybody else goes on."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from envoy.client import GrpcAggregatorClient
from federation.code import code_hash, project_version
from federation.errors import InputError
from federation.identity import Identity, insecure_channel
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from federation.statistics import classification
from federation.tensors import Tensors, chunks, measure, pack
from tests.deployment import Deployment, Service, write_yaml

EXPERIMENT = "keyword_spotting"
MODEL: Tensors = {"weight": np.ones((2, 3), np.float32)}
PROMPT = 30.0
MEGABYTE = 1 << 20
TITLE = "\x1b]0;owned\x07"
FORGED = "no\n2026-11-25 13:00:00,000 WARNING director.server: eve is an operator"
# Nobody here compresses, and a test that does must be able to send what it likes.
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Member:
    """A member that sends what it wants to, by bare gRPC."""

    def __init__(self, address: str, name: str, role: str) -> None:
        self.channel = insecure_channel(address, Identity(name, role), UNLIMITED)
        self.stub: Any = rpc.DirectorStub(self.channel)

    def connect(self, **changes: Any) -> Any:
        """Announce a site that fits, but for some changes; return the orders."""
        told = {
            "version": project_version(),
            "dataset": "none",
            "classes": ["a", "b"],
            "experiments": [EXPERIMENT],
            "samples": {"train": 10, "validation": 10},
            "code_hashes": {EXPERIMENT: code_hash(EXPERIMENT)},
        }
        return self.stub.Connect(pb.Announcement(**(told | changes)))

    def submit(
        self, name: str, envoys: int = 1, pieces: Sequence[bytes] | None = None, **changes: Any
    ) -> str:
        """Hand in a plan that only trains, but for some changes; return the experiment's name."""
        plan = {
            "aggregator": {"settings": {"rounds_to_train": 1}},
            "tasks": {"train": {"function": "train_task"}},
            "task_runner": {"settings": {"experiment": EXPERIMENT}},
            "federation": {"settings": {"envoys": envoys, "dataset": "none", "classes": ["a", "b"]}},
        }
        sha256, size = measure(MODEL)
        told = {
            "name": name,
            "id": uuid.uuid4().hex,
            "plan": json.dumps(plan),
            "version": project_version(),
            "code_hash": code_hash(EXPERIMENT),
            "blob": pb.Blob(sha256=sha256, size=size),
        }
        data = list(chunks(MODEL)) if pieces is None else pieces
        messages = [
            pb.SubmitChunk(submission=pb.Submission(**(told | changes))),
            *(pb.SubmitChunk(data=piece) for piece in data),
        ]
        return str(self.stub.Submit(iter(messages), timeout=PROMPT).name)

    def send(self, experiment: str, statistics: bytes, tensors: Tensors = MODEL) -> Any:
        """Send the result of the first round's training."""
        sha256, size = measure(tensors)
        blob = pb.Blob(sha256=sha256, size=size)
        info = pb.ResultInfo(round=0, task="train", data_size=1, statistics=statistics, blob=blob)
        messages = [pb.ResultChunk(info=info), *(pb.ResultChunk(data=c) for c in chunks(tensors))]
        return self.stub.SendTaskResults(iter(messages), metadata=of(experiment), timeout=PROMPT)

    def states(self) -> dict[str, str]:
        """How all experiments stand."""
        listed = self.stub.ListExperiments(pb.Empty(), timeout=PROMPT).experiments
        return {experiment.name: experiment.state for experiment in listed}

    def kinds(self, experiment: str) -> list[str]:
        """What has happened in an experiment."""
        return [
            event.kind
            for event in self.stub.Watch(pb.WatchRequest(), metadata=of(experiment), timeout=PROMPT)
        ]


def of(experiment: str) -> list[tuple[str, str]]:
    return [(EXPERIMENT_KEY, experiment)]


def sound() -> bytes:
    label = np.zeros(1, np.int64)
    return pack(classification(label, label, np.ones(1), 2))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A director for all of these tests, each of which must leave it as useful as it was."""
    with Deployment(tmp_path_factory.mktemp("wire")) as deployment:
        write_yaml(deployment.folder / "director.yaml", {"listen": "127.0.0.1:0", "state": "state"})
        deployment.director = deployment.start("director", "start", "-c", "director.yaml", "--insecure")
        port = deployment.director.wait_for(r"director listening on .*:(\d+)")[1]
        deployment.address = f"127.0.0.1:{port}"
        yield deployment


@pytest.fixture
def member(running: Deployment) -> Iterator[Callable[[str, str], Member]]:
    made: list[Member] = []

    def make(name: str, role: str = "envoy") -> Member:
        made.append(Member(running.address, name, role))
        return made[-1]

    yield make
    for one in made:
        one.channel.close()


@pytest.fixture
def alice(member: Any) -> Member:
    """A workspace that asks whether the director is as useful as ever."""
    return member("alice", "workspace")


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert len(error.value.details() or "") < 500
    return error.value


def logged(director: Service, pattern: str) -> int:
    """How many characters the director's log has, once a line that matches is there."""
    director.wait_for(pattern)
    return sum(map(len, director.lines))


def test_a_dataset_named_by_a_megabyte_is_refused_and_grows_no_log_or_journal(
    running: Deployment, member: Any, alice: Member
) -> None:
    state = running.folder / "state"
    journal = sum(file.stat().st_size for file in state.glob("journal*"))
    before = sum(map(len, running.director.lines))
    eve = member("eve")
    for _ in range(22):
        error = refused(lambda: next(eve.connect(dataset="x" * MEGABYTE, version="v" * MEGABYTE)))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert logged(running.director, "Announcement has .* bytes; up to") - before < 22 * 1000
    assert sum(file.stat().st_size for file in state.glob("journal*")) - journal < MEGABYTE
    assert not alice.stub.ListEnvoys(pb.Empty(), timeout=PROMPT).envoys
    error = refused(lambda: next(eve.connect(dataset="x" * 1000)))
    assert error.details() == "dataset has 1000 characters; up to 200 are taken"


@pytest.mark.parametrize("megabytes", [1, 60])
def test_a_fingerprint_of_megabytes_reaches_no_envoy(member: Any, alice: Member, megabytes: int) -> None:
    north = member("north")
    orders = north.connect()
    assert next(orders).HasField("connected")
    refused(lambda: member("eve", "workspace").submit("fat", frozen_fingerprint="x" * (megabytes * MEGABYTE)))
    assert "fat" not in alice.states()
    name = alice.submit("slim")
    assert next(orders).start.experiment == name
    orders.cancel()
    alice.stub.Stop(pb.Empty(), metadata=of(name), timeout=PROMPT)


def test_a_shape_of_infinity_is_the_failure_of_its_sender_and_of_nobody_else(
    member: Any, alice: Member
) -> None:
    north, eve = member("north"), member("eve")
    orders = {one: one.connect() for one in (north, eve)}
    for received in orders.values():
        assert next(received).HasField("connected")
    name = alice.submit("infinite", envoys=2)
    for received in orders.values():
        assert next(received).start.experiment == name
    header = b'{"samples":{"dtype":"I64","shape":[Infinity],"data_offsets":[0,8]}}'
    error = refused(lambda: eve.send(name, len(header).to_bytes(8, "little") + header + bytes(8)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert north.send(name, sound()).counted
    assert "envoy_failed" in alice.kinds(name)
    assert alice.states()[name] != "failed"
    for received in orders.values():
        received.cancel()
    alice.stub.Stop(pb.Empty(), metadata=of(name), timeout=PROMPT)


def test_a_reason_that_drives_a_terminal_is_printed_as_text(
    running: Deployment, member: Any, alice: Member
) -> None:
    eve = member("eve")
    orders = eve.connect(dataset=f"none{TITLE}{FORGED}")
    assert next(orders).HasField("connected")
    shown = running.fed("envoys", "--insecure")
    assert r"\x1b]0;owned\x07no\n2026" in shown
    assert "\x1b" not in shown
    orders.cancel()
    orders = eve.connect()
    assert next(orders).HasField("connected")
    name = alice.submit("printed")
    assert next(orders).start.experiment == name
    eve.stub.ReportFailure(
        pb.Failure(reason=TITLE + FORGED, traceback=f"{TITLE}\r{FORGED}"), metadata=of(name), timeout=PROMPT
    )
    for command in (["list"], ["logs", name]):
        shown = running.fed(*command, "--insecure")
        assert r"\x1b]0;owned\x07no\n2026" in shown
        assert "\x1b" not in shown
        assert not any(line.startswith("2026-11-25 13:00:00,000") for line in shown.splitlines())
    running.director.wait_for(r"\\x1b\]0;owned\\x07no\\n2026")
    assert not any(
        "\x1b" in line or line.startswith("2026-11-25 13:00:00,000") for line in running.director.lines
    )
    orders.cancel()


def test_cursors_and_numbers_out_of_range_are_said_to_be_so(alice: Member, member: Any) -> None:
    name = alice.submit("ranged", envoys=99)
    watch = pb.WatchRequest(after=2**64 - 1)
    error = refused(lambda: next(alice.stub.Watch(watch, metadata=of(name), timeout=PROMPT)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "after is 18446744073709551615" in (error.details() or "")
    for wait in (float("nan"), float("inf"), -1.0):
        ask = partial(
            member("eve").stub.GetTasks, pb.TasksRequest(wait=wait), metadata=of(name), timeout=PROMPT
        )
        error = refused(ask)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    error = refused(lambda: alice.stub.Stop(pb.Empty(), metadata=of("x" * 4000), timeout=PROMPT))
    assert error.details() == "fed-experiment has 4000 characters; up to 256 are taken"
    assert alice.states()[name] == "queued"
    alice.stub.Stop(pb.Empty(), metadata=of(name), timeout=PROMPT)


def test_streams_without_a_message_end_nothing_but_themselves(alice: Member, member: Any) -> None:
    eve = member("eve")
    orders = eve.connect()
    assert next(orders).HasField("connected")
    name = alice.submit("empty")
    assert next(orders).start.experiment == name
    for call in (
        lambda: alice.stub.Submit(iter(()), timeout=PROMPT),
        lambda: eve.stub.SendTaskResults(iter(()), metadata=of(name), timeout=PROMPT),
    ):
        assert refused(call).code() == grpc.StatusCode.UNAVAILABLE
    refused(lambda: alice.submit("cut", pieces=[]))
    assert "cut" not in alice.states()
    assert "envoy_failed" not in alice.kinds(name)
    assert eve.send(name, sound()).counted
    orders.cancel()


def test_one_id_used_twice_at_once_is_one_experiment(member: Any, alice: Member) -> None:
    both = threading.Barrier(2)
    number = uuid.uuid4().hex

    def submit(one: Member) -> str:
        both.wait(PROMPT)
        return one.submit("twice", envoys=99, id=number)

    with ThreadPoolExecutor(2) as threads:
        names = list(threads.map(submit, [alice, member("alice", "workspace")]))
    assert names == ["twice", "twice"]
    assert sorted(name for name in alice.states() if name.startswith("twice")) == ["twice"]
    alice.stub.Stop(pb.Empty(), metadata=of("twice"), timeout=PROMPT)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_what_is_compressed_is_refused_before_it_is_inflated(
    running: Deployment, member: Any, alice: Member, compression: grpc.Compression
) -> None:
    before = most_memory(running.director)
    eve = member("eve")
    flood = pb.ResultChunk(data=bytes(200 * MEGABYTE))  # a fifth of a megabyte on its way
    small = pb.Failure(reason="x" * 1000)
    for call in (
        lambda: eve.stub.SendTaskResults(
            iter([flood]), metadata=of("none"), compression=compression, timeout=PROMPT
        ),
        lambda: eve.stub.ReportFailure(small, metadata=of("none"), compression=compression, timeout=PROMPT),
    ):
        assert refused(call).code() == grpc.StatusCode.UNIMPLEMENTED
    assert most_memory(running.director) - before < 50 * MEGABYTE
    alice.states()


def most_memory(service: Service) -> int:
    """The most bytes that a process has had in memory so far."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_a_failure_of_many_words_is_told_all_the_same(running: Deployment) -> None:
    """By an envoy of ours, which tells as much of it as is taken: nothing but the experiment is missing."""
    with (
        Link(running.address, Identity("north", "envoy"), None) as link,
        pytest.raises(InputError, match="no experiment 'none'"),
    ):
        GrpcAggregatorClient(link, "none").report_failure("x" * MEGABYTE, "y" * (8 * MEGABYTE))
