"""SIGTERM ends a service, whichever of its threads the system gives it to."""

from __future__ import annotations

import ctypes
import signal
import sys
from pathlib import Path

import pytest

from tests.deployment import Deployment, Service, shard_entry


def end_by_another_thread(service: Service) -> int:
    """Send SIGTERM to each thread of a service but its main one, and return its exit code."""
    pid = service.process.pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        if int(thread.name) != pid:
            ctypes.CDLL(None).tgkill(pid, int(thread.name), signal.SIGTERM)
    return service.process.wait(20)


@pytest.mark.skipif(sys.platform != "linux", reason="threads of other processes are named in /proc")
def test_a_signal_that_another_thread_takes_ends_director_and_envoy(
    deployment: Deployment, speech: Path
) -> None:
    deployment.start_director()
    envoy = deployment.start_envoy("north", shard_entry(speech, 0, 1))
    assert end_by_another_thread(envoy) == 0
    assert end_by_another_thread(deployment.director) == 0
