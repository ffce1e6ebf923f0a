"""Who does what in a round.

Replaces OpenFL's ``RandomGroupedAssigner``, which shuffles unseeded (so the order of sums changes) and assigns every round
ahead (so a cohort that changes is a KeyError). Here the cohort is sorted, each round is decided when it is asked for, and
groups are drawn from the plan's seed and the round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from openfl.component import Assigner


class CohortAssigner(Assigner):
    """Assigns groups of tasks to shares of the cohort, and a validation of the last aggregate after the last round.

    Parameters
    ----------
    task_groups
        Groups as OpenFL writes them: ``name``, ``percentage`` of the cohort, ``tasks``.
    seed
        Of the plan; decides, with the round, who is in which group.
    **kwargs
        What OpenFL's plan gives: ``tasks``, ``authorized_cols``, ``rounds_to_train``.
    """

    def __init__(self, task_groups: Sequence[Mapping[str, Any]], seed: int = 0, **kwargs: Any) -> None:
        self.task_groups = list(task_groups)
        self.seed = seed
        self._grouped: tuple[int, list[str], dict[str, list[str]]] | None = None
        super().__init__(**kwargs)

    def define_task_assignments(self) -> None:
        """Name the tasks; who does them is decided round by round."""
        self.all_tasks_in_groups = list(
            dict.fromkeys(task for group in self.task_groups for task in group["tasks"])
        )

    def get_all_tasks_for_round(self, round_number: int) -> list[str]:
        """Return the tasks of a round; after the last training round only the aggregate's validation is left."""
        if round_number < self.rounds:
            return list(self.all_tasks_in_groups)
        return [task for task in self.all_tasks_in_groups if validates_the_aggregate(self.tasks[task])]

    def get_tasks_for_collaborator(self, collaborator_name: str, round_number: int) -> list[str]:
        """Return the tasks of one collaborator in a round, in the order of its group."""
        tasks = set(self.get_all_tasks_for_round(round_number))
        return [task for task in self._groups(round_number).get(collaborator_name, []) if task in tasks]

    def get_collaborators_for_task(self, task_name: str, round_number: int) -> list[str]:
        """Return the collaborators that do a task in a round, sorted."""
        return [
            name
            for name in sorted(self.authorized_cols)
            if task_name in self.get_tasks_for_collaborator(name, round_number)
        ]

    def _groups(self, round_number: int) -> dict[str, list[str]]:
        """Return the tasks of each; asked for whenever something of a round happens, and the same for all of it."""
        names = sorted(self.authorized_cols)
        if self._grouped is None or self._grouped[:2] != (round_number, names):
            self._grouped = round_number, names, self._divided(names, round_number)
        return self._grouped[2]

    def _divided(self, names: list[str], round_number: int) -> dict[str, list[str]]:
        if len(self.task_groups) == 1:
            return {name: list(self.task_groups[0]["tasks"]) for name in names}
        shuffled = [
            names[i] for i in np.random.default_rng([self.seed, round_number]).permutation(len(names))
        ]
        bounds = np.cumsum([0.0] + [group["percentage"] for group in self.task_groups])
        edges = np.rint(bounds / bounds[-1] * len(names)).astype(int)
        return {
            name: list(group["tasks"])
            for group, start, end in zip(self.task_groups, edges[:-1], edges[1:], strict=True)
            for name in shuffled[start:end]
        }


def validates_the_aggregate(task: Mapping[str, Any]) -> bool:
    """Tell whether a plan's task measures the aggregated model (and not a site's own)."""
    return bool(
        task["function"] == "validate_task" and task.get("kwargs", {}).get("apply", "global") == "global"
    )
