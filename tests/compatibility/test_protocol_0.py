"""Envoys and workspaces of protocol 0 at a director of now, and the state that its director was killed over."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest

from envoy.connection import Connection
from federation.certificates import make_member
from federation.protocol import federation_pb2 as pb
from federation.rpc import EXPERIMENT_KEY
from tests.compatibility.recording import Call
from tests.compatibility.replay import answers, make, method_of, plain, recorded, says
from tests.compatibility.write import make_data
from tests.deployment import Deployment, shard_entry

WRITTEN = Path(__file__).parent / "written_by_0_2_0_protocol_0"


@pytest.fixture
def channel(deployment: Deployment) -> Iterator[grpc.Channel]:
    """A way to a director of now that nobody has asked anything yet."""
    (deployment.folder / "director_config.yaml").write_text("{listen: 127.0.0.1:0, state: state}")
    director = deployment.start("director", "start", "-c", "director_config.yaml", "--insecure")
    port = director.wait_for(r"director listening on .*:(\d+)")[1]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


def test_envoys_and_a_workspace_of_then_run_an_experiment_and_are_told_the_same(
    channel: grpc.Channel,
) -> None:
    """What they sent, in the order in which it was answered: each answer has the status and the fields that it had."""
    connections: dict[str, tuple[Call, Any, list[bytes]]] = {}
    watches = []
    for call in recorded(WRITTEN):
        if method_of(call) == "Connect":
            stream = make(channel, call)
            connections[call.metadata["fed-name"]] = call, stream, [next(stream)]
        elif method_of(call) == "Watch":
            watches.append((call, make(channel, call)))
        else:
            if call.metadata.get("fed-role") == "envoy":
                wait_for_start(*connections[call.metadata["fed-name"]], call.metadata["fed-experiment"])
            assert_same(call, *answers(channel, call))
    for call, stream in watches:
        assert_same(call, call.code, plain(call, list(islice(stream, len(call.responses)))))
        stream.cancel()
    for call, stream, orders in connections.values():
        while len(known_then(call, orders)) < len(as_now(call, plain(call, call.responses))):
            orders.append(next(stream))
        assert_same(call, call.code, known_then(call, orders))
        stream.cancel()


def known_then(call: Call, orders: list[bytes]) -> list[Any]:
    """Orders without those that an envoy of then does not know: to it they are empty, and it does nothing."""
    return [order for order in plain(call, orders) if "forget" not in order]


def wait_for_start(call: Call, stream: Any, orders: list[bytes], experiment: str) -> None:
    """Read an envoy's orders until an experiment has started there."""
    while all(order.get("start", {}).get("experiment") != experiment for order in plain(call, orders)):
        orders.append(next(stream))


def as_now(call: Call, then: list[Any]) -> list[Any]:
    """What was answered then, but for what is meant to differ: an experiment fails when its open round closes, not before."""
    method = method_of(call)
    if method == "GetTasks" and then[0].get("quit"):
        return [{"quit": True}]  # which round it is then depends on how fast the director came to its end
    if method == "Submit" and then[0]["name"] == "waits":
        busy = "1 of 3 envoys are there; the envoy south is at work on other experiments"
        return [then[0] | {"reason": busy}]
    if method == "ListExperiments" and then:
        for told in then[0].get("experiments", []):
            if told["name"] == "broken":
                told["state"] = "running"
                del told["reason"], told["cohort"]
    if method == "GetModel" and not pb.ModelRequest.FromString(call.requests[0]).kept:
        # A site has the plan from its order, and read it nowhere else.
        for told in then:
            told.get("info", {}).pop("plan", None)
    if method == "Connect":
        return [order for order in then if order.get("stop") != "broken"]
    return then


def assert_same(call: Call, status: str, told: list[Any]) -> None:
    then = as_now(call, plain(call, call.responses))
    assert status == call.code
    assert len(told) == len(then), (method_of(call), [list(one) for one in told], [list(one) for one in then])
    for now, before in zip(told, then, strict=True):
        assert says(now, before), (method_of(call), now, before)


def test_the_partial_upload_of_then_is_gone_on_with(tmp_path: Path) -> None:
    """The director was killed over half of what south trained in round 1; north's results of that round were recorded."""
    known = json.loads((WRITTEN / "facts.json").read_text())["state"]
    shutil.copytree(WRITTEN / "state", tmp_path / "state")
    data = make_data("keyword_spotting", tmp_path)
    _, number, task, size, sha256, _ = Path(known["partial"]).name.split(".")
    info = pb.ResultInfo(round=int(number), task=task, blob=pb.Blob(sha256=sha256, size=int(size)))
    with Deployment(tmp_path) as deployment:
        deployment.start_director()
        make_member(deployment.certificates, "south", "envoy")
        with Connection(deployment.address, "south", str(deployment.certificates)).link() as link:
            metadata = ((EXPERIMENT_KEY, "second"),)
            offer = link.call(lambda stub: stub.OfferResult(info, metadata=metadata, timeout=30))
        assert offer.have == known["partial_bytes"] == int(size) // 2
        with deployment.federation() as federation:
            listed = {info.name: info.state for info in federation.experiments()}
            assert listed == {
                "first": "finished",
                "stopped": "stopped",
                "failed": "failed",
                "second": "running",
                "third": "queued",
            }
            assert members(tmp_path) == {
                (name, envoy, "active") for name in ("first", "second") for envoy in ("north", "south")
            } | {("failed", "south", "active")}
            second = federation.experiment("second")
            for rank, name in enumerate(("north", "south")):
                deployment.start_envoy(name, shard_entry(data, rank, 2), policy={"unsigned": True})
            ended = second.watch(show=False)
            results = Counter(
                (event.body["envoy"], event.body["round"], event.body["task"])
                for event in second.events()
                if event.kind == "result"
            )
    assert ended.state == "finished"
    assert ended.exchanged_sha256 == known["exchanged_sha256"], "as if nothing had been"
    assert set(results.values()) == {1}, "none was made again that had been recorded"
    assert not list((tmp_path / "state" / "uploads").glob("*/*.partial"))


def members(folder: Path) -> set[tuple[str, str, str]]:
    """Experiment, envoy and standing, as the journal has them."""
    with closing(sqlite3.connect(folder / "state" / "journal.sqlite")) as journal:
        return set(journal.execute("SELECT experiment, name, standing FROM members"))
