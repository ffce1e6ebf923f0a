"""One experiment at one site, from an order to its end: a process, started again when it was killed or its disk was full."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO

from envoy.worker import FAILED, TAKEN, WorkOrder
from federation.link import Backoff
from federation.protocol import federation_pb2 as pb

logger = logging.getLogger(__name__)

WORKER = (sys.executable, "-m", "envoy.worker")
RESTARTS = 3
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
LAST_WORDS_SECONDS = 10.0


class Run:
    """One order that is carried out.

    Parameters
    ----------
    start
        The order.
    """

    def __init__(self, start: pb.Start) -> None:
        self.start = start
        self.ended = threading.Event()
        self.afterwards: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._failure: pb.Failure | None = None
        self._progress = False

    def end(self) -> None:
        """End it, because nobody wants it any more; its process holds nothing that matters, and may be killed at any time."""
        with self._lock:
            self.ended.set()
            if self._process is not None:
                self._process.kill()

    def work(
        self,
        order: WorkOrder,
        has_room: Callable[[], bool],
        away: Callable[[pb.Failure | None], None],
        program: Sequence[str] = WORKER,
        closed: Callable[[], str | None] = lambda: None,
    ) -> pb.Failure | None:
        """Carry the order out until the director says quit, `end` is called or it has failed.

        Parameters
        ----------
        order
            For the process.
        has_room
            Says whether there is room again where the site keeps things.
        away
            Told of what keeps the site from working for now, and None when it goes on.
        program
            Of the process: is given the order and says what `envoy.worker` says.
        closed
            Says why the site takes no task now, of its own will; None if it does.

        Returns
        -------
        Failure or None
            Why it has failed.
        """
        name, killed = order.experiment, 0
        pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE)

        def may_work() -> bool:
            return closed() is None and has_room()

        while not self.ended.is_set():
            if (reason := closed()) is not None:
                self.wait_until(may_work, pb.Failure(reason=reason, passing=True), away, pauses)
                continue
            code = self._run_once(order, program)
            if self.ended.is_set() or code == 0:
                break
            if self._progress:
                killed = 0
                pauses.reset()
            if self._failure is not None and self._failure.passing:
                self.wait_until(may_work, self._failure, away, pauses)
                continue
            if self._failure is not None:
                return self._failure
            if code > 0:
                return pb.Failure(reason=f"its process ended with code {code} and did not say why")
            logger.warning("experiment %s: its process was killed by signal %d", name, -code)
            killed += 1
            if killed > RESTARTS:
                return pb.Failure(reason=f"its process was killed by signal {-code}, {killed} times in a row")
            self.ended.wait(pauses.pause())
        return None

    def _run_once(self, order: WorkOrder, program: Sequence[str]) -> int:
        """Run one process to its end and return its exit code."""
        self._failure, self._progress = None, False
        with self._lock:
            if self.ended.is_set():
                return 0
            self._process = process = subprocess.Popen(
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment_of_worker(),
            )
        logger.info("experiment %s: starts on %s", order.experiment, order.device)
        assert process.stdin is not None
        assert process.stdout is not None
        listening = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        listening.start()
        # Its end of the pipe stays open as long as we live: a worker whose agent is gone ends itself.
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(order.to_json() + "\n")
            process.stdin.flush()
            process.wait()
        code = process.wait()
        # A process that it has left behind might hold its standard output open.
        listening.join(LAST_WORDS_SECONDS)
        return code

    def _listen(self, output: IO[str]) -> None:
        with output:
            for line in output:
                word, _, rest = line.partition(" ")
                if word.strip() == TAKEN:
                    self._progress = True
                elif word == FAILED:
                    # It may have been killed in the middle of the line.
                    with contextlib.suppress(ValueError):
                        self._failure = pb.Failure(**json.loads(rest))

    def wait_until(
        self,
        may_work: Callable[[], bool],
        failure: pb.Failure,
        away: Callable[[pb.Failure | None], None],
        pauses: Backoff | None = None,
    ) -> None:
        """Wait, after a failure that passes, until it may work again or is ended; ``away`` is as in `work`."""
        pauses = pauses or Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        away(failure)
        while not self.ended.wait(pauses.pause()):
            if may_work():
                logger.info("experiment %s: goes on, what kept it has passed", self.start.experiment)
                break
        away(None)


def environment_of_worker() -> dict[str, str]:
    """Return the environment of a worker: files in the folder where the envoy was started must shadow no module."""
    return os.environ | {"PYTHONSAFEPATH": "1"}
