"""The director as a process: one port, a journal, and a clean end."""

from __future__ import annotations

import fcntl
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import grpc

from director.config import DirectorConfig
from director.experiments import Experiments
from director.service import DirectorService
from director.state import open_state
from federation.code import project_version
from federation.errors import InputError
from federation.identity import Credentials, listen
from federation.protocol import federation_pb2_grpc as rpc

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
OPTIONS = [
    # Two directors must never share a port unnoticed.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]


class Director:
    """A running director.

    Parameters
    ----------
    config
        Checked.
    insecure
        Without certificates, on the loopback address only.

    Raises
    ------
    InputError
        If the address is taken or not loopback where it must be, another director uses the state folder, the state is
        not whole (`director.state.open_state`), or certificates are not there.
    """

    def __init__(self, config: DirectorConfig, insecure: bool = False) -> None:
        credentials = None if insecure else Credentials(config.certificates, config.name)
        config.state.mkdir(parents=True, exist_ok=True)
        self._lock_file = _lock(config)
        self._journal, blobs = open_state(config.state)
        self._experiments = Experiments(
            self._journal, blobs, project_version(), int(config.max_model_gib * (1 << 30))
        )
        self._server = grpc.server(ThreadPoolExecutor(config.threads, "call"), options=OPTIONS)
        rpc.add_DirectorServicer_to_server(DirectorService(self._experiments, blobs), self._server)
        port = listen(self._server, config.listen, credentials)
        self.address = f"{config.listen.rpartition(':')[0]}:{port}"
        self._address_file = config.state / "address"
        self._stopped = threading.Event()

    def start(self) -> None:
        """Accept calls; the address is written to the state folder."""
        self._server.start()
        self._address_file.write_text(self.address + "\n")
        logger.info("director listening on %s", self.address)

    def wait(self) -> None:
        """Return when the director has been stopped."""
        self._stopped.wait()
        self._experiments.close()
        self._server.stop(GRACE_SECONDS).wait()
        self._address_file.unlink(missing_ok=True)
        self._journal.close()
        self._lock_file.close()
        logger.info("director has stopped")

    def stop(self) -> None:
        """Ask the director to end; may be called from a signal handler."""
        self._stopped.set()


def _lock(config: DirectorConfig) -> IO[str]:
    file = (config.state / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(
            f"state: another director is using {config.state}; stop it or choose another folder"
        ) from error
    return file
