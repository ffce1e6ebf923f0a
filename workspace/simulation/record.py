"""What a simulation's aggregator writes: the metrics of each round that has closed, and a snapshot to go on from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from federation.engine.members import Member
from federation.engine.results import ClosedRound, OpenedRound, Standing, TaskResult
from federation.tensors import Tensors
from workspace.metrics import MetricRow, metric_rows
from workspace.simulation.snapshot import Snapshot, Snapshots

Notice = Callable[[str, Mapping[str, Any]], None]


class RunRecord:
    """The `federation.engine.results.Record` of a simulation.

    Nothing of a round is on disk before it closes: whoever goes on runs an open round anew, from its beginning.

    Parameters
    ----------
    metrics
        The file of metrics, which is shortened to what the snapshot knows of.
    snapshots
        Where the state is kept.
    snapshot
        Where the run begins.
    model
        With which it begins, if it begins anew.
    notice
        Told of each event.
    """

    def __init__(
        self,
        metrics: Path,
        snapshots: Snapshots,
        snapshot: Snapshot,
        model: Tensors | None,
        notice: Notice | None,
    ) -> None:
        self.snapshot = snapshot
        self._metrics = metrics
        self._snapshots = snapshots
        self._model = model
        self._members = {member.name: member for member in snapshot.members}
        self._rows: list[MetricRow] = []
        self._notice = notice
        self._began = monotonic() - snapshot.seconds
        with metrics.open("ab") as file:
            file.truncate(snapshot.metrics_bytes)

    @property
    def seconds(self) -> float:
        """Spent so far, with what was spent before the run was gone on with."""
        return monotonic() - self._began

    def result(self, result: TaskResult) -> None:
        """Take note of an envoy's metrics."""
        self.event(
            "result",
            round=result.round_number,
            task=result.task_name,
            envoy=result.collaborator,
            samples=result.data_size,
            metrics=dict(result.metrics),
        )

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        """Write the round's metrics, and where the next one begins."""
        number = closed.round_number
        left_out = {"left_out": list(closed.left_out)} if closed.left_out else {}
        body = {
            "round": number,
            "cohort": list(closed.cohort),
            "metrics": closed.metrics,
            "best_round": closed.best.round_number if closed.best else None,
            **left_out,
        }
        if not closed.failure:
            counted = {name: replace(self._member(name), counted=number) for name in closed.counted}
            rows = [*self._rows, *metric_rows("round_closed", body)]
            size = self._write(rows)
            self._save(
                replace(
                    self.snapshot,
                    round_number=number + (closed.model is not None),
                    best=closed.best,
                    opened=closed.opens,
                    metrics_bytes=size,
                    ended=closed.last,
                ),
                self._members | counted,
                closed.model,
            )
        self._rows = []
        for kind, told in closed.events:
            self.event(kind, **told)
        self.event("round_closed", **body)
        self._rows = []
        if closed.opens is not None:
            self._tell_of(closed.opens)
        if closed.failure:
            self.end("failed", closed.failure)
        return closed.model

    def open_round(self, opened: OpenedRound) -> None:
        """Write that a round begins; results of an earlier attempt are void."""
        self._save(replace(self.snapshot, opened=opened), self._members, self._model)
        self._rows = []
        self._tell_of(opened)

    def standing(self, change: Standing) -> None:
        """Take note that an envoy has failed: it is written with the round, which is run anew if the run ends before."""
        self._members[change.envoy] = replace(
            self._member(change.envoy), standing=change.standing, reason=change.reason
        )
        self.event(
            change.event,
            envoy=change.envoy,
            round=change.round_number,
            reason=change.reason,
            traceback=change.traceback,
        )

    def end(self, state: str, reason: str) -> None:
        """Pass on that the experiment has ended."""
        self.event(state, reason=reason)

    def event(self, kind: str, **body: Any) -> None:
        """Keep the metrics that an event holds, and pass it on."""
        self._rows += metric_rows(kind, body)
        if self._notice is not None:
            self._notice(kind, body)

    def _tell_of(self, opened: OpenedRound) -> None:
        self.event("round_started", round=opened.round_number, cohort=list(opened.cohort))

    def _member(self, name: str) -> Member:
        return self._members.get(name, Member(name))

    def _write(self, rows: list[MetricRow]) -> int:
        """Append metrics where the last round's end; return where they end."""
        with self._metrics.open("r+b") as file:
            file.truncate(self.snapshot.metrics_bytes)
            file.seek(0, os.SEEK_END)
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _save(self, snapshot: Snapshot, members: dict[str, Member], model: Tensors | None) -> None:
        """Write a snapshot; only then it counts."""
        told = tuple(members[name] for name in sorted(members))
        snapshot = replace(snapshot, members=told, seconds=round(self.seconds, 3))
        self._snapshots.save(snapshot, model)
        self.snapshot, self._members, self._model = snapshot, members, None
