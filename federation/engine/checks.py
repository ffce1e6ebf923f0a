"""What a result must be before it is recorded, and the metrics that come from its sums."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from federation import statistics as sums
from federation.engine.norms import norm
from federation.engine.results import TaskOutput
from federation.errors import Refused
from federation.tensors import Tensors, TensorSpec, check_update


def check_result(
    task: str,
    data_size: int,
    output: TaskOutput,
    expected: Mapping[str, TensorSpec] | None,
    kind: str,
    classes: Sequence[str],
    most: int | None = None,
) -> Mapping[str, float]:
    """Check a task's result; return its metrics.

    Parameters
    ----------
    task
        Its name.
    data_size
        How many samples are said.
    output
        What was sent.
    expected
        The tensors that it must bring; None for a task that does not train.
    kind, classes
        Of the statistics.
    most
        So many samples its collaborator can have used, by what it announced; None if that is not known.

    Raises
    ------
    Refused
        If it is not what the task must send.
    """
    # A site may hold no validation samples, but an update of no sample has no weight.
    if not int(expected is not None) <= data_size <= sums.MOST_COUNTED:
        raise Refused(f"{task}: a sample count of {data_size} is not possible")
    check_update(output.tensors, expected or {})
    try:
        sums.check(kind, output.statistics, len(classes))
    except Exception as error:
        # Not only what a check refuses: a package's kind may meet sums that it cannot reckon with.
        raise Refused(f"{task}: {error}") from error
    if int(output.statistics["samples"]) != data_size:
        raise Refused(f"{task}: {data_size} samples are said, {int(output.statistics['samples'])} counted")
    if most is not None and data_size > most:
        raise Refused(
            f"{task}: {data_size} samples are said, where what was announced makes at most {most}; if the experiment sees each "
            "sample more often than its epochs say, its package must state the enlargement"
        )
    try:
        return derive(output.statistics, kind, classes)
    except Exception as error:
        raise Refused(f"{task}: no metrics come from its statistics: {error}") from error


def norm_of(output: TaskOutput, model: Tensors) -> float:
    """Return the norm of an update less the model that it was trained from, unless it is known already.

    Raises
    ------
    Refused
        If it is so far out that float64 has no number for it.
    """
    found = norm(output.tensors, model) if output.norm is None else output.norm
    if not math.isfinite(found):
        raise Refused("the norm of the update is not finite")
    return found


def derive(statistics: Tensors, kind: str, classes: Sequence[str]) -> dict[str, float]:
    """Derive the metrics of sums; none of no sample."""
    return sums.derive(kind, statistics, classes) if int(statistics["samples"]) else {}


def derive_total(outputs: Sequence[TaskOutput], kind: str, classes: Sequence[str]) -> dict[str, float]:
    """Derive the metrics of the sums of several sites; none of no site."""
    if not outputs:
        return {}
    total = outputs[0].statistics
    for output in outputs[1:]:
        total = sums.add(total, output.statistics)
    return derive(total, kind, classes)
