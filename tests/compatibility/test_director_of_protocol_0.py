"""Envoys and a workspace of now at a director of protocol 0, which answers them with the bytes that it answered then."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from federation.code import code_hash
from federation.protocol import federation_pb2 as pb
from federation.rpc import EXPERIMENT_KEY
from federation.tensors import specs_of, unpack
from tests.compatibility import write_personal_layers
from tests.compatibility.answering import AnsweringDirector, asked
from tests.compatibility.recording import Call
from tests.compatibility.replay import method_of, plain, recorded, says
from tests.compatibility.test_protocol_0 import WRITTEN
from tests.compatibility.write import make_data
from tests.compatibility.write_deployment import ENVOYS, start_insecure_envoy
from tests.deployment import Deployment, shard_entry

UPGRADE = "the director at {} is of an earlier version, which has no such call: upgrade the director"


def about(experiment: str, calls: Iterable[Call]) -> Iterator[Call]:
    """The calls that concern an experiment, and of the envoys' orders those that do."""
    for call in calls:
        if method_of(call) == "Connect":
            orders = [(data, pb.Order.FromString(data)) for data in call.responses]
            call.responses = [
                data for data, order in orders if {order.start.experiment, order.stop} <= {"", experiment}
            ]
        if call.metadata.get(EXPERIMENT_KEY, experiment) == experiment:
            yield call


def with_code_of_now(call: Call) -> Call:
    """Orders of an experiment that a workspace of now has submitted: a director passes on what it was told of the code."""
    if method_of(call) == "Connect":
        orders = [pb.Order.FromString(data) for data in call.responses]
        for order in orders:
            if order.HasField("start"):
                order.start.code_hash = code_hash("image_classification")
        call.responses = [order.SerializeToString() for order in orders]
    return call


def assert_as_then(now: Call, then: Call) -> None:
    """An envoy's result says what it said then; rounding may differ, no more."""
    told, known = (pb.ResultChunk.FromString(call.requests[0]).info for call in (now, then))
    assert (told.round, told.task, told.data_size) == (known.round, known.task, known.data_size)
    assert (told.blob.size, told.offset) == (known.blob.size, 0)
    if known.blob.size:
        assert specs_of(unpack(sent(now))) == specs_of(unpack(sent(then)))
    sums, expected = unpack(told.statistics), unpack(known.statistics)
    assert specs_of(sums) == specs_of(expected)
    assert sums["samples"] == expected["samples"]
    assert float(sums["loss_sum"]) == pytest.approx(float(expected["loss_sum"]), rel=0.05)


def sent(call: Call) -> bytes:
    """The tensors of a result."""
    return b"".join(pb.ResultChunk.FromString(data).data for data in call.requests)


def test_envoys_work_whole_rounds(deployment: Deployment, speech: Path) -> None:
    """They send what those of then sent, ask for no call that there was not, and end without a complaint."""
    then = list(about("done", recorded(WRITTEN)))
    with AnsweringDirector(then) as director:
        envoys = [
            start_insecure_envoy(deployment, name, director.address, shard_entry(speech, rank, len(ENVOYS)))
            for rank, name in enumerate(ENVOYS)
        ]
        for name, envoy in zip(ENVOYS, envoys, strict=True):
            director.wait_until_all_is_asked(name)
            envoy.wait_for("experiment done: has ended here")
            assert envoy.end() == 0
            # Of its data it says that they are few, which they are.
            assert envoy.count(r"WARNING(?!.* has only \d+ samples)|ERROR|Traceback") == 0
        now = {asked(call): call for call in director.made}
        assert {asked(call) for call in then if call.metadata.get("fed-role") == "envoy"} == now.keys()
        for call in then:
            if method_of(call) == "SendTaskResults":
                assert_as_then(now[asked(call)], call)
        announced = [call for call in then if method_of(call) == "Connect"]
        for call in announced:
            before, after = (pb.Announcement.FromString(one.requests[0]) for one in (call, now[asked(call)]))
            for told in ("dataset", "classes", "samples", "fingerprint", "experiments"):
                assert getattr(before, told) == getattr(after, told)
            assert before.code_hashes.keys() == after.code_hashes.keys()
        assert set(director.unknown) == {"Knock"}


@pytest.mark.parametrize("dies", [False, True])
def test_personal_layers_go_on_from_round_to_round(deployment: Deployment, dies: bool) -> None:
    """The director does not say in which round the site counted last: each round begins with what the one before has left."""
    shard = write_personal_layers.shard(make_data("image_classification", deployment.folder))
    calls = recorded(WRITTEN, write_personal_layers.FILE)
    then = [with_code_of_now(call) for call in about("personal", calls)]
    trained = ("SendTaskResults", "north", "personal", "1 train")
    cut: list[Call] = []

    def takes(call: Call) -> bool:
        if not dies or cut or asked(call) != trained:
            return True
        cut.append(call)
        envoy.end(signal.SIGKILL)
        return False

    with AnsweringDirector(then, takes) as director:
        envoy = start_insecure_envoy(deployment, "north", director.address, shard)
        if dies:
            assert envoy.process.wait(60) == -signal.SIGKILL
            envoy = start_insecure_envoy(deployment, "north", director.address, shard)
        director.wait_until_all_is_asked("north")
        now = {asked(call): call for call in director.made}
    for call in then:
        if method_of(call) == "SendTaskResults":
            assert_as_then(now[asked(call)], call)
    assert [call.requests for call in cut] == ([now[trained].requests] if dies else []), (
        "trained again from the same, so with the same bits"
    )


@pytest.fixture
def workspace(deployment: Deployment) -> Iterator[tuple[Deployment, AnsweringDirector]]:
    """A folder in which `fed` commands find the director."""
    with AnsweringDirector(recorded(WRITTEN)) as director:
        deployment.address = director.address
        yield deployment, director


def test_a_workspace_submits_watches_stops_and_takes_home(
    workspace: tuple[Deployment, AnsweringDirector],
) -> None:
    deployment, director = workspace
    plan = str(WRITTEN / "keyword_spotting" / "plan.yaml")
    then = list(recorded(WRITTEN))
    listed = json.loads(deployment.fed("envoys", "--insecure", "--json"))
    assert [envoy["name"] for envoy in listed] == ["north", "south"]
    one_round = ["--set", "aggregator.settings.rounds_to_train=1"]
    assert deployment.fed("submit", plan, *one_round, "--as", "done", "--watch", "--insecure") == "done\n"
    [submitted] = director.calls("Submit")
    [known] = [call for call in then if asked(call) == asked(submitted)]
    now, before = (pb.SubmitChunk.FromString(call.requests[0]).submission for call in (submitted, known))
    for told in ("name", "plan", "frozen_fingerprint"):
        assert getattr(now, told) == getattr(before, told)
    assert now.blob.size == before.blob.size
    listed = json.loads(deployment.fed("list", "--insecure", "--json"))
    [states] = plain(then[-2], then[-2].responses)
    assert says(
        [{"name": info["name"], "state": info["state"]} for info in listed],
        [{"name": info["name"], "state": info["state"]} for info in states["experiments"]],
    )
    assert "done: finished after 1 round, " in deployment.fed("watch", "done", "--insecure")
    events = [
        json.loads(line) for line in deployment.fed("logs", "done", "--insecure", "--json").splitlines()
    ]
    [watch] = [call for call in then if method_of(call) == "Watch" and call.code == "OK"]
    assert [event["kind"] for event in events] == [told["kind"] for told in plain(watch, watch.responses)]
    assert deployment.fed("stop", "waits", "--insecure").startswith("waits: stopped after 0 of 2 rounds\n")
    deployment.fed("model", "done", "-o", "model", "--insecure")
    assert (deployment.folder / "model" / "model.safetensors").is_file()
    assert set(director.unknown) == {"Knock"}


@pytest.mark.parametrize(
    ("command", "call"),
    [
        (["resume", "waits"], "Resume"),
        (["resume", "done", "--set", "aggregator.settings.rounds_to_train=3"], "Resume"),
        (["resume", "done", "--accept-code"], "Resume"),
        (["exclude", "done", "north"], "Exclude"),
        (["rm", "done"], "Remove"),
    ],
    ids=lambda told: " ".join(told) if isinstance(told, list) else told,
)
def test_a_call_that_there_was_not_yet_says_which_side_to_upgrade(
    workspace: tuple[Deployment, AnsweringDirector], command: list[str], call: str
) -> None:
    deployment, director = workspace
    said = deployment.fed(*command, "--insecure", code=5)
    assert said == f"fed: error: {UPGRADE.format(director.address)}\n"
    assert director.unknown.count(call) == 1, "asked once: waiting would not help"
