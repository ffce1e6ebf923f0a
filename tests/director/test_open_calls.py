"""Calls that last are known as long as they do, and ended for those, and only those, who are to be refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from director.blobs import BlobStore
from director.disk import Disk
from director.experiments import Experiments
from director.journal import Journal
from director.uploads import Uploads
from federation.certificates import make_authority, make_member, subject_of
from federation.errors import Refused
from federation.identity import Credentials, listen
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from tests.director.serving import end, service_of
from tests.hostile.members import submission, submitted
from workspace.client import Federation

DEADLINE = 30.0


class Running:
    """The director's service in a thread of this process."""

    def __init__(self, folder: Path) -> None:
        self.certificates = folder / "certificates"
        make_authority(self.certificates)
        make_member(self.certificates, "director", "director", ["localhost"])
        for name in ("alice", "mallory"):
            make_member(self.certificates, name, "workspace")
        journal, blobs = Journal(folder / "journal.sqlite"), BlobStore(folder / "blobs")
        uploads = Uploads(folder / "uploads", blobs)
        credentials = Credentials(self.certificates, "director")
        self.experiments = Experiments(journal, blobs, uploads, 1 << 20, credentials=credentials)
        self.service = service_of(folder, self.experiments, journal, blobs, uploads, Disk(folder))
        self._credentials = credentials
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(DEADLINE)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = grpc.aio.server()
        rpc.add_DirectorServicer_to_server(self.service, server)
        self.address = f"localhost:{listen(server, 'localhost:0', self._credentials)}"
        await server.start()
        self._ready.set()
        await self._stopped.wait()
        self.service.close()
        await server.stop(0)
        end(self.service)

    def close(self) -> None:
        """End it, and what is open still."""
        self.service.open_calls.end(lambda certificate: "the test is over")
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(DEADLINE)

    def open(self) -> list[str]:
        """The names of those whose calls are open."""
        calls = self.service.open_calls
        with calls._lock:
            return sorted(subject_of(call.certificate)[0] for call in calls._calls)

    def wait_until(self, names: list[str]) -> None:
        """Wait until just these have calls open."""
        end = threading.Event()
        for _ in range(int(DEADLINE / 0.02)):
            if self.open() == names:
                return
            end.wait(0.02)
        assert self.open() == names


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.close()


def only(name: str) -> Callable[[x509.Certificate], str]:
    return lambda certificate: "is not wanted" if subject_of(certificate)[0] == name else ""


def test_calls_of_every_form_are_forgotten_when_they_end(running: Running) -> None:
    with Federation(running.address, running.certificates, "alice") as alice:
        experiment = submitted(alice, "first")
        experiment.tensors("last")
        list(experiment.events())
        for _ in range(20):
            with pytest.raises(Refused):
                alice.call(lambda stub: stub.Revoke(pb.Revocation(), timeout=DEADLINE))
        running.wait_until([])


def test_who_is_refused_is_ended_and_nobody_else(running: Running) -> None:
    with (
        Federation(running.address, running.certificates, "alice") as alice,
        Federation(running.address, running.certificates, "mallory") as mallory,
        ThreadPoolExecutor() as threads,
    ):
        experiment = submitted(alice, "first")

        def watch(federation: Federation) -> None:
            for _ in federation.experiment(experiment.name).events(follow=True):
                pass

        hold = threading.Event()

        def upload() -> None:
            def messages() -> Iterator[pb.SubmitChunk]:
                yield pb.SubmitChunk(submission=submission("silent"))
                hold.wait(DEADLINE)

            mallory.link.call(lambda stub: stub.Submit(messages(), timeout=DEADLINE), patience=0)

        watching = {name: threads.submit(watch, who) for name, who in (("a", alice), ("m", mallory))}
        uploading = threads.submit(upload)
        running.wait_until(["alice", "mallory", "mallory"])
        assert running.service.open_calls.end(only("mallory")) == 2
        with pytest.raises(Refused, match="is not wanted"):
            watching["m"].result(DEADLINE)
        with pytest.raises(Refused, match="is not wanted"):
            uploading.result(DEADLINE)
        hold.set()
        running.wait_until(["alice"])
        assert not watching["a"].done()
        experiment.stop()
        watching["a"].result(DEADLINE)
        running.wait_until([])
