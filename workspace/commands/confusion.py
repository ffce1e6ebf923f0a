"""The confusion matrix of a measured model, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.tables import NOTHING, has_room, print_table

if TYPE_CHECKING:
    from workspace.learning.evaluation import Measurement


def print_confusion(measured: Measurement) -> None:
    """Print the matrix with the recall of each class; on a terminal that is too narrow for it, what each was taken for."""
    if not measured.confusion:
        return
    columns = ["true / predicted", "recall", *measured.classes]
    recall = [
        f"{measured.recall[name]:.3f}" if name in measured.recall else NOTHING for name in measured.classes
    ]
    lines = list(zip(measured.classes, recall, measured.confusion, strict=True))
    rows = [[name, share, *map(str, counts)] for name, share, counts in lines]
    if has_room(columns, rows):
        print_table(columns, rows, "", right=columns[1:])
        return
    errors = [
        [name, share, str(sum(counts)), _taken_for(at, counts, measured.classes)]
        for at, (name, share, counts) in enumerate(lines)
    ]
    print_table(
        ["true", "recall", "samples", "taken for"],
        errors,
        "",
        wraps=["true", "taken for"],
        right=["recall", "samples"],
    )


def _taken_for(at: int, counts: list[int], classes: list[str]) -> str:
    """Name the classes that samples of one class were taken for wrongly, the most frequent first."""
    wrong = {name: counts[i] for i, name in enumerate(classes) if i != at and counts[i]}
    told = sorted(wrong.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {count}" for name, count in told) or NOTHING
