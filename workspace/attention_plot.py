"""Attention maps as pictures: who looks at whom, with the tokens as labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workspace.learning.recipe import AttentionMap

CELL_INCHES = 0.28
MOST_COLUMNS = 4


def draw_attention(maps: Sequence[AttentionMap]) -> Any:
    """Draw attention maps side by side.

    Parameters
    ----------
    maps
        At least one.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it; `save_attention` writes it.
    """
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, len(maps))
    rows = math.ceil(len(maps) / columns)
    width = max(2.5, CELL_INCHES * max(len(one.columns) for one in maps) + 1.5)
    height = max(2.5, CELL_INCHES * max(len(one.rows) for one in maps) + 1.5)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, one in zip(axes, maps, strict=False):
        axis.imshow(one.weights, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        axis.set_title(one.title, fontsize=9)
        axis.set_xticks(range(len(one.columns)), one.columns, rotation=90, fontsize=8)
        axis.set_yticks(range(len(one.rows)), one.rows, fontsize=8)
    for axis in axes[len(maps) :]:
        axis.set_visible(False)
    return figure


def save_attention(maps: Sequence[AttentionMap], file: Path) -> None:
    """Write attention maps as a PNG; its folder is made if it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draw_attention(maps).savefig(file, dpi=120, format="png")
