"""What one member may use at once, and that nobody else pays for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from director.holdings import Holdings
from director.limits import Limits
from director.lines import BoundedLines, cause
from director.quotas import Quotas
from director.transfers import Incoming, pulled
from director.uploads import Announced
from federation.errors import InputError, Refused, Unreachable
from federation.protocol import federation_pb2 as pb
from federation.rpc import Busy, is_answer, mark_of, status_of
from tests.director.in_process import Director

NORTH, SOUTH = "north", "south"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_streams_that_are_open_count_until_they_end_and_for_their_member_only() -> None:
    quotas = Quotas(Limits(streams=4), 512)
    ends = [quotas.call(NORTH) for _ in range(4)]
    with pytest.raises(Busy, match="limit streams of the director, 4 at once, is reached by north"):
        quotas.call(NORTH)
    quotas.call(SOUTH)
    ends[0]()
    quotas.call(NORTH)


def test_nobody_has_more_than_a_quarter_of_the_threads() -> None:
    quotas = Quotas(Limits(uploads=16), 8)
    quotas.upload(NORTH)
    end = quotas.upload(NORTH)
    with pytest.raises(Busy, match="limit uploads"):
        quotas.upload(NORTH)
    end()
    quotas.upload(NORTH)
    quotas.upload(SOUTH)


def test_calls_a_second_come_back_with_time() -> None:
    clock = Clock()
    quotas = Quotas(Limits(calls=10), 512, clock)
    for _ in range(10):
        quotas.call(NORTH)()
    with pytest.raises(Busy, match="limit calls of the director, 10 a second"):
        quotas.call(NORTH)
    quotas.call(SOUTH)()
    clock.now += 0.1
    quotas.call(NORTH)()
    with pytest.raises(Busy):
        quotas.call(NORTH)


def test_changes_have_a_limit_of_their_own_which_leaves_reading_alone() -> None:
    clock = Clock()
    quotas = Quotas(Limits(changes=2), 512, clock)
    quotas.call(NORTH, changes=True)()
    quotas.call(NORTH, changes=True)()
    with pytest.raises(Busy, match="limit changes of the director, 2 a minute"):
        quotas.call(NORTH, changes=True)
    quotas.call(NORTH)()
    clock.now += 30
    quotas.call(NORTH, changes=True)()


def test_a_limit_is_resource_exhausted_and_marked_so_that_members_of_any_version_try_again() -> None:
    busy = Busy("too often")
    assert isinstance(busy, Unreachable)
    assert status_of(busy) == grpc.StatusCode.RESOURCE_EXHAUSTED

    class Answer(grpc.RpcError):
        def trailing_metadata(self) -> object:
            return [type("Pair", (), {"key": key, "value": value}) for key, value in mark_of(busy)]

    assert is_answer(Answer())
    # By which versions before this would know an answer that is not worth trying again.
    assert "fed-answer" not in dict(mark_of(busy))


# The disk.


def submission(size: int, number: int = 0) -> pb.Submission:
    return pb.Submission(id=f"submission-{number}", blob=pb.Blob(size=size, sha256="a" * 64))


@pytest.fixture
def director(tmp_path: Path) -> Iterator[Director]:
    yield Director(tmp_path)


def holdings(director: Director, **limits: float) -> Holdings:
    return Holdings(director.journal, director.blobs, director.uploads, Limits(**limits))  # type: ignore[arg-type]


def test_a_full_queue_is_refused_with_its_limit_and_is_nobody_elses(director: Director) -> None:
    director.submit("first")
    director.submit("second")
    held = holdings(director, queued=2)
    with (
        pytest.raises(Refused, match="limit queued of the director, 2 experiments"),
        held.submission("workspace", submission(10)),
    ):
        pass
    with held.submission("another", submission(10)):
        pass
    director.finish("first", {NORTH: 1.0, SOUTH: 2.0})
    with held.submission("workspace", submission(10)):
        pass


def test_what_was_taken_in_already_is_answered_though_the_queue_is_full(director: Director) -> None:
    director.submit("first")
    held = holdings(director, queued=1)
    with held.submission("workspace", pb.Submission(id="submission-first")):
        pass


def test_submissions_on_their_way_count_as_queued_and_by_what_they_announce(director: Director) -> None:
    held = holdings(director, queued=2, disk_gib=100 / (1 << 30))
    with held.submission("alice", submission(60)):
        with pytest.raises(Refused, match="limit disk_gib"), held.submission("alice", submission(50, 1)):
            pass
        with held.submission("alice", submission(40, 2)):
            with pytest.raises(Refused, match="limit queued"), held.submission("alice", submission(0, 3)):
                pass
            with held.submission("bob", submission(60, 4)):
                pass
    with held.submission("alice", submission(100)):
        pass


def test_what_can_never_pass_is_bad_input(director: Director) -> None:
    held = holdings(director, disk_gib=100 / (1 << 30))
    with pytest.raises(InputError, match="above the director's limit"), held.submission("a", submission(101)):
        pass


def test_an_envoy_without_room_is_told_to_try_again_and_is_never_expelled_for_it(director: Director) -> None:
    held = holdings(director, disk_gib=100 / (1 << 30))
    first = Announced("rows", NORTH, 0, "train", 80, "a" * 64)
    with held.result(first):
        with held.result(first):  # the same one, over another connection
            pass
        with pytest.raises(Busy), held.result(Announced("others", NORTH, 0, "train", 80, "b" * 64)):
            pass
        with held.result(Announced("rows", SOUTH, 0, "train", 80, "a" * 64)):
            pass


def test_a_partial_file_counts_until_it_is_done_with(director: Director) -> None:
    held = holdings(director, disk_gib=100 / (1 << 30))
    first = Announced("rows", NORTH, 0, "train", 80, "a" * 64)
    with pytest.raises(Unreachable):
        director.uploads.receive(first, 0, [b"some"])
    other = Announced("others", NORTH, 0, "train", 80, "b" * 64)
    with pytest.raises(Busy), held.result(other):
        pass
    with held.result(first):
        pass
    director.uploads.drop("rows")
    with held.result(other):
        pass


def test_a_result_that_is_larger_than_all_of_the_room_is_taken_alone_since_its_run_was_accepted(
    director: Director,
) -> None:
    with holdings(director, disk_gib=100 / (1 << 30)).result(
        Announced("a", NORTH, 0, "train", 500, "a" * 64)
    ):
        pass


# The log.


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[Clock, list[str]]]:
    clock, said = Clock(), list[str]()

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, bounded = logging.getLogger("tests.lines"), BoundedLines(3, clock)
    handlers = [Lines(), logging.NullHandler()]
    for handler in handlers:
        handler.addFilter(bounded)
        logger.addHandler(handler)
    yield clock, said
    for handler in handlers:
        logger.removeHandler(handler)


def warn(who: str, times: int) -> None:
    token = cause.set(who)
    for number in range(times):
        logging.getLogger("tests.lines").warning("%s: bad call %d", who, number)
    cause.reset(token)


def test_one_members_lines_are_bounded_a_minute_and_counted_beyond(log: tuple[Clock, list[str]]) -> None:
    clock, said = log
    warn(NORTH, 1000)
    warn(SOUTH, 1)
    warn("", 10)
    assert len([line for line in said if NORTH in line]) == 3
    assert "north has caused 3 lines in a minute" in said[2]
    assert said[3].startswith("south")
    assert len(said) == 14
    clock.now += 60
    warn(NORTH, 1)
    assert said[-1] == "north: bad call 0 (997 lines that north has caused were left out before)"


# Streams.


class Sender:
    """A stream that brings messages, and then nothing."""

    def __init__(self, *messages: pb.ResultChunk, ends: bool = False) -> None:
        self._messages, self._ends = messages, ends

    async def __call__(self) -> AsyncIterator[pb.ResultChunk]:
        for message in self._messages:
            yield message
        if not self._ends:
            await asyncio.Event().wait()


def received(sender: Sender, patience: float) -> list[pb.ResultChunk]:
    async def receive() -> list[pb.ResultChunk]:
        incoming = Incoming(sender(), rate=1 << 20, patience=patience)
        await incoming.begin()
        return await asyncio.to_thread(list, incoming)

    return asyncio.run(receive())


CHUNK = pb.ResultChunk(data=b"x" * 1000)


def test_an_upload_arrives_whole_and_in_order() -> None:
    chunks = [pb.ResultChunk(data=bytes([number])) for number in range(50)]
    assert received(Sender(*chunks, ends=True), 30.0) == chunks
    assert received(Sender(ends=True), 30.0) == []


@pytest.mark.parametrize("sent", [(), (CHUNK,), (CHUNK,) * 5])
def test_an_upload_that_brings_nothing_ends_as_one_that_may_be_tried_again(
    sent: tuple[pb.ResultChunk, ...],
) -> None:
    with pytest.raises(Busy, match="limit upload_rate"):
        received(Sender(*sent), patience=0.05)


def test_time_in_which_the_director_reads_nothing_does_not_count() -> None:
    async def receive() -> list[pb.ResultChunk]:
        incoming = Incoming(Sender(CHUNK, CHUNK, CHUNK, ends=True)(), rate=1 << 20, patience=0.5)
        await incoming.begin()

        def slowly() -> list[pb.ResultChunk]:
            got = []
            for message in incoming:
                threading.Event().wait(0.3)  # a disk that is busy, and not the sender's fault
                got.append(message)
            return got

        return await asyncio.to_thread(slowly)

    assert asyncio.run(receive()) == [CHUNK] * 3


def test_a_download_that_nobody_takes_holds_no_thread() -> None:
    """One thread serves ten readers of whom nine stand still."""

    async def read() -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            streams = [pulled(pool, iter(range(5))) for _ in range(10)]
            assert [await anext(stream) for stream in streams] == [0] * 10
            rest = [number async for number in streams[-1]]
            for stream in streams:
                await stream.aclose()
            return rest

    assert asyncio.run(asyncio.wait_for(read(), 60)) == [1, 2, 3, 4]


def test_a_download_that_is_left_closes_its_file() -> None:
    closed = threading.Event()

    def pieces() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.set()

    async def leave() -> None:
        with ThreadPoolExecutor(1) as pool:
            stream = pulled(pool, pieces())
            await anext(stream)
            await stream.aclose()

    asyncio.run(leave())
    assert closed.wait(60)


def test_the_defaults_bear_four_times_the_largest_plan() -> None:
    largest = 1246e6
    limits = Limits()
    assert limits.disk_bytes >= 4 * largest
    # A link of 2 MB/s that eight workers of a site share.
    assert limits.upload_rate <= 2e6 / 8
    # One that brings next to nothing ends within a minute.
    assert limits.upload_patience <= 45
