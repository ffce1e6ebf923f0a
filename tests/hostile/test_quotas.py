"""What one member does costs no other its place: at a director that runs, over mTLS."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from federation.certificates import certificate_file, key_file, make_member
from federation.code import code_hash, project_version
from federation.identity import Credentials
from federation.link import OPTIONS
from federation.protocol import VERSION
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY, is_answer
from federation.tensors import Tensors, chunks, measure
from tests.deployment import DEADLINE, Deployment

EXPERIMENT = "keyword_spotting"
MODEL: Tensors = {"weight": np.ones((2, 3), np.float32)}
# What another member waits at most while somebody does his worst.
PROMPT = 2.0
MANY = 600


class Member:
    """A member's connection, and its calls."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.channel = Credentials(deployment.certificates, name).channel(deployment.address, OPTIONS)
        self.stub: Any = rpc.DirectorStub(self.channel)

    def submit(self, name: str, **call: Any) -> Any:
        """Hand in an experiment for which there are no envoys."""
        messages = [submission(name), *(pb.SubmitChunk(data=piece) for piece in chunks(MODEL))]
        return self.stub.Submit(iter(messages), timeout=DEADLINE, **call)


def submission(name: str) -> pb.SubmitChunk:
    plan = {
        "aggregator": {"settings": {"rounds_to_train": 1}},
        "tasks": {"train": {"function": "train_task"}},
        "task_runner": {"settings": {"experiment": EXPERIMENT}},
        "federation": {"settings": {"envoys": 2, "dataset": "none", "classes": ["a", "b"]}},
    }
    sha256, size = measure(MODEL)
    return pb.SubmitChunk(
        submission=pb.Submission(
            name=name,
            id=uuid.uuid4().hex,
            plan=json.dumps(plan),
            version=project_version(),
            protocol=VERSION,
            code_hash=code_hash(EXPERIMENT),
            blob=pb.Blob(sha256=sha256, size=size),
        )
    )


@pytest.fixture
def members(deployment: Deployment) -> Iterator[Callable[..., Member]]:
    """Opens connections, with a certificate where a role is given; they are closed at the end."""
    opened: list[Member] = []

    def member(name: str, role: str = "") -> Member:
        if role:
            make_member(deployment.certificates, name, role)
        opened.append(Member(deployment, name))
        return opened[-1]

    yield member
    for one in opened:
        one.channel.close()


@asynccontextmanager
async def at_once(deployment: Deployment, name: str) -> AsyncIterator[Any]:
    """The calls of a member that makes many at once."""
    folder = deployment.certificates
    files = certificate_file(folder, "authority"), key_file(folder, name), certificate_file(folder, name)
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    async with grpc.aio.secure_channel(deployment.address, credentials) as channel:
        yield rpc.DirectorStub(channel)


async def refused(calls: list[Any], number: int) -> list[Any]:
    """Wait until so many of some calls have ended, which none but by a limit may; return those that are open."""
    waiting = {asyncio.ensure_future(call.code()): call for call in calls}
    ended: set[Any] = set()
    async with asyncio.timeout(DEADLINE):
        while len(ended) < number:
            done, _ = await asyncio.wait(waiting.keys() - ended, return_when=asyncio.FIRST_COMPLETED)
            ended |= done
    assert {code.result() for code in ended} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    return [call for code, call in waiting.items() if code not in ended]


def test_a_second_envoy_of_a_name_waits_until_the_first_is_gone(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    director = deployment.start_director()
    first, second = members("north", "envoy"), members("north")
    orders = first.stub.Connect(pb.Announcement(process="a" * 32, dataset="first"))
    assert next(orders).HasField("connected")

    for _ in range(3):
        with pytest.raises(grpc.RpcError) as error:
            next(second.stub.Connect(pb.Announcement(process="b" * 32, dataset="second")))
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert is_answer(error.value), "a fault on the way would cost it its connection"
    director.wait_for(r"north is connected from 127.0.0.1:\d+ already, and cannot be from 127.0.0.1:\d+ too")
    [online] = members("workspace").stub.ListEnvoys(pb.Empty(), timeout=DEADLINE).envoys
    assert online.announcement.dataset == "first"

    orders.cancel()
    director.wait_for("envoy north is offline")
    orders = second.stub.Connect(pb.Announcement(process="b" * 32, dataset="second"))
    assert next(orders).HasField("connected")


def test_six_hundred_watches_of_one_member_keep_no_other_waiting(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    deployment.start_director()
    greedy, other = members("workspace"), members("other", "workspace")
    greedy.submit("waits")

    async def attack() -> None:
        async with at_once(deployment, "workspace") as stub:
            watch = pb.WatchRequest(follow=True)
            calls = [stub.Watch(watch, metadata=[(EXPERIMENT_KEY, "waits")]) for _ in range(MANY)]
            left = await refused(calls, MANY - 64)
            for call in left:
                await call.read()
            await asyncio.to_thread(works_for, other)

    asyncio.run(attack())


def test_six_hundred_silent_uploads_of_one_member_keep_no_other_waiting(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    deployment.start_director()
    other = members("other", "workspace")

    async def attack() -> None:
        async with at_once(deployment, "workspace") as stub:
            calls = [stub.Submit() for _ in range(MANY)]
            await refused(calls, MANY - 64)
            await asyncio.to_thread(works_for, other)

    asyncio.run(attack())


def works_for(member: Member) -> None:
    """A member is served, reading and writing, within its deadline."""
    member.stub.ListExperiments(pb.Empty(), timeout=PROMPT)
    messages = [submission("mine"), *(pb.SubmitChunk(data=piece) for piece in chunks(MODEL))]
    assert member.stub.Submit(iter(messages), timeout=PROMPT).name == "mine"


def test_uploads_that_hold_a_thread_are_few_for_each_member(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    deployment.start_director(threads=8)
    other = members("other", "workspace")

    async def attack() -> None:
        async with at_once(deployment, "workspace") as stub:
            calls = [stub.Submit() for _ in range(20)]
            for call in calls:
                await call.write(submission("half"))
            assert len(await refused(calls, 20 - 8 // 4)) == 2
            await asyncio.to_thread(works_for, other)

    asyncio.run(attack())


def test_twenty_uploads_of_a_byte_a_second_end_by_themselves(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    deployment.start_director(limits={"uploads": 20, "upload_patience": 2.0})
    other = members("other", "workspace")

    async def drip(call: Any) -> None:
        await call.write(submission("slow"))
        while not call.done():
            try:
                await call.write(pb.SubmitChunk(data=b"x"))
            except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                return
            await asyncio.sleep(1.0)  # the attack itself

    async def attack() -> None:
        async with at_once(deployment, "workspace") as stub:
            calls = [stub.Submit() for _ in range(20)]
            dripping = [asyncio.ensure_future(drip(call)) for call in calls]
            await refused(calls, 20)
            await asyncio.gather(*dripping)
            assert {"upload_rate" in await call.details() for call in calls} == {True}

    asyncio.run(attack())
    assert not other.stub.ListExperiments(pb.Empty(), timeout=DEADLINE).experiments
    works_for(other)


def test_connections_that_say_nothing_end_and_those_in_use_do_not(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    deployment.start_director(limits={"idle": 1.0})
    workspace, north = members("workspace"), members("north", "envoy")
    workspace.stub.ListEnvoys(pb.Empty(), timeout=DEADLINE)  # and nothing after that
    orders = north.stub.Connect(pb.Announcement(process="a" * 32))
    assert next(orders).HasField("connected")
    address = deployment.address.split(":")
    trust = ssl.create_default_context(cafile=str(certificate_file(deployment.certificates, "authority")))
    trust.load_cert_chain(
        certificate_file(deployment.certificates, "workspace"), key_file(deployment.certificates, "workspace")
    )
    trust.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(address, DEADLINE) as silent,
        socket.create_connection(address, DEADLINE) as opened,
        trust.wrap_socket(opened, server_hostname="localhost") as idle,
    ):
        for connection in (silent, idle):
            while connection.recv(1 << 16):  # HTTP/2 says a few things by itself, and goodbye
                pass
    [online] = workspace.stub.ListEnvoys(pb.Empty(), timeout=DEADLINE, wait_for_ready=True).envoys
    assert online.name == "north"
    assert not orders.done()


def test_a_full_queue_is_refused_by_its_limit_and_is_its_members_alone(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    deployment.start_director(limits={"queued": 2})
    greedy, other = members("workspace"), members("other", "workspace")
    for _ in range(2):
        greedy.submit("mine")
    with pytest.raises(grpc.RpcError, match="the limit queued of the director, 2 experiments") as error:
        greedy.submit("mine")
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert other.submit("theirs").name == "theirs"
    greedy.stub.Stop(pb.Empty(), metadata=[(EXPERIMENT_KEY, "mine")], timeout=DEADLINE)
    assert greedy.submit("mine").state == "queued"


def test_a_flood_of_bad_calls_leaves_a_bounded_log(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    director = deployment.start_director(limits={"log_lines": 20})
    members("north", "envoy")

    async def flood() -> None:
        async with at_once(deployment, "north") as stub:
            for _ in range(10):
                wrong_role = [stub.ListEnvoys(pb.Empty()) for _ in range(20)]
                unknown = [stub.GetTasks(pb.TasksRequest(), metadata=[(EXPERIMENT_KEY, "x" * 99)])]
                codes = [await call.code() for call in [*wrong_role, *unknown]]
                assert set(codes) <= {
                    grpc.StatusCode.PERMISSION_DENIED,
                    grpc.StatusCode.INVALID_ARGUMENT,
                }

    asyncio.run(flood())
    director.wait_for("north has caused 20 lines in a minute: what follows in it is only counted")
    # Two minutes at most, and a few lines that nobody has caused.
    assert (deployment.folder / "state" / "director.log").read_text().count("\n") < 50
    assert (deployment.folder / "state" / "audit.jsonl").read_text().count("\n") < 50
    assert members("workspace").stub.ListEnvoys(pb.Empty(), timeout=PROMPT) == pb.Envoys()


def test_an_envoy_that_comes_and_goes_leaves_a_bounded_log(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    director = deployment.start_director(limits={"log_lines": 20})
    members("north", "envoy")

    async def come_and_go() -> None:
        async with at_once(deployment, "north") as stub:
            for _ in range(60):
                orders = stub.Connect(pb.Announcement(process="a" * 32))
                assert (await orders.read()).HasField("connected")
                orders.cancel()

    asyncio.run(come_and_go())
    director.wait_for("north has caused 20 lines in a minute")
    workspace = members("workspace")
    while workspace.stub.ListEnvoys(pb.Empty(), timeout=DEADLINE).envoys:
        pass
    assert (deployment.folder / "state" / "director.log").read_text().count("\n") < 50


def test_calls_above_the_rate_are_told_to_try_again(
    deployment: Deployment, members: Callable[..., Member]
) -> None:
    deployment.start_director(limits={"calls": 5})

    async def flood() -> list[Any]:
        async with at_once(deployment, "workspace") as stub:
            return [await call.code() for call in [stub.ListEnvoys(pb.Empty()) for _ in range(100)]]

    assert set(asyncio.run(flood())) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    # The workspace's own client waits for its turn.
    with deployment.federation() as federation:
        for _ in range(7):
            assert federation.envoys() == []
