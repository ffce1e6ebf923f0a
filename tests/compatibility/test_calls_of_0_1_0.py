"""What envoys and workspaces of 0.1.0 send, byte for byte, and what a director of now, with the state of then, answers each."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from federation.protocol import federation_pb2 as pb
from tests.compatibility.recording import Call
from tests.compatibility.replay import make, method_of, plain, recorded, says
from tests.deployment import Deployment

WRITTEN = Path(__file__).parent / "written_by_0_1_0"
OK, INVALID, STALE, DENIED = "OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "PERMISSION_DENIED"
NORTH_WAITS = (
    "0 of 2 envoys are there; the envoy north runs version 0.1.0, which does not say its code of each experiment: "
    "upgrade it"
)


@pytest.fixture
def channel(deployment: Deployment) -> Iterator[grpc.Channel]:
    """A way to a director of now that has taken over what one of 0.1.0 left."""
    shutil.copytree(WRITTEN / "state", deployment.folder / "state")
    (deployment.folder / "director_config.yaml").write_text("{listen: 127.0.0.1:0, state: state}")
    deployment.director = deployment.start("director", "start", "-c", "director_config.yaml", "--insecure")
    port = deployment.director.wait_for(r"director listening on .*:(\d+)")[1]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened


def calls(method: str, experiment: str | None = None) -> list[Call]:
    """The recorded calls of a method that were answered."""
    found = [call for call in recorded(WRITTEN) if method_of(call) == method and call.code != DENIED]
    return [call for call in found if call.metadata.get("fed-experiment") == experiment]


def submission(name: str) -> Call:
    """What was submitted then, under another name: of several submissions one was recorded."""
    [call] = calls("Submit")
    first = pb.SubmitChunk.FromString(call.requests[0])
    first.submission.name, first.submission.id = name, uuid.uuid4().hex
    return Call(call.method, call.metadata, [first.SerializeToString(), *call.requests[1:]])


def first_answer(channel: grpc.Channel, call: Call) -> tuple[str, Any]:
    """Make a call; return its status, and the first answer as plain data or what is said of the refusal."""
    stream = make(channel, call)
    try:
        return OK, plain(call, [next(stream)])[0]
    except grpc.RpcError as error:
        return error.code().name, error.details()
    finally:
        stream.cancel()


def test_an_envoy_is_taken_in_and_gets_nothing_to_do(deployment: Deployment, channel: grpc.Channel) -> None:
    """It announces one hash for all experiments, which stands for none of now: it waits, and the list says what for."""
    [connect], [list_envoys], [list_experiments] = (
        calls("Connect"),
        calls("ListEnvoys"),
        calls("ListExperiments"),
    )
    connection = make(channel, connect)
    orders = [next(connection)]
    status, told = first_answer(channel, list_envoys)
    [then] = plain(list_envoys, list_envoys.responses)
    north = [envoy for envoy in then["envoys"] if envoy["name"] == "north"]
    assert status == OK and says(told, {"envoys": north}), "all that it announced is passed on, in its words"
    status, told = first_answer(channel, list_experiments)
    listed = [(info["name"], info["state"], info.get("reason", "")) for info in told["experiments"]]
    assert status == OK
    assert [one[:2] for one in listed] == [("first", "finished"), ("second", "running"), ("third", "queued")]
    assert [reason for _, _, reason in listed] == [
        "",
        f"{NORTH_WAITS}; the envoy south is away",
        NORTH_WAITS,
    ]
    deployment.director.end()
    with suppress(grpc.RpcError):
        orders.extend(connection)
    assert plain(connect, orders) == [{"connected": {}}]


def test_a_workspace_submits_and_stops_and_is_told_what_it_was_told(channel: grpc.Channel) -> None:
    [submit], [stop], [watch] = calls("Submit"), calls("Stop", "waits"), calls("Watch", "done")
    [then] = plain(submit, submit.responses)
    waits = {"state": "queued", "reason": "0 of 2 envoys are there"}
    same = {"name", "plan", "rounds", "submittedBy", "bestRound", "exchangedSha256"} & then.keys()
    for _ in range(2):  # the second time because its answer might have got lost
        status, told = first_answer(channel, submit)
        assert status == OK and says(told, {key: then[key] for key in same} | waits), told
    assert first_answer(channel, watch) == (OK, plain(watch, watch.responses)[0])
    status, _ = first_answer(channel, submission("waits"))
    assert status == OK
    status, told = first_answer(channel, stop)
    assert status == OK and says(
        told, {key: plain(stop, stop.responses)[0][key] for key in ("state", "reason")}
    )


def test_what_envoys_send_to_an_experiment_that_does_not_run_counts_for_nothing(
    channel: grpc.Channel,
) -> None:
    for name in ("done", "broken"):
        assert first_answer(channel, submission(name))[0] == OK
    [tasks], [model], results = (
        calls("GetTasks", "done"),
        calls("GetModel", "done"),
        calls("SendTaskResults", "done"),
    )
    assert first_answer(channel, tasks) == (OK, {"quit": True})
    assert first_answer(channel, model) == (STALE, "experiment done does not run")
    assert [first_answer(channel, call) for call in results] == [
        (OK, {"reason": "experiment done does not run"})
    ] * 3
    [failure] = calls("ReportFailure", "broken")
    assert first_answer(channel, failure) == (OK, {}), "heard, and not counted"


@pytest.mark.parametrize(
    ("method", "name"), [("Watch", "broken"), ("ReportFailure", "broken"), ("Stop", "waits")]
)
def test_of_an_experiment_that_there_is_not_is_said_so(channel: grpc.Channel, method: str, name: str) -> None:
    [call] = calls(method, name)
    assert first_answer(channel, call) == (
        INVALID,
        f"no experiment {name!r} here; `fed list` names those that are",
    )


def test_who_does_not_say_who_it_is_is_refused(channel: grpc.Channel) -> None:
    [call] = [call for call in recorded(WRITTEN) if call.code == DENIED]
    status, said = first_answer(channel, call)
    assert status == DENIED and re.search(r"the name '' must begin with a small letter", said)


def test_each_recorded_call_is_in_a_test_of_this_file() -> None:
    assert [(method_of(call), call.metadata.get("fed-experiment")) for call in recorded(WRITTEN)] == [
        ("Connect", None),
        ("ListEnvoys", None),
        ("Submit", None),
        ("ListExperiments", None),
        ("Watch", "done"),
        ("GetTasks", "done"),
        ("GetModel", "done"),
        *[("SendTaskResults", "done")] * 3,
        ("Watch", "broken"),
        ("ReportFailure", "broken"),
        ("Stop", "waits"),
        ("ListEnvoys", None),
    ]
