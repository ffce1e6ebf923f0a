"""What a caller is told by a director whose machine cannot write: by gRPC, with real files, and no room when a test says so."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from director import server
from director.config import DirectorConfig
from director.disk import Disk
from director.journal import Journal
from federation.identity import NAME_KEY, ROLE_KEY
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY, is_answer
from federation.tensors import digest, pack
from tests.director.in_process import MODEL, TRAIN, VALIDATE, Director, director, statistics
from tests.director.serving import end, service_of
from tests.director.test_full_disk import failing

DEADLINE = 60.0
TOLD = "the director takes nothing in (disk full); it goes on by itself when there is room"


@dataclass
class Served:
    """A director that answers calls, its disk, and how often it has gone on."""

    alive: Director
    disk: Disk
    went_on: threading.Semaphore
    stub: rpc.DirectorStub

    def call(self, name: str, request: Any, caller: str = "workspace", experiment: str = "rows") -> Any:
        """Call by a method's name, as a workspace or as an envoy."""
        role = "workspace" if caller == "workspace" else "envoy"
        metadata = ((NAME_KEY, caller), (ROLE_KEY, role), (EXPERIMENT_KEY, experiment))
        return getattr(self.stub, name)(request, metadata=metadata, timeout=DEADLINE)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A director with an experiment that north and south take part in."""
    monkeypatch.setattr("director.disk.FIRST_PAUSE", 0.01)
    with director(tmp_path) as alive:
        went_on = threading.Semaphore(0)
        disk = Disk(tmp_path, lambda: went_on.release())
        alive.experiments.on_fault = disk.note
        alive.submit()
        alive.connect("north", "south")
        with listening(tmp_path, alive, disk) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(alive, disk, went_on, rpc.DirectorStub(channel))
        disk.close()


@contextmanager
def listening(folder: Path, alive: Director, disk: Disk) -> Iterator[int]:
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def serve() -> None:
        service = service_of(folder, alive.experiments, alive.journal, alive.blobs, alive.uploads, disk)
        listener = grpc.aio.server()
        rpc.add_DirectorServicer_to_server(service, listener)
        port = listener.add_insecure_port("127.0.0.1:0")
        await listener.start()
        stopped = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stopped, port))
        await stopped.wait()
        service.close()
        await listener.stop(1.0)
        end(service)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    loop, stopped, port = started.result(DEADLINE)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(DEADLINE)
        assert not thread.is_alive()


def refused(call: Callable[[], Any]) -> str:
    """Return what a caller is told that shall try again."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert is_answer(raised.value)
    return str(raised.value.details())


def result() -> Iterator[pb.ResultChunk]:
    """What north trains in the first round."""
    data = pack(MODEL)
    blob = pb.Blob(sha256=digest(MODEL), size=len(data))
    info = pb.ResultInfo(round=0, task=TRAIN, data_size=10, statistics=pack(statistics()), blob=blob)
    yield pb.ResultChunk(info=info)
    yield pb.ResultChunk(data=data)


@contextmanager
def no_room(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the director find no room until the context ends, and go on then by itself."""
    with monkeypatch.context() as patched:
        patched.setattr("director.disk.probe", failing(errno.ENOSPC))
        served.disk.note(OSError(errno.ENOSPC, "no space left on device"))
        yield
        assert served.disk.paused == "disk full"
    assert served.went_on.acquire(timeout=DEADLINE)
    assert served.disk.paused == ""


def test_whoever_would_write_is_told_at_once_and_whoever_reads_is_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_room(served, monkeypatch):
        before = served.alive.kinds("rows")
        for name, request, caller in (
            ("Stop", pb.Empty(), "workspace"),
            ("Resume", pb.ResumeRequest(), "workspace"),
            ("Exclude", pb.ExcludeRequest(envoy="north"), "workspace"),
            ("Submit", iter([pb.SubmitChunk(submission=pb.Submission())]), "workspace"),
            ("ReportFailure", pb.Failure(reason="its GPU has gone"), "north"),
            ("SendTaskResults", result(), "north"),
        ):
            assert refused(lambda n=name, r=request, c=caller: served.call(n, r, c)) == TOLD, name
        assert served.alive.kinds("rows") == before
        listed = served.call("ListExperiments", pb.Empty())
        assert (listed.paused, [e.state for e in listed.experiments]) == ("disk full", ["running"])
        assert served.call("GetTasks", pb.TasksRequest(), "north").tasks[0] == VALIDATE
        assert len(list(served.call("GetModel", pb.ModelRequest(kept="last")))) > 1
    assert served.call("ListExperiments", pb.Empty()).paused == ""
    assert served.call("Stop", pb.Empty()).state == "stopped"


def test_removing_an_experiment_is_let_through_since_it_makes_room(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.call("Stop", pb.Empty())
    with no_room(served, monkeypatch):
        assert served.call("Remove", pb.Empty()).state == "removed"
        assert served.alive.blobs.names() == []


def test_a_call_that_finds_no_room_pauses_the_director(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("director.disk.probe", failing(errno.ENOSPC))
        patched.setattr(Journal, "transaction", failing(errno.ENOSPC))
        assert refused(lambda: served.call("Stop", pb.Empty())) == TOLD
        assert served.disk.paused == "disk full"
    assert served.went_on.acquire(timeout=DEADLINE)
    assert served.alive.experiments.experiment("rows").state == "running"
    assert served.call("Stop", pb.Empty()).state == "stopped"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EIO])
def test_another_fault_of_the_machine_is_told_as_one_that_may_pass_and_pauses_nobody(
    served: Served, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "transaction", failing(number))
        said = refused(lambda: served.call("Stop", pb.Empty()))
    assert said == f"the director's machine cannot do it now: [Errno {number}] {os.strerror(number)}"
    assert served.disk.paused == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_a_result_that_the_machine_cannot_take_gives_nothing_up_and_counts_when_it_comes_again(
    served: Served, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add_result", failing(number))
        refused(lambda: served.call("SendTaskResults", result(), "north"))
    assert served.alive.experiments.experiment("rows").state == "running"
    assert served.alive.kinds("rows")[-1] == "round_started"
    if number == errno.ENOSPC:
        assert served.went_on.acquire(timeout=DEADLINE)
    assert served.call("SendTaskResults", result(), "north").counted


# The process around it.


def test_what_finds_no_room_outside_a_call_pauses_the_director_too_and_is_attended_to_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("director.disk.FIRST_PAUSE", 0.01)
    made = server.Director(DirectorConfig(listen="127.0.0.1:0", state=tmp_path), insecure=True)
    experiments = made._experiments
    experiments.attention.clear()
    assert experiments.on_fault(OSError(errno.ENOSPC, "no space left on device"))
    assert experiments.attention.wait(DEADLINE)
    made._journal.close()


def test_attending_outlives_faults_of_the_machine_and_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.01)
    faults = [
        OSError(errno.ENOSPC, "no space left on device"),
        ZeroDivisionError(),
        OSError(errno.EMFILE, ""),
    ]
    noted: list[OSError] = []
    with director(tmp_path) as alive:
        left = iter(faults)

        def attend() -> float:
            for fault in left:
                raise fault
            alive.experiments.close()
            return 0.0

        monkeypatch.setattr(alive.experiments, "attend", attend)
        alive.experiments.on_fault = lambda error: bool(noted.append(error))
        thread = threading.Thread(target=server._attend, args=(alive.experiments,), daemon=True)
        thread.start()
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert noted == [faults[0], faults[2]]
