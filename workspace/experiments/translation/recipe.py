"""Translation: a GRU encoder and decoder with attention, trained by teacher forcing, measured by loss and BLEU.

Plain PyTorch and transformers. To train it without any federation::

    recipe = Translation(settings, classes=(), checkpoints={})
    model = initial_model(recipe, seed=1)
    train_round(recipe, model, split, settings, rounds=1, round_number=0, seed=1, site="here", device="cpu")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import Field
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional

from federation.document import shown
from federation.errors import InputError
from shard_descriptors.text.words import joined, words
from workspace.experiments.translation.attention_seq2seq import AttentionSeq2Seq, AttentionSeq2SeqConfig
from workspace.experiments.translation.decoding import (
    Choose,
    Decoded,
    beam_search,
    decode,
    greedy,
    nucleus,
    top_k,
)
from workspace.experiments.translation.settings import TranslationModel, TranslationSettings
from workspace.experiments.translation.statistics import translation_sums
from workspace.experiments.translation.vocabulary import BOS, PAD, SPECIALS, Vocabulary, read_vocabulary
from workspace.learning.checkpoints import checkpoint_folder, load_pretrained, reading
from workspace.learning.recipe import AttentionMap, Batch, Prediction, Recipe, Sample

Array = npt.NDArray[Any]

SOURCE, TARGET = "source_vocabulary.txt", "target_vocabulary.txt"

# What transformers raises for files that make no model.
_NO_MODEL = (OSError, ValueError, TypeError, RuntimeError, SafetensorError, StrictDataclassError)


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How a translation is written.

    Parameters
    ----------
    decoding : {"greedy", "beam", "top_k", "nucleus"}
        The likeliest word at each step, beam search, or sampling.
    beam_size : int
        Of ``beam``.
    k : int
        Of ``top_k``: how many words are drawn from.
    p : float
        Of ``nucleus``: the probability of the words that are drawn from.
    temperature : float
        Of ``top_k`` and ``nucleus``: the higher, the more even the draws.
    max_length : int or None
        The most tokens; None is the model's own.
    seed : int
        Of what is drawn.
    """

    decoding: Literal["greedy", "beam", "top_k", "nucleus"] = "greedy"
    beam_size: Annotated[int, Field(ge=1, le=1000)] = 4
    k: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    p: Annotated[float, Field(gt=0, le=1)] = 0.9
    temperature: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = 1.0
    max_length: Annotated[int, Field(ge=1, le=10_000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Translation(Recipe):
    """The recipe of translation (`workspace.learning.recipe.Recipe`).

    Parameters
    ----------
    settings : TranslationSettings
        As the plan gives them.
    classes : sequence of str
        None: sentences have no labels.
    checkpoints : mapping of str to str
        Hub ids and the local folders that hold them.

    Raises
    ------
    InputError
        If there are classes, or the checkpoint's vocabularies cannot be read.
    """

    metrics = "translation"
    options = DecodingOptions
    parts = {
        "encoder": ("source_embedding.*", "encoder.*", "first_state.*"),
        "decoder": ("target_embedding.*", "decoder.*", "attention.*", "readout.*", "output_bias"),
    }

    def __init__(
        self, settings: TranslationSettings, classes: Sequence[str], checkpoints: Mapping[str, str]
    ) -> None:
        if classes:
            raise InputError("translation has no classes: leave federation.settings.classes out")
        self.settings = settings
        self.classes = ()
        if settings.checkpoint is None:
            self._checkpoint = None
            self.source = Vocabulary(settings.source_vocabulary)
            self.target = Vocabulary(settings.target_vocabulary)
            self._config = self._new_config(settings.model or TranslationModel())
        else:
            self._checkpoint = checkpoint_folder(settings.checkpoint, checkpoints)
            self._config = self._read_config(self._checkpoint)
            self.source = read_vocabulary(self._checkpoint / SOURCE, self._config.source_vocabulary_size)
            self.target = read_vocabulary(self._checkpoint / TARGET, self._config.target_vocabulary_size)

    def build_model(self) -> nn.Module:
        """Build the model from its checkpoint, or with random weights; see `Recipe`.

        Raises
        ------
        InputError
            If the checkpoint's files make no such model.
        """
        if self._checkpoint is None:
            return cast(nn.Module, AttentionSeq2Seq(self._config))
        try:
            model = load_pretrained(AttentionSeq2Seq, self._checkpoint, ())
        except _NO_MODEL as error:
            raise self._no_model(error) from error
        return cast(nn.Module, model)

    def collate(self, samples: Sequence[Sample], generator: np.random.Generator | None) -> Batch:
        """Number the words of sentence pairs; nothing is augmented."""
        sources = [self.source.numbers(words(sample["source"])) for sample in samples]
        targets = [self.target.numbers(words(sample["target"])) for sample in samples]
        return {
            **_source_batch(sources),
            "decoder_input_ids": _padded([[BOS, *target[:-1]] for target in targets]),
            "labels": _padded(targets),
            "references": [sample["target"] for sample in samples],
        }

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, Array]]:
        """Return the mean cross-entropy of a batch's target tokens and its statistics; see `Recipe`.

        Validation also decodes greedily, which BLEU is counted on; training does not.
        """
        labels = batch["labels"]
        logits = model(batch["input_ids"], batch["attention_mask"], batch["decoder_input_ids"]).logits
        smoothing = self.settings.label_smoothing if model.training else 0.0
        mean = functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=PAD, label_smoothing=smoothing
        )
        tokens = int((labels != PAD).sum())
        counted = {} if model.training else self._bleu_counts(model, batch)
        sums = translation_sums(
            samples=len(labels), tokens=tokens, loss_sum=float(mean.detach().double()) * tokens, **counted
        )
        return mean, sums

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that ``AttentionSeq2Seq.from_pretrained`` loads, with both vocabularies as text files."""
        cast(Any, model).save_pretrained(folder)
        self.source.write(folder / SOURCE)
        self.target.write(folder / TARGET)

    def predict(
        self, model: nn.Module, inputs: Sequence[str], options: Any, attention: bool = False
    ) -> list[Prediction]:
        """Translate texts; see `Recipe`. An attention map has a row for each word written, and a column for each word read."""
        network, device = cast(AttentionSeq2Seq, model), next(model.parameters()).device
        max_length = options.max_length or self._config.longest_output
        choose = _choice(options)
        predictions = []
        for text in inputs:
            source = words(text)
            if not source:
                raise InputError(f"{text!r} holds no words to translate")
            batch = _source_batch([self.source.numbers(source)])
            ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
            with torch.inference_mode():
                if choose is None:
                    written = beam_search(network, ids, mask, max_length, options.beam_size)
                else:
                    written = decode(network, ids, mask, max_length, choose)[0]
            output = self._text(written)
            scores = {"log_probability": written.log_probability}
            maps = (self._attention_map(text, source, written),) if attention else ()
            predictions.append(Prediction(text, output, scores, maps))
        return predictions

    def _bleu_counts(self, model: nn.Module, batch: Batch) -> dict[str, Any]:
        """Count what sacrebleu counts for corpus BLEU, with its default tokenisation, of lower-case text."""
        from sacrebleu.metrics import BLEU

        longest = self._config.longest_output
        decoded = decode(cast(AttentionSeq2Seq, model), batch["input_ids"], batch["attention_mask"], longest)
        hypotheses = [self._text(one) for one in decoded]
        references = [joined(words(text)) for text in batch["references"]]
        score = BLEU(lowercase=True, force=True).corpus_score(hypotheses, [references])
        return {
            "matched": score.counts,
            "ngrams": score.totals,
            "hypothesis_length": score.sys_len,
            "reference_length": score.ref_len,
        }

    def _text(self, written: Decoded) -> str:
        return joined([self.target.words[token] for token in written.tokens])

    def _attention_map(self, text: str, source: Sequence[str], written: Decoded) -> AttentionMap:
        end = SPECIALS[2]
        rows = [self.target.words[token] for token in written.tokens] + [end] * written.ended
        return AttentionMap(text, rows, [*source, end], written.attention.float().numpy())

    def _new_config(self, model: TranslationModel) -> AttentionSeq2SeqConfig:
        return AttentionSeq2SeqConfig(
            source_vocabulary_size=len(self.source),
            target_vocabulary_size=len(self.target),
            attention=model.attention,
            embedding_size=model.embedding_size,
            hidden_size=model.hidden_size,
            dropout=model.dropout,
            longest_output=model.max_length,
        )

    def _read_config(self, folder: Path) -> AttentionSeq2SeqConfig:
        try:
            with reading("config"):
                config: Any = AttentionSeq2SeqConfig.from_pretrained(folder)
        except _NO_MODEL as error:
            raise self._no_model(error) from error
        for key in ("source_vocabulary_size", "target_vocabulary_size", "longest_output"):
            if not isinstance(size := getattr(config, key), int) or size < 1:
                raise InputError(
                    f"{folder / 'config.json'}: {key} is {shown(size)}; it must be a number above 0"
                )
        return cast(AttentionSeq2SeqConfig, config)

    def _no_model(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())[:300]
        return InputError(
            f"checkpoint {self.settings.checkpoint}: no AttentionSeq2Seq can be made of it: {reason}"
        )


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    # One tensor of nested lists: a tensor for each row took six times as long.
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def _source_batch(rows: Sequence[Sequence[int]]) -> Batch:
    ids = _padded(rows)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def _choice(options: DecodingOptions) -> Choose | None:
    """Return how each word is chosen, one draw after another over all inputs; None for beam search."""
    generator = torch.Generator().manual_seed(options.seed)
    if options.decoding == "top_k":
        return top_k(options.k, options.temperature, generator)
    if options.decoding == "nucleus":
        return nucleus(options.p, options.temperature, generator)
    return greedy if options.decoding == "greedy" else None
