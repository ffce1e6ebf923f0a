"""The demo's director and envoys: processes that are waited for by what they log, and stopped when the demo is done."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from pathlib import Path

from federation.errors import Unreachable

START_SECONDS = 120.0
STOP_SECONDS = 30.0


def fed_command() -> str:
    """Return the `fed` of this environment."""
    return str(Path(sys.executable).with_name("fed"))


def fed_environment(home: Path) -> dict[str, str]:
    """Return the environment that the demo's processes run in."""
    return os.environ | {"FED_STATE": str(home / "logs")}


@contextmanager
def service(home: Path, name: str, sign: str, *arguments: str) -> Iterator[Future[bool]]:
    """Run a service of `fed` for as long as the context is open; its log goes to ``logs/NAME.log``.

    Parameters
    ----------
    home : pathlib.Path
        The demo's folder, where the service runs.
    name : str
        Of the log.
    sign : str
        What the service logs when it is ready.
    *arguments
        Of `fed`.

    Yields
    ------
    concurrent.futures.Future of bool
        True once the sign was logged; False if the service has ended without it. See `wait_for`.
    """
    ready: Future[bool] = Future()
    process = subprocess.Popen(
        [fed_command(), *arguments],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=fed_environment(home),
    )
    log = _log(home, name)
    reader = threading.Thread(target=_follow, args=(process, log, sign, ready), daemon=True)
    reader.start()
    try:
        yield ready
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()


def wait_for(ready: Future[bool], home: Path, name: str) -> None:
    """Wait until a service is ready.

    Raises
    ------
    Unreachable
        If it ended instead, or took too long.
    """
    try:
        is_ready = ready.result(START_SECONDS)
    except NotInTime:
        raise Unreachable(
            f"the {name} did not start within {START_SECONDS:.0f} s; see {_log(home, name)}"
        ) from None
    if not is_ready:
        raise Unreachable(f"the {name} ended instead of starting; see {_log(home, name)}")


def _log(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


def _follow(process: subprocess.Popen[str], log: Path, sign: str, ready: Future[bool]) -> None:
    assert process.stdout is not None
    with log.open("w") as file, process.stdout as lines:
        for line in lines:
            file.write(line)
            file.flush()
            if sign in line and not ready.done():
                ready.set_result(True)
    if not ready.done():
        ready.set_result(False)
