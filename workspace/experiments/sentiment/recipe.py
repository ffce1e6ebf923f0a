"""Sentiment: a BERT or DistilBERT encoder that puts sentences into classes, after Alammar's visual guide.

(a) ``strategy: features`` trains a logistic regression on the first token's hidden state in the frozen encoder, (b)
``strategy: full`` trains everything, (c) with ``lora`` low-rank adapters and the head.

Plain PyTorch and transformers. To train it without any federation::

    recipe = Sentiment(settings, classes=("negative", "positive"), checkpoints={})
    model = initial_model(recipe, seed=1)
    train_round(recipe, model, split, settings, rounds=1, round_number=0, seed=1, site="here", device="cpu")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DistilBertConfig,
)

from federation import statistics
from federation.document import shown
from federation.errors import InputError
from workspace.experiments.sentiment.encoder_attention import AttentionOptions, attention_maps
from workspace.experiments.sentiment.first_token import check_room, first_token_logits, folded, start_at_zero
from workspace.experiments.sentiment.settings import SHORTEST, SentimentSettings
from workspace.experiments.sentiment.word_pieces import make_tokenizer
from workspace.learning.adapters import merged, with_adapters
from workspace.learning.checkpoints import checkpoint_folder, load_pretrained, reading
from workspace.learning.recipe import AttentionMap, Batch, Prediction, Recipe, Sample

Array = npt.NDArray[Any]

CONFIGS: Mapping[str, Any] = {"distilbert": DistilBertConfig, "bert": BertConfig}
HEAD = {"distilbert": ("pre_classifier", "classifier"), "bert": ("bert.pooler", "classifier")}
ATTENTION = {"distilbert": ("q_lin", "v_lin"), "bert": ("query", "value")}
DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout": "seq_classif_dropout",
}
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")
UNKNOWN = "\N{SNOWMAN}"
FINGERPRINT = "tokenizer_fingerprint"

# What transformers raises for files or settings that make no model.
_NO_MODEL = (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError, StrictDataclassError)


class Sentiment(Recipe):
    """The recipe of sentence classification (`workspace.learning.recipe.Recipe`).

    Parameters
    ----------
    settings : SentimentSettings
        As the plan gives them.
    classes : sequence of str
        In the order of the labels.
    checkpoints : mapping of str to str
        Hub ids and the local folders that hold them.

    Raises
    ------
    InputError
        If there is no checkpoint of this name, no tokenizer, or it does not fit the model.
    """

    options = AttentionOptions
    parts = {
        "encoder": ("distilbert.*", "bert.embeddings.*", "bert.encoder.*"),
        "head": ("pre_classifier.*", "classifier.*", "bert.pooler.*"),
    }

    def __init__(
        self, settings: SentimentSettings, classes: Sequence[str], checkpoints: Mapping[str, str]
    ) -> None:
        self.settings = settings
        self.classes = tuple(classes)
        self._checkpoint = (
            checkpoint_folder(settings.checkpoint, checkpoints) if settings.checkpoint else None
        )
        try:
            with reading("config or tokenizer"):
                self.architecture = self._find_architecture()
                self.tokenizer = self._load_tokenizer()
                self._config = self._make_config()
        except _NO_MODEL as error:
            raise self._no_model(error) from error
        self.max_tokens = self._longest()
        if settings.strategy == "features":
            check_room(self._config.hidden_size, len(self.classes))

    def build_model(self) -> nn.Module:
        """Build the model from its checkpoint, or with random weights; see `Recipe`.

        Raises
        ------
        InputError
            If the checkpoint's files or the plan's overrides make no model.
        """
        try:
            model = self._random_model() if self._checkpoint is None else self._pretrained_model()
        except _NO_MODEL as error:
            raise self._no_model(error) from error
        # Frozen, so that a site whose tokenizer differs from the workspace's is found out before it trains.
        model.register_buffer(FINGERPRINT, _fingerprint(self.tokenizer))
        if self.settings.strategy == "features":
            start_at_zero(model)
        if self.settings.lora is None:
            return cast(nn.Module, model)
        return with_adapters(model, self.settings.lora, ATTENTION[self.architecture], HEAD[self.architecture])

    def collate(self, samples: Sequence[Sample], generator: np.random.Generator | None) -> Batch:
        """Tokenize sentences and pad them to the longest; with a generator, words may drop out."""
        encoded = self.tokenizer(
            [sample["text"] for sample in samples],
            truncation=True,
            max_length=self.max_tokens,
            padding=True,
            return_tensors="np",
        )
        ids = encoded["input_ids"].astype(np.int64)
        if generator is not None and self.settings.word_dropout:
            dropped = generator.random(ids.shape) < self.settings.word_dropout
            dropped &= ~np.isin(ids, self.tokenizer.all_special_ids)
            ids[dropped] = self.tokenizer.unk_token_id
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(encoded["attention_mask"].astype(np.int64)),
            "labels": torch.tensor([sample["label"] for sample in samples], dtype=torch.int64),
        }

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, Array]]:
        """Return the mean cross-entropy of a batch and its statistics; see `Recipe`."""
        labels = batch["labels"]
        logits = self._logits(model, batch)
        smoothing = self.settings.label_smoothing if model.training else 0.0
        losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        sums = statistics.classification(
            labels.cpu().numpy(),
            logits.argmax(-1).cpu().numpy(),
            losses.detach().cpu().numpy(),
            len(self.classes),
        )
        return losses.mean(), sums

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that ``transformers.pipeline("text-classification")`` loads, with the tokenizer."""
        whole: Any = merged(model) if self.settings.lora else model
        if self.settings.strategy == "features":
            whole = folded(whole)
        weights = {name: tensor for name, tensor in whole.state_dict().items() if name != FINGERPRINT}
        whole.save_pretrained(folder, state_dict=weights)
        self.tokenizer.model_max_length = self.max_tokens
        self.tokenizer.save_pretrained(folder)

    def predict(
        self, model: nn.Module, inputs: Sequence[str], options: Any, attention: bool = False
    ) -> list[Prediction]:
        """Classify each text; attention maps are of the encoder's layers and heads, the tokens their labels."""
        device = next(model.parameters()).device
        predictions = []
        for number, text in enumerate(inputs, 1):
            if not text.strip():
                raise InputError(f"input {number} is empty: give a sentence")
            batch = self.collate([{"text": text, "label": 0}], None)
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            with torch.inference_mode():
                logits = self._logits(model, batch)[0]
            scores = dict(zip(self.classes, logits.softmax(-1).tolist(), strict=True))
            maps = self._attention(model, batch, options) if attention else []
            predictions.append(Prediction(text, max(scores, key=scores.__getitem__), scores, maps))
        return predictions

    def _logits(self, model: Any, batch: Batch) -> torch.Tensor:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if self.settings.strategy == "features":
            return first_token_logits(model, ids, mask).float()
        return cast(torch.Tensor, model(input_ids=ids, attention_mask=mask).logits.float())

    def _attention(self, model: Any, batch: Batch, options: AttentionOptions) -> list[AttentionMap]:
        plain = model.get_base_model() if self.settings.lora else model
        tokens = self.tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
        return attention_maps(plain, batch["input_ids"], batch["attention_mask"], tokens, options)

    def _find_architecture(self) -> str:
        if self._checkpoint is None:
            return (self.settings.model and self.settings.model.architecture) or "distilbert"
        found = str(AutoConfig.from_pretrained(self._checkpoint).model_type)
        if found not in CONFIGS:
            raise InputError(
                f"checkpoint {self.settings.checkpoint}: is a model of the kind {found}; known are {', '.join(CONFIGS)}"
            )
        return found

    def _load_tokenizer(self) -> Any:
        if self._checkpoint and any((self._checkpoint / name).is_file() for name in TOKENIZER_FILES):
            tokenizer = AutoTokenizer.from_pretrained(self._checkpoint)
            # The class is told by the first token, so that padding may only come after the sentence.
            tokenizer.padding_side = "right"
            longest: Any = tokenizer.model_max_length
            if not isinstance(longest, int | float) or longest < SHORTEST:
                file = self._checkpoint / "tokenizer_config.json"
                hint = f"it must be at least {SHORTEST}: a word and the marks before and after it"
                raise InputError(f"{file}: model_max_length is {shown(longest)}; {hint}")
            # What a vocabulary lacks, a tokenizer complains of only when it is met.
            tokenizer(UNKNOWN)
            if not tokenizer.is_fast or tokenizer.pad_token_id is None or tokenizer.unk_token_id is None:
                raise InputError(
                    f"checkpoint {self.settings.checkpoint}: its tokenizer ({type(tokenizer).__name__}) cannot be used; "
                    "it must be a fast one that has tokens for padding and for what is unknown"
                )
            return tokenizer
        if self.settings.vocabulary is None:
            raise InputError(
                f"checkpoint {self.settings.checkpoint}: holds no tokenizer ({' or '.join(TOKENIZER_FILES)}); add it, "
                "or set vocabulary_file in the plan"
            )
        return make_tokenizer(self.settings.vocabulary, self.architecture)

    def _make_config(self) -> Any:
        given = asdict(self.settings.model) if self.settings.model else {}
        given.pop("architecture", None)
        names = DISTILBERT_NAMES if self.architecture == "distilbert" else {}
        keys = {names.get(key, key): value for key, value in given.items() if value is not None}
        keys["id2label"] = dict(enumerate(self.classes))
        keys["label2id"] = {name: index for index, name in enumerate(self.classes)}
        if self._checkpoint is None:
            keys |= {"vocab_size": len(self.tokenizer), "pad_token_id": self.tokenizer.pad_token_id}
            return CONFIGS[self.architecture](**keys)
        config = AutoConfig.from_pretrained(self._checkpoint, **keys)
        if len(self.tokenizer) > config.vocab_size:
            raise InputError(
                f"checkpoint {self.settings.checkpoint}: its tokenizer has {len(self.tokenizer)} tokens, the model "
                f"{config.vocab_size}; use the one that it was trained with"
            )
        return config

    def _longest(self) -> int:
        positions = int(self._config.max_position_embeddings)
        if (self.settings.max_tokens or 0) > positions:
            raise InputError(
                f"task_runner.settings.max_tokens: {self.settings.max_tokens} are more than the model's {positions} positions"
            )
        return min(self.settings.max_tokens or positions, int(self.tokenizer.model_max_length), positions)

    def _random_model(self) -> Any:
        return AutoModelForSequenceClassification.from_config(self._config, dtype=torch.float32)

    def _pretrained_model(self) -> Any:
        head = HEAD[self.architecture]
        return load_pretrained(
            AutoModelForSequenceClassification, cast(Path, self._checkpoint), head, config=self._config
        )

    def _no_model(self, error: Exception) -> InputError:
        start = f"checkpoint {self.settings.checkpoint}" if self._checkpoint else "task_runner.settings.model"
        reason = " ".join(str(error).split())[:300]
        return InputError(f"{start}: no BERT or DistilBERT can be made of it: {reason}")


def _fingerprint(tokenizer: Any) -> torch.Tensor:
    """Hash all of a tokenizer: a byte of the SHA-256 for each of 32 floats, since only floats are compared."""
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    told |= {"truncation": None, "padding": None}  # as the last call left them
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()
    return torch.tensor(list(digest), dtype=torch.float32)
