"""Build an aggregator or a collaborator from a checked plan, through OpenFL's own ``Plan``.

OpenFL's ``Plan`` imports and calls every dotted name that it holds, changes its configuration while it builds and caches what
it built. Hence: only a checked plan comes here (`federation.plan`), each build has a ``Plan`` of its own, and what a plan may
not say (cohort, seed, record) is put in by us.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openfl.federated import Plan

from federation.engine.aggregator import Aggregator
from federation.engine.client import AggregatorClient
from federation.engine.collaborator import Collaborator
from federation.engine.members import Member
from federation.engine.results import OpenedRound, Progress, Record
from federation.plan import CheckedPlan
from federation.tensors import Tensors


@dataclass(frozen=True)
class Site:
    """What learning code must know of the place where it runs.

    ``checkpoints`` maps hub ids to local folders; ``frozen_fingerprint`` is that of the workspace's model, which this site's
    must equal (None: do not compare); ``frozen`` is what of its frozen part no checkpoint holds; ``state`` is a folder of this
    site and experiment for what must outlive a process, such as personal layers (None: there is only this process).
    """

    name: str
    device: str = "cpu"
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    frozen_fingerprint: str | None = None
    frozen: Tensors = field(default_factory=dict)
    state: str | None = None


def build_aggregator(
    plan: CheckedPlan,
    envoys: Sequence[str],
    tensors: Tensors,
    record: Record,
    *,
    progress: Progress | None = None,
    there: Sequence[str] | None = None,
    planned: Mapping[int, OpenedRound] | None = None,
    callbacks: Sequence[Any] = (),
    samples: Mapping[str, Mapping[str, int]] | None = None,
) -> Aggregator:
    """Build the aggregator of an experiment, starting from the exchanged tensors; its `go_on` begins.

    Parameters
    ----------
    plan
        Checked.
    envoys
        The experiment's.
    tensors
        The exchanged ones.
    record
        Where it writes.
    progress
        Where it goes on; a new one by default.
    there
        Those of the envoys that are there; all by default.
    planned
        The cohorts of rounds that have been run already, in the place of draws.
    callbacks
        OpenFL's.
    samples
        How many the envoys have by split, where there is no progress that says it.
    """
    known = samples or {}
    members = tuple(Member(name, samples=known.get(name)) for name in sorted(envoys))
    # What runs at the sites is their affair: OpenFL must not see here what was not checked here.
    openfl_plan = _openfl_plan(plan, sorted(envoys), without=("collaborator", "data_loader", "task_runner"))
    openfl_plan.config["assigner"]["settings"]["seed"] = plan.federation.seed
    openfl_plan.config["aggregator"]["settings"].update(
        record=record,
        federation=plan.federation,
        progress=progress or Progress(members=members),
        there=list(envoys if there is None else there),
        planned=planned,
        callbacks=callbacks,
        most_seen=plan.most_seen,
    )
    aggregator: Aggregator = openfl_plan.get_aggregator(tensor_dict=tensors)
    return aggregator


def build_collaborator(plan: CheckedPlan, shard: Any, client: AggregatorClient, site: Site) -> Collaborator:
    """Build the collaborator of an experiment over an opened shard."""
    openfl_plan = _openfl_plan(plan, [site.name])
    openfl_plan.cols_data_paths = {site.name: shard}
    openfl_plan.config["task_runner"]["settings"].update(
        classes=list(plan.federation.classes),
        rounds=plan.aggregator.rounds_to_train,
        seed=plan.federation.seed,
        torch_threads=plan.federation.torch_threads,
        metrics=plan.federation.metrics,
        site=site,
    )
    collaborator: Collaborator = openfl_plan.get_collaborator(site.name, client=client)
    return collaborator


def _openfl_plan(plan: CheckedPlan, cohort: Sequence[str], without: Sequence[str] = ()) -> Any:
    openfl_plan = Plan()
    openfl_plan.name = plan.name
    left_out = ("federation", *without)
    openfl_plan.config = copy.deepcopy({k: v for k, v in plan.config.items() if k not in left_out})
    # OpenFL resolves an address; ours is the director's, and no part of a plan.
    openfl_plan.config["network"] = {"settings": {"agg_addr": "localhost", "agg_port": 0}}
    openfl_plan.authorized_cols = list(cohort)
    Plan._ensure_settings_in_sections(openfl_plan)
    openfl_plan.resolve()
    return openfl_plan
