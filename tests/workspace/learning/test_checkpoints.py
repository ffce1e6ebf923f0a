"""Checkpoints in the form in which they were once published: pickled, of the pre-training model, with older tensor names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForPreTraining,
    BertForSequenceClassification,
    Wav2Vec2ForPreTraining,
    Wav2Vec2ForSequenceClassification,
)

from tests.learning_parts import small_recipe
from workspace.learning.checkpoints import load_pretrained
from workspace.learning.training import initial_model

SMALL_BERT = BertConfig(
    vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
)


def small_wav2vec2() -> Any:
    network: Any = initial_model(small_recipe(), seed=5)
    return Wav2Vec2ForPreTraining(network.config)


@pytest.mark.parametrize(
    ("published", "model_class", "encoder", "head", "old_names"),
    [
        pytest.param(
            small_wav2vec2,
            Wav2Vec2ForSequenceClassification,
            "wav2vec2",
            ("projector", "classifier"),
            {
                "parametrizations.weight.original0": "weight_g",
                "parametrizations.weight.original1": "weight_v",
            },
            id="facebook/wav2vec2-base",
        ),
        pytest.param(
            lambda: BertForPreTraining(SMALL_BERT),
            BertForSequenceClassification,
            "bert",
            ("classifier",),
            {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"},
            id="bert-base-uncased",
        ),
    ],
)
def test_an_encoder_is_read_from_files_with_older_names(
    published: Any,
    model_class: Any,
    encoder: str,
    head: tuple[str, ...],
    old_names: dict[str, str],
    tmp_path: Path,
) -> None:
    model = published()
    weights = model.state_dict()
    for new, old in old_names.items():
        assert any(new in name for name in weights)
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    model.config.save_pretrained(tmp_path)
    torch.save(weights, tmp_path / "pytorch_model.bin")
    loaded = load_pretrained(model_class, tmp_path, head).state_dict()
    for name, tensor in getattr(model, encoder).state_dict().items():
        torch.testing.assert_close(loaded[f"{encoder}.{name}"], tensor, rtol=0, atol=0)
