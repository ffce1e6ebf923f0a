"""The settings that experiments share: how a site trains in each round, checkpoints, adapters. Needs no torch to check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from federation.patterns import pattern

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, le=65_536)]
Sizes = Annotated[list[Size], Field(min_length=1, max_length=1000)]
ModuleName = Annotated[str, Field(min_length=1, max_length=200)]
Probability = Annotated[float, Field(ge=0, le=1)]
HubId = Annotated[
    str,
    pattern(
        r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        "the id of a checkpoint, such as facebook/wav2vec2-base; each site maps it to a folder of its own, in `checkpoints` of "
        "its config or of the federation file",
        max_length=200,
    ),
]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Optimiser, schedule and batches.

    Parameters
    ----------
    learning_rate : float
        The peak of the schedule.
    weight_decay : float
        AdamW's, on tensors of two and more dimensions (biases and norms are left alone).
    beta2 : float
        AdamW's memory of squared gradients; an optimiser that starts anew each round wants a short one.
    schedule : {"one_cycle", "linear", "constant"}
        The learning rate over the whole experiment: up by a half cosine and down by one, up and down in
        straight lines, or up and then level.
    warmup : float
        The share of the experiment in which the learning rate rises.
    epochs : int
        Passes over a site's training samples in each round.
    batch_size : int
        Samples in one forward pass.
    accumulation : int
        Forward passes whose gradients make one step: the effective batch is ``batch_size * accumulation``.
    max_grad_norm : float or None
        Gradients are scaled down to this norm.
    label_smoothing : float
        The share of the target that is spread over all classes while training.
    autocast : {"none", "bf16"}
        Computing in bfloat16; on a GPU only.
    evaluation_batch_size : int
        Samples in one forward pass of validation.
    """

    # However large, it costs neither time nor memory: that training diverges is said where it does.
    learning_rate: Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)] = 3e-5
    weight_decay: Share = 0.01
    beta2: Share = 0.999
    schedule: Literal["one_cycle", "linear", "constant"] = "linear"
    warmup: Share = 0.1
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    batch_size: Size = 32
    accumulation: Size = 1
    max_grad_norm: Positive | None = 1.0
    label_smoothing: Share = 0.0
    autocast: Literal["none", "bf16"] = "none"
    evaluation_batch_size: Size = 64


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
    target_modules: Annotated[list[ModuleName], Field(min_length=1, max_length=1000)] | None = None

    def refuse_unless_in(self, linear: frozenset[str]) -> None:
        """Refuse targets that are the end of no linear layer's name; which there are is the architecture's.

        Raises
        ------
        ValueError
            In one line that begins with the setting.
        """
        for target in self.target_modules or ():
            if target.rpartition(".")[2] not in linear:
                known = ", ".join(sorted(linear))
                raise ValueError(
                    f"lora.target_modules: {target[:50]!r} is the end of no linear layer's name; they are {known}"
                )
