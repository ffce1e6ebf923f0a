"""What runs at a site: one experiment on each device at a time, each as it was last ordered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from envoy.run import Run
from federation.errors import FederationError
from federation.protocol import federation_pb2 as pb

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 10.0


class Workers:
    """Carries out the orders of a director, which may come at any time, twice, or not at all.

    Parameters
    ----------
    devices
        The names of those that are here.
    work
        Carries one order out on a device and returns why it has failed, if it has; called in a thread of its own.
    failed
        Told of that, unless another order has come meanwhile.
    """

    def __init__(
        self,
        devices: Sequence[str],
        work: Callable[[Run, str], pb.Failure | None],
        failed: Callable[[pb.Start, pb.Failure], None],
    ) -> None:
        self._work = work
        self._failed = failed
        self._changed = threading.Condition()
        self._free = list(devices)
        self._waiting: dict[str, pb.Start] = {}
        self._running: dict[str, Run] = {}
        self._closed = False

    def start(self, start: pb.Start) -> None:
        """Work on an experiment as soon as a device is free.

        What runs already goes on if it was ordered the same. Whether it was about to end when the order came cannot be known:
        then it is done once more, and finds out that there is nothing to do.
        """
        with self._changed:
            run = self._running.get(start.experiment)
            if run is not None and run.start != start:
                run.end()
            self._waiting[start.experiment] = start
        self._begin()

    def stop(self, experiment: str, afterwards: Callable[[], None] | None = None) -> None:
        """Work on an experiment no more.

        Parameters
        ----------
        afterwards
            Called when nothing of it runs here.
        """
        with self._changed:
            self._waiting.pop(experiment, None)
            run = self._running.get(experiment)
            if run is not None:
                run.afterwards = afterwards or run.afterwards
                run.end()
                return
        if afterwards is not None:
            afterwards()

    def close(self) -> None:
        """End everything; nothing begins any more."""
        with self._changed:
            self._closed = True
            for run in self._running.values():
                run.end()
            self._changed.wait_for(lambda: not self._running, CLOSE_SECONDS)

    def _begin(self) -> None:
        with self._changed:
            ready = [name for name in self._waiting if name not in self._running]
            while ready and self._free and not self._closed:
                run, device = Run(self._waiting.pop(ready[0])), self._free.pop(0)
                self._running[ready.pop(0)] = run
                threading.Thread(target=self._carry_out, args=(run, device), daemon=True).start()

    def _carry_out(self, run: Run, device: str) -> None:
        name = run.start.experiment
        try:
            failure = self._work(run, device)
        except Exception as error:
            logger.exception("experiment %s cannot run here", name)
            said = str(error) if isinstance(error, FederationError) else f"{type(error).__name__}: {error}"
            failure = pb.Failure(reason=said)
        logger.info("experiment %s: has ended here", name)
        self._leave(run, device, failure)
        self._begin()

    def _leave(self, run: Run, device: str, failure: pb.Failure | None) -> None:
        """Do what was ordered for after the end; only then may the experiment begin again."""
        name = run.start.experiment
        while True:
            with self._changed:
                if run.afterwards is None:
                    del self._running[name]
                    self._free.append(device)
                    if failure is not None and not run.ended.is_set():
                        # The same order has failed; when the director has been told so, it may come again.
                        if self._waiting.get(name) == run.start:
                            del self._waiting[name]
                        self._failed(run.start, failure)
                    self._changed.notify_all()
                    return
                afterwards, run.afterwards = run.afterwards, None
            afterwards()
