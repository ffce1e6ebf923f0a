"""A whole federation on one machine: the aggregator, collaborators and shards of a deployment, and the same bits.

Only the transport differs: direct calls in one process, or pipes to several (`workspace.simulation.pipes`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

from federation.engine.aggregator import Aggregator
from federation.engine.build import Site, build_aggregator, build_collaborator
from federation.engine.client import DirectClient
from federation.engine.results import ClosedRound, OpenedRound, Standing, TaskResult
from federation.errors import ExperimentFailed, InputError
from federation.federation_file import FederationFile, open_shard, samples_of
from federation.paths import inside
from federation.plan import CheckedPlan, plan_from_json
from federation.schema import Component, plain
from federation.tensors import Tensors, chunks, digest, open_mapped
from workspace.initial_exchange import Earlier, InitialExchange, initial_exchange, write_model
from workspace.metrics import metric_rows
from workspace.simulation.memory import peak_memory_mb
from workspace.simulation.pipes import PipeClient, PipeLink, run_workers
from workspace.simulation.turns import TurnClient, describe, take_turns

FROZEN = "frozen.safetensors"
Notice = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Summary:
    """What a simulation leaves in ``summary.json``.

    ``test_accuracy`` is the best model's on the federation file's test shard, ``test`` and ``last_test`` hold all metrics of
    the best and the last model; None without a test shard, or where there are no classes. ``exchanged_sha256`` names the
    exchanged tensors after the last round, ``exchanged_bytes`` is what an envoy sends in a round, and receives as well.
    """

    plan: str
    rounds: int
    envoys: list[str]
    best_round: int
    test_accuracy: float | None
    last_test_accuracy: float | None
    test: dict[str, float] | None
    last_test: dict[str, float] | None
    exchanged_sha256: str
    exchanged_bytes: int
    seconds: float
    peak_memory_mb: float


class FileRecord:
    """The `federation.engine.results.Record` of a simulation: metrics to a file, the best and the last model in memory."""

    def __init__(self, initial: Tensors, metrics: TextIO, notice: Notice | None) -> None:
        self.last = self.best = initial
        self.best_round = -1
        self._metrics = metrics
        self._notice = notice

    def result(self, result: TaskResult) -> None:
        """Write an envoy's metrics."""
        self.event(
            "result",
            round=result.round_number,
            task=result.task_name,
            envoy=result.collaborator,
            samples=result.data_size,
            metrics=dict(result.metrics),
        )

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        """Keep the new model and write the round's metrics."""
        if closed.best is not None and closed.best.round_number == closed.round_number:
            self.best, self.best_round = self.last, closed.round_number
        if closed.model is not None:
            self.last = closed.model
        for kind, body in closed.events:
            self.event(kind, **body)
        left_out = {"left_out": list(closed.left_out)} if closed.left_out else {}
        self.event(
            "round_closed",
            round=closed.round_number,
            cohort=list(closed.cohort),
            metrics=closed.metrics,
            **left_out,
        )
        if closed.opens is not None:
            self.open_round(closed.opens)
        if closed.failure:
            self.end("failed", closed.failure)
        return self.last

    def open_round(self, opened: OpenedRound) -> None:
        """Pass on that a round begins."""
        self.event("round_started", round=opened.round_number, cohort=list(opened.cohort))

    def standing(self, change: Standing) -> None:
        """Pass on that an envoy has failed."""
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
        """Write the metrics that an event holds, and pass it on."""
        for row in metric_rows(kind, body):
            self._metrics.write(json.dumps(row) + "\n")
        self._metrics.flush()
        if self._notice is not None:
            self._notice(kind, body)


def simulate(
    plan: CheckedPlan,
    federation: FederationFile,
    folder: Path,
    processes: int = 1,
    notice: Notice | None = None,
    device: str = "auto",
    cohorts: Mapping[int, OpenedRound] | None = None,
) -> Summary:
    """Run a plan over the envoys of a federation file.

    Writes ``summary.json``, ``metrics.jsonl``, ``model/`` (the best one, as a Hugging Face folder) and the exchanged tensors,
    ``exchanged_best.safetensors`` and ``exchanged_last.safetensors``, which a later plan can start from.

    Parameters
    ----------
    plan
        Checked.
    federation
        Its envoys are the cohort.
    folder
        Made if it is not there.
    processes
        How many worker processes share the envoys; 1 runs them in this one.
    notice
        Told of each event as it happens.
    device
        ``cpu``, ``cuda:N``, or ``auto``: the first GPU if there is one. All envoys share it.
    cohorts
        Those of a run (`workspace.simulation.cohorts`), whose bits come out then.

    Raises
    ------
    ExperimentFailed
        If too few envoys are left to go on.
    """
    names = sorted(federation.envoys)
    if len(names) < plan.federation.envoys:
        raise InputError(
            f"the plan needs {plan.federation.envoys} envoys, the federation file has {len(names)}"
        )
    start = monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    exchange = initial_exchange(
        plan, federation.checkpoints, lambda name, which: _earlier(folder, name, which)
    )
    with (folder / "metrics.jsonl").open("w") as metrics:
        record = FileRecord(exchange.tensors, metrics, notice)
        samples = {name: counted for name in names if (counted := _samples_at(federation, name))}
        aggregator = build_aggregator(plan, names, exchange.tensors, record, planned=cohorts, samples=samples)
        aggregator.go_on()
        device = _resolved(device)
        frozen = _write_frozen(exchange, folder)
        orders = _orders(plan, federation, exchange.frozen_fingerprint, frozen, device)
        if processes == 1:
            _run_here(aggregator, orders, names)
        else:
            groups = [names[i::processes] for i in range(min(processes, len(names)))]
            run_workers(aggregator, orders, groups, _worker)
    if aggregator.failure is not None:
        raise ExperimentFailed(f"the experiment failed: {aggregator.failure}")
    if not aggregator.finished:
        raise ExperimentFailed("the experiment was interrupted")
    best, best_round = (record.best, record.best_round) if record.best_round >= 0 else (record.last, -1)
    for which, tensors in (("best", best), ("last", record.last)):
        with (folder / f"exchanged_{which}.safetensors").open("wb") as file:
            file.writelines(chunks(tensors))
    last_test = _test(plan, federation, exchange, record.last, device)
    best_test = _test(plan, federation, exchange, best, device)
    write_model(exchange, best, folder / "model")
    summary = Summary(
        plan=plan.name,
        rounds=plan.aggregator.rounds_to_train,
        envoys=names,
        best_round=best_round,
        test_accuracy=(best_test or {}).get("accuracy"),
        last_test_accuracy=(last_test or {}).get("accuracy"),
        test=best_test,
        last_test=last_test,
        exchanged_sha256=digest(record.last),
        exchanged_bytes=sum(tensor.nbytes for tensor in record.last.values()),
        seconds=round(monotonic() - start, 1),
        peak_memory_mb=peak_memory_mb(),
    )
    (folder / "summary.json").write_text(json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def _samples_at(federation: FederationFile, name: str) -> dict[str, int]:
    """Return what an envoy would announce; nothing if its shard cannot be opened, as its collaborator will say."""
    try:
        return samples_of(open_shard(federation.envoys[name].shard_descriptor))
    except Exception:
        return {}


def _resolved(device: str) -> str:
    import torch

    if device != "auto":
        return device
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _write_frozen(exchange: InitialExchange, folder: Path) -> str:
    """Write what is frozen by value for the workers and for later plans; return the file, or nothing."""
    path = folder / FROZEN
    path.unlink(missing_ok=True)
    if not exchange.frozen:
        return ""
    with path.open("wb") as file:
        file.writelines(chunks(exchange.frozen))
    return str(path)


def _orders(
    plan: CheckedPlan, federation: FederationFile, fingerprint: str, frozen: str, device: str
) -> dict[str, Any]:
    """Say in plain data what a worker needs."""
    return {
        "plan": plan.to_json(),
        "name": plan.name,
        "frozen_fingerprint": fingerprint,
        "frozen": frozen,
        "device": device,
        "checkpoints": dict(federation.checkpoints),
        "envoys": {name: plain(entry.shard_descriptor) for name, entry in federation.envoys.items()},
    }


def _run_here(aggregator: Aggregator, orders: Mapping[str, Any], names: Sequence[str]) -> None:
    clients = {name: TurnClient(DirectClient(aggregator, name)) for name in names}
    collaborators = [_collaborator(orders, name, clients[name]) for name in names]
    take_turns(collaborators, clients, aggregator.fail, aggregator.wait_for_work)


def _worker(connection: Any, orders_json: str, names: Sequence[str]) -> None:
    orders = json.loads(orders_json)
    link = PipeLink(connection)

    def fail(name: str, reason: str, traceback: str, kind: str) -> None:
        link.ask("fail", name=name, reason=reason, traceback=traceback, kind=kind)

    clients = {name: TurnClient(PipeClient(link, name)) for name in names}
    collaborators = []
    for name in names:
        try:
            collaborators.append(_collaborator(orders, name, clients[name]))
        except Exception as error:
            fail(name, *describe(error))
    take_turns(collaborators, clients, fail, lambda waiting: link.ask("wait_for_work", names=list(waiting)))


def _collaborator(orders: Mapping[str, Any], name: str, client: TurnClient) -> Any:
    plan = plan_from_json(orders["plan"], orders["name"])
    os.environ.setdefault("OMP_NUM_THREADS", str(plan.federation.torch_threads))
    shard = open_shard(Component(**orders["envoys"][name]))
    frozen = open_mapped(Path(orders["frozen"])) if orders["frozen"] else {}
    site = Site(name, orders["device"], orders["checkpoints"], orders["frozen_fingerprint"], frozen)
    return build_collaborator(plan, shard, client, site)


def _test(
    plan: CheckedPlan,
    federation: FederationFile,
    exchange: InitialExchange,
    tensors: Tensors,
    device: str,
) -> dict[str, float] | None:
    if federation.test is None:
        return None
    from federation.statistics import derive
    from workspace.learning.exchange import load_exchanged
    from workspace.learning.training import evaluate

    load_exchanged(exchange.model.to(device), tensors, exchange.recipe.role)
    split = open_shard(federation.test.shard_descriptor).split("test")
    sums = evaluate(exchange.recipe, exchange.model, split, plan.task_runner, device=device)
    return derive(plan.federation.metrics, sums, plan.federation.classes)


def _earlier(folder: Path, name: str, which: str) -> Earlier:
    path = inside(folder.parent, name, f"exchanged_{which}.safetensors")
    if not path.is_file():
        raise InputError(f"federation.settings.start_from: no earlier simulation {name!r} beside {folder}")
    frozen = inside(folder.parent, name, FROZEN)
    return Earlier(open_mapped(path), open_mapped(frozen) if frozen.is_file() else {})
