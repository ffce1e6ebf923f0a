"""A whole federation on one machine: the aggregator, collaborators and shards of a deployment, and the same bits.

Only the transport differs: direct calls in one process, or pipes to several (`workspace.simulation.pipes`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from federation.engine.aggregator import Aggregator
from federation.engine.build import Site, build_aggregator, build_collaborator
from federation.engine.client import DirectClient
from federation.engine.members import ACTIVE
from federation.engine.results import OpenedRound, Progress
from federation.errors import ExperimentFailed, InputError
from federation.federation_file import FederationFile, open_shard, samples_of
from federation.files import write_whole
from federation.plan import CheckedPlan, plan_from_json
from federation.schema import Component, plain
from federation.tensors import Tensors, chunks, digest
from workspace.initial_exchange import (
    InitialExchange,
    build_model,
    initial_exchange,
    write_model,
)
from workspace.simulation.earlier import earlier, frozen_in
from workspace.simulation.identity import fingerprint_of, identity, require_same
from workspace.simulation.memory import peak_memory_mb
from workspace.simulation.pipes import PipeClient, PipeLink, end_with_parent, run_workers
from workspace.simulation.record import Notice, RunRecord
from workspace.simulation.run_folder import (
    BEST,
    FROZEN,
    LAST,
    METRICS,
    MODEL,
    SUMMARY,
    UNFINISHED,
    RunFolder,
    State,
    write_json,
)
from workspace.simulation.snapshot import Snapshot, Snapshots
from workspace.simulation.summary import Summary, read_summary
from workspace.simulation.turns import TurnClient, describe, take_turns


def simulate(
    plan: CheckedPlan,
    federation: FederationFile,
    folder: Path,
    processes: int = 1,
    notice: Notice | None = None,
    device: str = "auto",
    cohorts: Mapping[int, OpenedRound] | None = None,
    *,
    force: bool = False,
    resume: bool = False,
) -> Summary:
    """Run a plan over the envoys of a federation file.

    Writes ``summary.json``, ``metrics.jsonl``, ``model/`` (the best one, as a Hugging Face folder) and the exchanged tensors,
    ``exchanged_best.safetensors`` and ``exchanged_last.safetensors``, which a later plan can start from. Interrupted by Ctrl-C
    it writes what it has reached.

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
    force
        Replace what another run has left in the folder.
    resume
        Go on with the run in the folder, with the same bits; of one that has finished its summary is returned.

    Raises
    ------
    ExperimentFailed
        If too few envoys are left to go on.
    InputError
        If the folder holds another run, or what is gone on with has begun with another plan, code or data.
    """
    names = sorted(federation.envoys)
    if len(names) < plan.federation.envoys:
        raise InputError(
            f"the plan needs {plan.federation.envoys} envoys, the federation file has {len(names)}"
        )
    with RunFolder(folder).held() as own:
        goes_on = resume and own.state is not None
        if not goes_on:
            own.require_free(force)
        snapshots = Snapshots(folder / UNFINISHED)
        snapshot = snapshots.load() if goes_on else None
        device = _resolved(device)
        samples, data = _announced(federation)
        exchange = _exchange(
            plan, federation, folder, None if snapshot is None else snapshots.models(snapshot)[0]
        )
        told = identity("simulate", plan, data, device) | {
            "checkpoint": exchange.frozen_fingerprint,
            "cohorts": fingerprint_of(cohorts),
        }
        if goes_on:
            require_same(told, own.told, str(folder))
            if own.state == "finished":
                own.tidy()
                return read_summary(folder)
        if snapshot is None:
            own.begin(told)
            if exchange.frozen:
                write_whole(folder / FROZEN, chunks(exchange.frozen))
            record = RunRecord(folder / METRICS, snapshots, Snapshot(), exchange.tensors, notice)
        else:
            own.go_on()
            record = RunRecord(folder / METRICS, snapshots, snapshot, None, notice)
        finish = partial(_finish, own, plan, federation, exchange, record, snapshots, device)
        with own.ended():
            try:
                if not record.snapshot.ended:
                    progress = record.snapshot.progress(names, samples)
                    orders = _orders(plan, federation, exchange.frozen_fingerprint, device, snapshots)
                    _run(plan, names, exchange.tensors, record, progress, cohorts, orders, processes)
                summary = finish("finished")
            except KeyboardInterrupt:
                finish("interrupted")
                raise
        own.end("finished")
        return summary


def _run(
    plan: CheckedPlan,
    names: Sequence[str],
    tensors: Tensors,
    record: RunRecord,
    progress: Progress,
    cohorts: Mapping[int, OpenedRound] | None,
    orders: Mapping[str, Any],
    processes: int,
) -> None:
    """Run the rounds that are left."""
    active = [member.name for member in progress.members if member.standing == ACTIVE]
    aggregator = build_aggregator(
        plan, names, tensors, record, progress=progress, there=active, planned=cohorts
    )
    faults: list[OSError] = []

    def give_up(fault: OSError) -> None:
        faults.append(fault)
        aggregator.abort(f"the round cannot be written: {fault}")

    aggregator.on_fault = give_up
    try:
        aggregator.go_on()
        if processes == 1:
            _run_here(aggregator, orders, active)
        else:
            groups = [active[i::processes] for i in range(min(processes, len(active)))]
            run_workers(aggregator, orders, groups, _worker)
    except BaseException:
        # Nobody writes any more while it is read how far the run has come.
        aggregator.stop()
        raise
    for fault in faults:
        raise fault
    if aggregator.failure is not None:
        raise ExperimentFailed(f"the experiment failed: {aggregator.failure}")
    if not aggregator.finished:
        raise ExperimentFailed("the experiment was interrupted")


def _finish(
    own: RunFolder,
    plan: CheckedPlan,
    federation: FederationFile,
    exchange: InitialExchange,
    record: RunRecord,
    snapshots: Snapshots,
    device: str,
    state: State,
) -> Summary:
    """Write what the run has come to, the summary last; of one that was interrupted nothing is tested."""
    snapshot = snapshots.load() or Snapshot()
    last, best, best_round = exchange.tensors, exchange.tensors, -1
    last_test = best_test = None
    if snapshot.metrics_bytes:
        last, best, best_round = snapshots.models(snapshot)
        for name, tensors in ((BEST, best), (LAST, last)):
            write_whole(own.path / name, chunks(tensors))
        if state == "finished":
            last_test = _test(plan, federation, exchange, last, device)
            best_test = _test(plan, federation, exchange, best, device)
        write_model(exchange, best, own.path / MODEL, force=True)
    summary = Summary(
        plan=plan.name,
        state=state,
        rounds=plan.aggregator.rounds_to_train if state == "finished" else snapshot.round_number,
        envoys=sorted(federation.envoys),
        best_round=best_round,
        test_accuracy=(best_test or {}).get("accuracy"),
        last_test_accuracy=(last_test or {}).get("accuracy"),
        test=best_test,
        last_test=last_test,
        exchanged_sha256=digest(last),
        exchanged_bytes=sum(tensor.nbytes for tensor in last.values()),
        seconds=round(record.seconds, 1),
        peak_memory_mb=peak_memory_mb(),
    )
    write_json(own.path / SUMMARY, asdict(summary))
    return summary


def _exchange(
    plan: CheckedPlan, federation: FederationFile, folder: Path, reached: Tensors | None
) -> InitialExchange:
    """Build the model, with what the plan starts from or what was reached."""
    if reached is None:
        return initial_exchange(plan, federation.checkpoints, partial(earlier, folder))
    from workspace.learning.exchange import frozen_fingerprint, load_frozen

    recipe, model = build_model(plan, federation.checkpoints)
    frozen = frozen_in(folder)
    load_frozen(model, frozen, recipe.role)
    return InitialExchange(recipe, model, reached, frozen_fingerprint(model, recipe.role), frozen)


def _announced(federation: FederationFile) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Return what envoys would announce, samples and fingerprints; nothing of one that cannot, as its collaborator will say."""
    samples, data = {}, {}
    for name, entry in sorted(federation.envoys.items()):
        with suppress(Exception):
            shard = open_shard(entry.shard_descriptor)
            samples[name] = samples_of(shard)
            data[name] = shard.fingerprint()
    return samples, data


def _resolved(device: str) -> str:
    import torch

    if device != "auto":
        return device
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _orders(
    plan: CheckedPlan, federation: FederationFile, fingerprint: str, device: str, snapshots: Snapshots
) -> dict[str, Any]:
    """Say in plain data what a worker needs."""
    return {
        "plan": plan.to_json(),
        "name": plan.name,
        "frozen_fingerprint": fingerprint,
        "device": device,
        "checkpoints": dict(federation.checkpoints),
        "envoys": {name: plain(entry.shard_descriptor) for name, entry in federation.envoys.items()},
        "states": str(snapshots.folder.absolute()),
        "folder": str(snapshots.folder.parent.absolute()),
    }


def _run_here(aggregator: Aggregator, orders: Mapping[str, Any], names: Sequence[str]) -> None:
    clients = {name: TurnClient(DirectClient(aggregator, name)) for name in names}
    collaborators = [_collaborator(orders, name, clients[name]) for name in names]
    take_turns(collaborators, clients, aggregator.fail, aggregator.wait_for_work)


def _worker(connection: Any, orders_json: str, names: Sequence[str]) -> None:
    end_with_parent()
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
    state = str(Snapshots(Path(orders["states"])).state_of(name))
    frozen = frozen_in(Path(orders["folder"]))
    site = Site(name, orders["device"], orders["checkpoints"], orders["frozen_fingerprint"], frozen, state)
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
