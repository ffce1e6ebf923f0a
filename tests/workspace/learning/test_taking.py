"""A part of an earlier model begins a new one: what fits is taken, the rest is new, and nothing that fits is an error."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import InputError
from workspace.learning.exchange import exchanged_tensors, frozen_fingerprint, frozen_tensors, load_frozen
from workspace.learning.recipe import Role, role_by_gradient
from workspace.learning.taking import plain_name, take

PARTS = {"encoder": ("encoder.*",), "head": ("head.*",)}


class Small(nn.Module):
    """An encoder and a head of as many classes."""

    def __init__(self, seed: int, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5))
        self.head = nn.Linear(5, classes)


def role(name: str, tensor: torch.Tensor) -> Role:
    return role_by_gradient(name, tensor)


def test_a_part_is_taken_by_its_name_and_the_rest_is_new() -> None:
    earlier, model = Small(1), Small(2, classes=7)
    before = copy.deepcopy(model)
    taken = take(model, exchanged_tensors(earlier), ["encoder"], PARTS, role)
    assert torch.equal(model.encoder[1].weight, earlier.encoder[1].weight)
    assert torch.equal(model.head.weight, before.head.weight)
    assert list(taken.taken) == ["encoder.0.bias", "encoder.0.weight", "encoder.1.bias", "encoder.1.weight"]
    assert list(taken.new) == ["head.bias", "head.weight"]
    said = "encoder.0.bias, encoder.0.weight, encoder.1.bias and 1 more taken; new by the seed: head.bias, head.weight"
    assert str(taken) == said


def test_tensors_are_taken_by_patterns_of_their_names() -> None:
    earlier, model = Small(1), Small(2)
    taken = take(model, exchanged_tensors(earlier), ["*.weight", "head.bias"], PARTS, role)
    assert set(taken.new) == {"encoder.0.bias", "encoder.1.bias"}
    assert torch.equal(model.head.bias, earlier.head.bias)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("encodr", r"nothing fits 'encodr': .*parts are encoder, head; did you mean encoder"),
        (
            "backbone.*",
            r"nothing fits 'backbone\.\*': the earlier model has encoder.0.bias.*, this one encoder",
        ),
        ("head", r"nothing fits 'head': head.bias has the shape \[3\] there and \[7\] here"),
    ],
)
def test_nothing_that_fits_is_an_error_that_says_what_there_is(wanted: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        take(Small(2, classes=7), exchanged_tensors(Small(1)), ["encoder", wanted], PARTS, role)


def test_what_adapters_add_to_names_does_not_count() -> None:
    assert plain_name("base_model.model.wav2vec2.q.base_layer.weight") == "wav2vec2.q.weight"
    earlier, model = Small(1), Small(2)
    wrapped = {f"base_model.model.{name}": value for name, value in exchanged_tensors(earlier).items()}
    take(model, wrapped, ["encoder"], PARTS, role)
    assert torch.equal(model.encoder[0].weight, earlier.encoder[0].weight)


def test_what_is_taken_and_frozen_travels_by_value() -> None:
    """A site builds the same model of another seed, and has the same frozen part when it has set what has travelled."""
    earlier, model, site = Small(1), Small(2), Small(3)
    for one in (model, site):
        one.encoder.requires_grad_(False)
    taken = take(model, exchanged_tensors(earlier), ["encoder"], PARTS, role)
    frozen = frozen_tensors(model, taken.taken, role)
    assert set(frozen) == set(taken.taken)
    assert frozen_fingerprint(site) != frozen_fingerprint(model)
    load_frozen(site, frozen)
    assert frozen_fingerprint(site) == frozen_fingerprint(model)
    assert frozen_tensors(model, ["head.weight"], role) == {}, "what is trained travels in each round"


@pytest.mark.parametrize("name", ["head.weight", "decoder.weight"])
def test_nothing_but_a_models_own_frozen_tensors_comes_by_value(name: str) -> None:
    model = Small(2)
    model.encoder.requires_grad_(False)
    with pytest.raises(InputError, match="are not this model's"):
        load_frozen(model, {name: np.ones((3, 5), np.float32)})
