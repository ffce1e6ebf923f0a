"""Sites keep what an experiment needs to be gone on with, and are told when nobody needs it any more."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

import pytest

from federation.protocol import federation_pb2 as pb
from tests.director.in_process import VALIDATE, Director, announcement, director


class Orders(SimpleQueue[pb.Order | None]):
    """What an envoy is ordered."""

    def seen(self) -> list[tuple[str, str]]:
        """The kinds and the experiments of the orders so far, the connection's own left out."""
        orders = [self.get() for _ in range(self.qsize())]
        kinds = [(str(order.WhichOneof("order")), order) for order in orders if order is not None]
        return [
            (kind, order.start.experiment if kind == "start" else getattr(order, kind))
            for kind, order in kinds
            if kind != "connected"
        ]


def test_envoys_forget_an_experiment_that_has_finished(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        orders = Orders()
        alive.experiments.connect("north", announcement(), orders)
        alive.submit(envoys=1)
        alive.finish("rows", {"north": 1.0})
        assert orders.seen() == [("start", "rows"), ("stop", "rows"), ("forget", "rows")]


def test_envoys_keep_what_they_have_of_one_that_was_stopped_or_has_failed(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        orders = Orders()
        alive.experiments.connect("north", announcement(), orders)
        for name in ("stopped", "failed"):
            alive.submit(name, envoys=1)
        alive.experiments.stop("stopped")
        aggregator = alive.experiments.live("failed")
        assert aggregator is not None
        aggregator.fail("north", "its GPU has gone")
        assert ("forget", "stopped") not in (seen := orders.seen())
        assert ("forget", "failed") not in seen

        back = Orders()
        alive.experiments.connect("north", announcement(kept=["failed", "stopped"]), back)
        assert back.seen() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_an_envoy_that_was_away_at_the_end_is_told_when_it_is_back(tmp_path: Path, restarted: bool) -> None:
    with director(tmp_path) as first:
        first.connect("north")
        first.submit("finished", envoys=1)
        first.finish("finished", {"north": 1.0})
        first.submit("open", envoys=1)
        assert first.report("open", "north", VALIDATE)
        if not restarted:
            assert told_on_connecting(first) == [("forget", "finished"), ("start", "open")]
    if restarted:
        with director(tmp_path) as second:
            assert told_on_connecting(second) == [("forget", "finished"), ("start", "open")]


def told_on_connecting(alive: Director) -> list[tuple[str, str]]:
    orders = Orders()
    kept = ["another-directors", "finished", "open", "../escape"]
    alive.experiments.connect("north", announcement(kept=kept), orders)
    alive.attend()
    return orders.seen()
