"""Types and settings that several experiments share: sizes, checkpoints, adapters. Needs no torch to check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from workspace.settings.training import Positive, Share

Size = Annotated[int, Field(ge=1)]
Sizes = Annotated[list[Size], Field(min_length=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
HubId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=200)
]


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters (peft): they and the head are trained and travel, all else stays frozen.

    Parameters
    ----------
    rank, alpha, dropout
        As ``peft.LoraConfig`` has them.
    target_modules : list of str or None
        The ends of the names of the linear layers that get an adapter; none means the attention's query and value.
    """

    rank: Size = 8
    alpha: Positive = 16.0
    dropout: Share = 0.0
    target_modules: Annotated[list[str], Field(min_length=1)] | None = None
