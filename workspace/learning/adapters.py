"""Low-rank adapters on a transformers model (Hu et al. 2021, arXiv:2106.09685), by peft."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

from torch import nn

from federation.document import shown
from federation.errors import InputError
from workspace.learning.settings import LoraSettings


def with_adapters(
    model: Any, lora: LoraSettings, target_modules: Sequence[str], head: Sequence[str]
) -> nn.Module:
    """Freeze a model and add adapters, which are trained beside its head.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Changed in place, and wrapped by what is returned.
    lora : LoraSettings
        Rank, scale, dropout, and which linear layers if not `target_modules`.
    target_modules : sequence of str
        The layers that get an adapter unless the settings name others.
    head : sequence of str
        Submodules that are trained whole.

    Raises
    ------
    InputError
        If the settings name what is no linear layer of the model.
    """
    from peft import LoraConfig, get_peft_model

    for target in lora.target_modules or ():
        _check_target(model, target)
    adapted: nn.Module = get_peft_model(
        model,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules or list(target_modules),
        ),
    )
    for name in head:
        model.get_submodule(name).requires_grad_(True)
    return adapted


def _check_target(model: nn.Module, target: str) -> None:
    found = {
        name: module for name, module in model.named_modules() if f".{name}".endswith(f".{target}") and name
    }
    where = f"task_runner.settings.lora.target_modules: {shown(target)}"
    if not found:
        linear = {
            name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear)
        }
        raise InputError(
            f"{where} is the end of no layer's name; linear ones are {', '.join(sorted(linear))}"
        )
    for name, module in found.items():
        if not isinstance(module, nn.Linear):
            raise InputError(f"{where} names {name}, which is no linear layer")


def merged(model: nn.Module) -> nn.Module:
    """Return a copy of an adapted model with the adapters added to the weights, as transformers has it."""
    return cast(nn.Module, cast(Any, copy.deepcopy(model)).merge_and_unload())
