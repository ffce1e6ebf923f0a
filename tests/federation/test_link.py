"""A way to the director: opened anew when it breaks, patient with what may pass, and ended by a refusal."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from federation import link as link_module
from federation.certificates import make_authority, make_member
from federation.errors import FederationError, InputError, Refused, Unreachable
from federation.identity import Credentials, Identity
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from tests.federation.fake_director import FakeDirector, black_hole, free_address, serving

NORTH = Identity("north", "envoy")
DEADLINE = 15.0


def experiments(stub: Any) -> Any:
    return stub.ListExperiments(pb.Empty(), timeout=10)


def envoys(stub: Any) -> Any:
    """A call whose errors the director does not mark as its own."""
    return stub.ListEnvoys(pb.Empty(), timeout=10)


class FirstFails:
    """Does something else the first time that it is called."""

    def __init__(self, first: Callable[[grpc.ServicerContext], Any], answer: Any) -> None:
        self._first, self._answer = first, answer
        self.calls = 0

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls += 1
        if self.calls == 1:
            self._first(context)
        return self._answer


class Lines(logging.Handler):
    """What is logged, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._news = threading.Condition()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        with self._news:
            self._lines.append(record.getMessage())
            self._news.notify_all()

    def wait_for(self, text: str, times: int = 1) -> str:
        def found() -> list[str]:
            return [line for line in self._lines if text in line]

        with self._news:
            assert self._news.wait_for(lambda: len(found()) >= times, DEADLINE), self._lines
            return found()[times - 1]

    def count(self, text: str) -> int:
        return sum(text in line for line in self._lines)


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("federation.link")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def certificates(folder: Path, authority: str = "federation") -> Path:
    make_authority(folder, authority)
    make_member(folder, "director", "director", ["localhost", "127.0.0.1"])
    make_member(folder, "north", "envoy")
    return folder


@pytest.mark.parametrize("tls", [False, True])
def test_who_waits_for_a_director_is_there_soon_after_it(
    tls: bool, tmp_path: Path, lines: Lines, thread: ThreadPoolExecutor
) -> None:
    folder = certificates(tmp_path) if tls else None
    credentials = Credentials(folder, "director") if folder else None
    address = free_address()
    with Link(address, NORTH, folder) as link:
        waiting = thread.submit(link.call, experiments)
        assert "nothing listens there; trying again" in lines.wait_for("does not answer")
        with serving(FakeDirector(), address, credentials):
            assert waiting.result(DEADLINE) == pb.Experiments()
    assert lines.count("trying again") == 1


def test_patience_ends_and_the_cause_is_told() -> None:
    with Link(free_address(), NORTH, None) as link:
        with pytest.raises(Unreachable, match="nothing listens there"):
            link.call(experiments, patience=0)
        with pytest.raises(Unreachable, match="nothing listens there"):
            link.call(experiments, patience=0.5)


def test_a_director_of_another_authority_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs", "another")
    with (
        serving(FakeDirector(), credentials=Credentials(theirs, "director")) as address,
        Link(address, NORTH, ours) as link,
        pytest.raises(Unreachable, match="not signed by our authority"),
    ):
        link.call(experiments, patience=0)


def test_whoever_cannot_be_trusted_is_waited_for_by_services_only(
    tmp_path: Path, lines: Lines, thread: ThreadPoolExecutor
) -> None:
    """A command with all the patience there is ends at once; an envoy goes on: certificates may be being replaced."""
    ours, theirs = certificates(tmp_path / "ours"), certificates(tmp_path / "theirs", "another")
    with serving(FakeDirector(), credentials=Credentials(theirs, "director")) as address:
        with Link(address, NORTH, ours) as link:
            impatient = thread.submit(link.call, experiments, patience=3600)
            with pytest.raises(Unreachable, match="cannot be trusted: its certificate is not signed by our"):
                impatient.result(DEADLINE)
        assert lines.count("trying again") == 0
        with Link(address, NORTH, ours) as link:
            patient = thread.submit(link.call, experiments)
            lines.wait_for("cannot be trusted")
            assert not patient.done()
        with pytest.raises(Unreachable):
            patient.result(DEADLINE)


def test_who_waits_for_an_answer_is_told_for_whom_and_how_long(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, thread: ThreadPoolExecutor
) -> None:
    monkeypatch.setattr(link_module, "SAY_SECONDS", 0.01)
    with black_hole() as address, Link(address, NORTH, None) as link:
        waiting = thread.submit(link.call, experiments, patience=2)
        assert lines.wait_for("connecting to") == f"connecting to the director at {address}, for up to 10 s"
        link.close()
        with pytest.raises(Unreachable):
            waiting.result(DEADLINE)


@pytest.mark.parametrize("address", ["localhost", "localhost:", "::1:5", "localhost:99999", ":5"])
def test_what_is_no_address_is_said_before_anybody_is_asked(address: str, tmp_path: Path) -> None:
    for folder in (None, certificates(tmp_path)):
        with pytest.raises(InputError, match="is no address; write it as host:port"):
            Link(address, NORTH, folder)


def test_that_it_is_away_is_said_again(
    lines: Lines, thread: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SAY_AGAIN_SECONDS", 0.0)
    address = free_address()
    with Link(address, NORTH, None) as link:
        waiting = thread.submit(link.call, experiments)
        assert "for 0 minutes now" in lines.wait_for("trying again", times=2)
        with serving(FakeDirector(), address):
            waiting.result(DEADLINE)
            lines.wait_for(f"the director at {address} is there")


def test_connecting_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "CONNECT_SECONDS", 0.3)
    with black_hole() as address, Link(address, NORTH, None) as link:
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            link.call(experiments, patience=0)
        assert time.monotonic() - begun < 5


def test_the_end_of_a_link_ends_an_attempt_to_connect_at_once(thread: ThreadPoolExecutor) -> None:
    with black_hole() as address:
        link = Link(address, NORTH, None)
        begun = time.monotonic()
        waiting = thread.submit(lambda: list(link.stream(lambda stub: stub.Watch(pb.WatchRequest()))))
        while link._channel is None:
            assert time.monotonic() - begun < DEADLINE
        link.close()
        assert waiting.result(DEADLINE) == []
        assert time.monotonic() - begun < link_module.CONNECT_SECONDS


def test_the_end_of_a_link_ends_its_streams(thread: ThreadPoolExecutor) -> None:
    arrived = threading.Event()
    with serving(FakeDirector()) as address:
        link = Link(address, NORTH, None)

        def follow() -> list[int]:
            ids = []
            for event in link.stream(lambda stub: stub.Watch(pb.WatchRequest()), endless=True):
                ids.append(event.id)
                arrived.set()
            return ids

        waiting = thread.submit(follow)
        assert arrived.wait(DEADLINE)
        link.close()
        assert waiting.result(DEADLINE) == [1]
        with pytest.raises(Unreachable, match="is closed"):
            link.call(experiments)


@pytest.mark.parametrize("status", ["UNAVAILABLE", "CANCELLED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNKNOWN"])
def test_a_fault_on_the_way_passes(status: str) -> None:
    def fault(context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode[status], "a fault of the network")

    unary = FirstFails(fault, pb.Envoys())
    with serving(director := FakeDirector(unary)) as address, Link(address, NORTH, None) as link:
        assert link.call(envoys, patience=DEADLINE) == pb.Envoys()
    assert unary.calls == 2
    assert len(set(director.peers)) == 2, "tried again over a new connection"


def test_a_fault_that_the_director_has_marked_as_its_own_does_not_pass() -> None:
    def fault(context: grpc.ServicerContext) -> None:
        raise KeyError("a fault of the director")

    unary = FirstFails(fault, pb.Experiments())
    with (
        serving(FakeDirector(unary)) as address,
        Link(address, NORTH, None) as link,
        pytest.raises(FederationError, match="answered INTERNAL: ListExperiments failed in the director"),
    ):
        link.call(experiments, patience=DEADLINE)
    assert unary.calls == 1


def test_a_fault_of_a_director_that_marks_no_answers_does_not_pass() -> None:
    """A director of 0.1.0 says it in its words only, and would be asked for ever."""

    def fault(context: grpc.ServicerContext) -> None:
        context.abort(
            grpc.StatusCode.INTERNAL, "ListEnvoys failed in the director: KeyError; its log has more"
        )

    unary = FirstFails(fault, pb.Envoys())
    with (
        serving(FakeDirector(unary)) as address,
        Link(address, NORTH, None) as link,
        pytest.raises(
            FederationError, match="answered INTERNAL: ListEnvoys failed in the director: KeyError"
        ),
    ):
        link.call(envoys, patience=DEADLINE)
    assert unary.calls == 1


@pytest.mark.parametrize("call", ["Resume", "Exclude", "Remove"])
def test_a_call_that_a_director_of_the_version_before_does_not_know_is_refused_with_what_to_do(
    call: str,
) -> None:
    asked = {"Resume": pb.ResumeRequest(), "Exclude": pb.ExcludeRequest(), "Remove": pb.Empty()}[call]
    with (
        serving(FakeDirector()) as address,
        Link(address, NORTH, None) as link,
        pytest.raises(
            Refused, match="is of an earlier version, which has no such call: upgrade the director"
        ),
    ):
        link.call(lambda stub: getattr(stub, call)(asked, timeout=10), patience=DEADLINE)


def test_a_director_that_asks_for_patience_is_asked_again_over_the_same_connection(lines: Lines) -> None:
    def pauses(context: grpc.ServicerContext) -> None:
        raise Unreachable("the disk is full")

    unary = FirstFails(pauses, pb.Experiments())
    with serving(director := FakeDirector(unary)) as address, Link(address, NORTH, None) as link:
        assert link.call(experiments, patience=DEADLINE) == pb.Experiments()
    assert lines.wait_for("the disk is full; trying again")
    assert len(set(director.peers)) == 1


def test_a_stream_goes_on_where_it_broke() -> None:
    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield pb.Event(id=request.after + 1)
        if request.after < 3:
            raise Unreachable("cut")

    seen: list[int] = []
    with serving(FakeDirector(stream=stream)) as address, Link(address, NORTH, None) as link:
        for event in link.stream(lambda stub: stub.Watch(pb.WatchRequest(after=len(seen)))):
            seen.append(event.id)
    assert seen == [1, 2, 3, 4]


def test_an_endless_stream_is_ended_by_a_refusal_only() -> None:
    ends: list[Exception | None] = [
        None,
        InputError("odd"),
        KeyError("fault"),
        Unreachable("away"),
        Refused("no"),
    ]

    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        end = ends.pop(0)
        yield pb.Event(id=len(ends))
        if end is not None:
            raise end

    seen: list[int] = []
    with (
        serving(FakeDirector(stream=stream)) as address,
        Link(address, NORTH, None) as link,
        pytest.raises(Refused, match="no"),
    ):
        for event in link.stream(lambda stub: stub.Watch(pb.WatchRequest()), endless=True):
            seen.append(event.id)
    assert seen == [4, 3, 2, 1, 0]


def test_threads_share_a_link_and_outlive_each_others_faults(thread: ThreadPoolExecutor) -> None:
    def fault(context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNAVAILABLE, "a fault of the network")

    arrived = threading.Semaphore(0)
    with serving(FakeDirector(FirstFails(fault, pb.Envoys()))) as address, Link(address, NORTH, None) as link:

        def follow() -> int:
            count = 0
            for _ in link.stream(lambda stub: stub.Watch(pb.WatchRequest())):
                count += 1
                arrived.release()
            return count

        watching = thread.submit(follow)
        assert arrived.acquire(timeout=DEADLINE)
        link.call(envoys, patience=DEADLINE)
        assert arrived.acquire(timeout=DEADLINE), "the stream is there again"
        link.close()
        assert watching.result(DEADLINE) == 2


def test_a_stream_that_is_left_is_cancelled() -> None:
    gone = threading.Event()

    def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(gone.set)
        yield pb.Event(id=1)
        gone.wait(DEADLINE)

    with serving(FakeDirector(stream=stream)) as address, Link(address, NORTH, None) as link:
        events = link.stream(lambda stub: stub.Watch(pb.WatchRequest()))
        assert next(events).id == 1
        events.close()
        assert gone.wait(DEADLINE)


def test_certificates_are_read_anew_and_may_be_missing_for_a_moment(
    tmp_path: Path, lines: Lines, thread: ThreadPoolExecutor
) -> None:
    folder = certificates(tmp_path)
    certificate = folder / "north.crt"
    with serving(FakeDirector(), credentials=Credentials(folder, "director")) as address:
        with Link(address, NORTH, folder) as link:
            content = certificate.read_bytes()
            certificate.unlink()
            waiting = thread.submit(link.call, experiments)
            lines.wait_for("north.crt")
            certificate.write_bytes(content)
            assert waiting.result(DEADLINE) == pb.Experiments()
        certificate.unlink()
        with pytest.raises(InputError, match=r"north\.crt"):
            Link(address, NORTH, folder)


def test_a_call_on_a_channel_that_another_thread_has_closed_ends_and_takes_no_process_along() -> None:
    with serving(FakeDirector()) as address, Link(address, NORTH, None) as link:

        def start(stub: rpc.DirectorStub) -> Iterator[pb.Order]:
            link.close()
            orders: Iterator[pb.Order] = stub.Connect(pb.Announcement())
            return orders

        assert list(link.stream(start, endless=True)) == []
