"""Failures that the director has not been told of: each is told as soon as the director takes it, or an order makes it idle."""

from __future__ import annotations

import logging
import threading

from envoy.client import GrpcAggregatorClient
from federation.errors import FederationError, InputError, Refused
from federation.link import Backoff, Link
from federation.logs import with_traceback
from federation.protocol import federation_pb2 as pb

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 30.0


class Failures:
    """Tells the director of failures, for as long as it takes.

    Parameters
    ----------
    link
        To the director.
    stop
        Set when the envoy stops.
    """

    def __init__(self, link: Link, stop: threading.Event) -> None:
        self._link = link
        self._stop = stop
        self._lock = threading.Lock()
        self._untold: dict[str, tuple[pb.Start, pb.Failure]] = {}

    def add(self, start: pb.Start, failure: pb.Failure) -> None:
        """Tell of a failure to do what an order has said; a later one of the same experiment takes its place."""
        told = with_traceback(failure.traceback)
        logger.error("experiment %s: %s", start.experiment, failure.reason, extra=told)
        untold = (start, failure)
        with self._lock:
            self._untold[start.experiment] = untold
        threading.Thread(target=self._tell, args=untold, daemon=True).start()

    def drop(self, experiment: str) -> None:
        """Tell no more of an experiment: an order has come that makes its failure idle."""
        with self._lock:
            self._untold.pop(experiment, None)

    def is_untold(self, start: pb.Start) -> bool:
        """Say whether an order is known to have failed here, of which the director has not been told yet."""
        with self._lock:
            failed, failure = self._untold.get(start.experiment, (None, None))
        return failure is not None and not failure.passing and failed == start

    def _tell(self, start: pb.Start, failure: pb.Failure) -> None:
        experiment = start.experiment
        client = GrpcAggregatorClient(self._link, experiment)
        backoff = Backoff(longest=LONGEST_PAUSE)
        while self._is_wanted(experiment, failure) and not self._stop.is_set():
            try:
                client.report_failure(
                    failure.reason,
                    failure.traceback,
                    failure.passing,
                    failure.kind,
                    lambda: self._is_wanted(experiment, failure),
                )
            except (InputError, Refused) as error:
                logger.error("experiment %s: the director does not take its failure: %s", experiment, error)
            except FederationError as error:
                # A fault of the director's own, or the end of our link to it.
                logger.warning("experiment %s: its failure cannot be told now: %s", experiment, error)
                self._stop.wait(backoff.pause())
                continue
            with self._lock:
                if self._untold.get(experiment, (None, None))[1] is failure:
                    del self._untold[experiment]

    def _is_wanted(self, experiment: str, failure: pb.Failure) -> bool:
        with self._lock:
            return self._untold.get(experiment, (None, None))[1] is failure
