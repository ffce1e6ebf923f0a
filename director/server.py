"""The director as a process: one port, a journal, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc

from director.audit import AuditLog
from director.config import DirectorConfig
from director.disk import Disk, wait_for_room
from director.experiments import Experiments
from director.holdings import Holdings
from director.lines import BoundedLines
from director.quotas import Quotas
from director.rights import Rights
from director.service import DirectorService
from director.state import lock, open_state
from federation.identity import Credentials, listen
from federation.permissions import make_private
from federation.protocol import federation_pb2_grpc as rpc
from federation.protocol.limits import LARGEST_REQUEST, NEVER_INFLATED

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
BRIEF_THREADS = 8
RETRY_SECONDS = 5.0
OPTIONS = [
    # Two directors must never share a port unnoticed.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", LARGEST_REQUEST),
    *NEVER_INFLATED,
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Which gRPC 1.65 heeds in its place: a minute where it is left out.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]


class Director:
    """A director and its state folder.

    Parameters
    ----------
    config
        Checked.
    insecure
        Without certificates, on the loopback address only.

    Raises
    ------
    InputError
        If another director uses the state folder, the state is not whole (`director.state.open_state`), or certificates are not
        there.
    """

    def __init__(self, config: DirectorConfig, insecure: bool = False) -> None:
        self._config = config
        self._credentials = None if insecure else Credentials(config.certificates, config.name)
        make_private(config.state)
        wait_for_room(config.state)
        self._lock_file = lock(config.state)
        self._journal, self._blobs, self._uploads = open_state(config.state)
        most = int(config.max_model_gib * (1 << 30))
        self._experiments = Experiments(
            self._journal,
            self._blobs,
            self._uploads,
            most,
            retention_days=config.retention_days,
            credentials=self._credentials,
        )
        self._rights = Rights(self._journal, config.reading)
        self._disk = Disk(config.state, self._experiments.attention.set)
        self._experiments.on_fault = self._disk.note
        self.audit = AuditLog(config.state, config.limits.log_lines, self._disk.note)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; the address is written to the state folder.

        Raises
        ------
        InputError
            If the address is taken, or is not loopback where it must be.
        """
        _raise_descriptor_limit()
        lines = BoundedLines(self._config.limits.log_lines)
        for handler in logging.getLogger().handlers:
            handler.addFilter(lines)
        try:
            asyncio.run(self._serve())
        finally:
            self._journal.close()
            self.audit.close()
            self._lock_file.close()

    async def _serve(self) -> None:
        transfers = ThreadPoolExecutor(self._config.threads, "transfer")
        pool = ThreadPoolExecutor(BRIEF_THREADS, "brief")
        limits = self._config.limits
        service = DirectorService(
            self._experiments,
            self._blobs,
            self._uploads,
            self._disk,
            pool,
            transfers,
            self._rights,
            Quotas(limits, self._config.threads),
            Holdings(self._journal, self._blobs, self._uploads, limits),
            self.audit,
        )
        server = grpc.aio.server(options=OPTIONS + _idle_options(limits.idle))
        rpc.add_DirectorServicer_to_server(service, server)
        port = listen(server, self._config.listen, self._credentials)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # The loop is woken by the interpreter's descriptor, whichever thread the system gives the signal to.
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await server.start()
        # From now on envoys can be there: time counts.
        threading.Thread(target=_attend, args=(self._experiments,), daemon=True).start()
        address = f"{self._config.listen.rpartition(':')[0]}:{port}"
        address_file = self._config.state / "address"
        try:
            address_file.write_text(f"{address}\n")
        except OSError as error:
            logger.warning("the address cannot be written to %s: %s", address_file, error)
        logger.info("director listening on %s", address)
        await stopped.wait()
        logger.info("director is stopping")
        service.close()
        await server.stop(GRACE_SECONDS)
        if not await _has_ended(transfers, GRACE_SECONDS):
            logger.warning("a transfer does not end; it is left, and goes on where it broke")
        self._disk.close()
        with suppress(OSError):  # the disk has become read-only
            address_file.unlink(missing_ok=True)
        service.pool.shutdown()
        logger.info("director has stopped")


def _attend(experiments: Experiments) -> None:
    """Attend to what runs whenever something has happened, and when it is time."""
    left: float = 0.0
    while not experiments.closing:
        experiments.attention.wait(min(left, threading.TIMEOUT_MAX))
        experiments.attention.clear()
        try:
            left = experiments.attend()
        except OSError as error:
            logger.error("what runs could not be attended to; it is tried again: %s", error)
            experiments.on_fault(error)
            left = RETRY_SECONDS
        except Exception:
            logger.exception("what runs could not be attended to; it is tried again")
            left = RETRY_SECONDS


async def _has_ended(pool: ThreadPoolExecutor, seconds: float) -> bool:
    """Wait for a pool's threads while the event loop goes on, by which they get their messages; say whether they ended."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait() -> None:
        pool.shutdown()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    return ended.is_set()


def _idle_options(seconds: float) -> list[tuple[str, int]]:
    """Return what ends connections that do nothing: descriptors are few, and whoever reaches the port may take one."""
    milliseconds = int(seconds * 1000)
    return [
        ("grpc.max_connection_idle_ms", milliseconds),
        ("grpc.server_handshake_timeout_ms", milliseconds),
    ]


def _raise_descriptor_limit() -> None:
    """Allow as many connections as the system lets us have: each takes a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logger.info("up to %d files and connections at once", hard)
