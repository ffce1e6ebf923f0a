"""A director that knows a few experiments, envoys and entries of an audit log, and how to ask it as a user does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from federation.main import main
from federation.protocol import federation_pb2 as pb
from tests.federation.fake_director import FakeDirector

NOW = time.time()
LONG = "hospital-of-the-north-" + "0123456789" * 4
VALIDATION, TRAIN = "aggregated_model_validation", "train"
HOUR, DAY = 3600.0, 86400.0


class KnownDirector(FakeDirector):
    """Answers with what it was given; nothing if that is nothing."""

    def __init__(
        self,
        experiments: Sequence[pb.Experiment] = (),
        envoys: Sequence[pb.Envoy] = (),
        events: Sequence[pb.Event] = (),
        audited: Sequence[pb.AuditEntry] = (),
    ) -> None:
        super().__init__()
        self.experiments, self.envoys, self.events, self.audited = experiments, envoys, events, audited

    def ListExperiments(self, request: Any, context: Any) -> pb.Experiments:
        return pb.Experiments(experiments=self.experiments)

    def ListEnvoys(self, request: Any, context: Any) -> pb.Envoys:
        return pb.Envoys(envoys=self.envoys)

    def ListRevocations(self, request: Any, context: Any) -> pb.Revocations:
        return pb.Revocations()

    def Stop(self, request: Any, context: Any) -> pb.Experiment:
        return self.experiments[0]

    def Audit(self, request: Any, context: Any) -> Iterator[pb.AuditEntry]:
        yield from self.audited

    def Watch(self, request: pb.WatchRequest, context: Any) -> Iterator[pb.Event]:
        yield from (event for event in self.events if event.id > request.after)


def ask(address: str, *arguments: str) -> int:
    """Run a `fed` command in this process."""
    return main([*arguments, "--insecure", "--director", address])


def experiment(name: str, state: str, **told: Any) -> pb.Experiment:
    """Say how an experiment stands that alice submitted two days ago."""
    known = {
        "round": 2,
        "rounds": 2,
        "created": NOW - 2 * DAY - 300,
        "best_round": -1,
        "submitted_by": "alice",
    }
    return pb.Experiment(name=name, state=state, **(known | told))


def ended_experiment() -> tuple[pb.Experiment, list[pb.Event]]:
    """An experiment of two rounds that has ended yesterday, with its events."""
    began = NOW - DAY

    def closed(number: int, accuracy: float, loss: float, best: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {VALIDATION: {"accuracy": accuracy, "macro_f1": accuracy / 2, "loss": loss}}
        if number < 2:
            metrics[TRAIN] = {"accuracy": 0.4, "loss": 1.25 - number / 4}
        return {"round": number, "cohort": ["north"], "metrics": metrics, "best_round": best}

    told: list[tuple[float, str, dict[str, Any]]] = [
        (-60, "submitted", {"by": "alice", "plan": "rows"}),
        (0, "started", {"cohort": ["north", LONG]}),
        (0, "round_started", {"round": 0, "cohort": ["north", LONG]}),
        (5, "envoy_away", {"envoy": LONG, "round": 0, "reason": "its connection broke"}),
        (8, "round_closed", closed(0, 0.25, 1.5, 0)),
        (8, "round_started", {"round": 1, "cohort": ["north"]}),
        (20, "round_closed", closed(1, 0.8125, 0.75, 1)),
        (20, "round_started", {"round": 2, "cohort": ["north"]}),
        (21, "round_closed", closed(2, 0.75, 0.5, 1)),
        (21, "finished", {"reason": ""}),
    ]
    events = [
        pb.Event(id=at, time=began + after, kind=kind, body=json.dumps(body))
        for at, (after, kind, body) in enumerate(told, 1)
    ]
    times = {"created": began - 60, "ended": began + 21}
    return experiment("rows", "finished", best_round=1, best_score=0.8125, **times), events
