"""What travels: the trainable tensors and nothing else; what stays is known by its fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import InputError
from tests.learning_parts import Tones, small_recipe
from workspace.learning.exchange import (
    exchanged_tensors,
    frozen_fingerprint,
    load_exchanged,
    load_local,
    local_tensors,
    tensor_specs,
)
from workspace.learning.recipe import Role, role_by_gradient
from workspace.learning.training import initial_model


class Tied(nn.Module):
    """A model with a shared, a frozen and an integer tensor, and a buffer of floats."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.norm = nn.BatchNorm1d(3)


def test_a_round_trip_restores_every_trained_tensor_bit_by_bit() -> None:
    one, other = initial_model(small_recipe(), seed=1), initial_model(small_recipe(), seed=2)
    sent = exchanged_tensors(one)
    load_exchanged(other, sent)
    restored = exchanged_tensors(other)
    assert list(restored) == sorted(sent)
    assert all(np.array_equal(restored[name], sent[name]) for name in sent)
    clips = small_recipe().collate(Tones(3), None)["input_values"]
    with torch.inference_mode():
        assert torch.equal(one.eval()(clips).logits, other.eval()(clips).logits)


def test_both_parts_of_a_normalised_weight_travel() -> None:
    names = list(exchanged_tensors(initial_model(small_recipe(), 1)))
    assert [name for name in names if "pos_conv_embed.conv.parametrizations.weight.original0" in name]
    assert [name for name in names if "pos_conv_embed.conv.parametrizations.weight.original1" in name]


def test_a_shared_tensor_travels_once_and_frozen_ones_and_buffers_stay() -> None:
    model = Tied()
    assert list(exchanged_tensors(model)) == ["embedding.weight", "norm.bias", "norm.weight"]
    assert {name: spec.shape for name, spec in tensor_specs(model).items()} == {
        "embedding.weight": (5, 3),
        "norm.bias": (3,),
        "norm.weight": (3,),
    }


def test_what_travels_is_float32_and_a_copy() -> None:
    model = Tied().to(torch.bfloat16)
    sent = exchanged_tensors(model)
    kept = sent["norm.weight"].copy()
    with torch.no_grad():
        model.norm.weight.add_(1)
    assert sent["norm.weight"].dtype == np.float32
    np.testing.assert_array_equal(sent["norm.weight"], kept)


def test_read_only_tensors_can_be_loaded() -> None:
    model = Tied()
    tensors = {name: value + 1 for name, value in exchanged_tensors(model).items()}
    for value in tensors.values():
        value.flags.writeable = False
    load_exchanged(model, tensors)
    np.testing.assert_array_equal(exchanged_tensors(model)["norm.bias"], tensors["norm.bias"])


def test_tensors_of_another_model_are_not_loaded() -> None:
    model = Tied()
    tensors = exchanged_tensors(model)
    for wrong, message in (
        ({**tensors, "extra": np.zeros(1, np.float32)}, "'extra'"),
        ({name: value for name, value in tensors.items() if name != "norm.bias"}, "'norm.bias'"),
        (
            {**tensors, "norm.bias": np.zeros(4, np.float32)},
            r"'norm.bias' has shape \[4\], the model's \[3\]",
        ),
    ):
        with pytest.raises(InputError, match=message):
            load_exchanged(model, wrong)
    np.testing.assert_array_equal(exchanged_tensors(model)["norm.bias"], tensors["norm.bias"])


def test_the_fingerprint_follows_every_frozen_float_and_no_trained_one() -> None:
    model = Tied()
    original = frozen_fingerprint(model)
    with torch.no_grad():
        model.embedding.weight.add_(1)
        model.norm.num_batches_tracked.add_(1)
    assert frozen_fingerprint(model) == original
    for tensor in (model.frozen.weight, model.norm.running_mean):
        with torch.no_grad():
            tensor.view(-1)[0].add_(1e-6)
        changed = frozen_fingerprint(model)
        assert changed != original
        original = changed


def test_the_fingerprint_tells_a_frozen_feature_encoder_of_another_start() -> None:
    recipe = small_recipe(freeze_feature_encoder=True)
    one, same, other = (frozen_fingerprint(initial_model(recipe, seed)) for seed in (1, 1, 2))
    assert one == same != other


def norm_is_personal(name: str, tensor: torch.Tensor) -> Role:
    return "local" if name.startswith("norm") else role_by_gradient(name, tensor)


def statistics_travel(name: str, tensor: torch.Tensor) -> Role:
    return "exchanged" if "running" in name else role_by_gradient(name, tensor)


def test_a_recipe_may_let_buffers_travel() -> None:
    names = list(exchanged_tensors(Tied(), statistics_travel))
    assert names == ["embedding.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.weight"]


def test_what_is_a_sites_own_neither_travels_nor_must_agree() -> None:
    model = Tied()
    assert list(exchanged_tensors(model, norm_is_personal)) == ["embedding.weight"]
    fingerprint = frozen_fingerprint(model, norm_is_personal)
    own = local_tensors(model, norm_is_personal)
    assert list(own) == ["norm.bias", "norm.running_mean", "norm.running_var", "norm.weight"]
    load_local(model, {name: value + 1 for name, value in own.items()}, norm_is_personal)
    assert frozen_fingerprint(model, norm_is_personal) == fingerprint
    np.testing.assert_array_equal(local_tensors(model, norm_is_personal)["norm.bias"], own["norm.bias"] + 1)
