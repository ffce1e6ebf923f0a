"""The settings of sentence classification: checkpoint, model, tokenizer, what is trained. Needs no torch to check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from workspace.learning.settings import HubId, LoraSettings, Share, Size, TrainingSettings

SHORTEST = 3  # tokens: one of a sentence, and the marks before and after it
DEFAULTS = {"hidden_size": 768, "num_attention_heads": 12, "max_position_embeddings": 512}
"""Those of ``transformers.BertConfig`` and ``DistilBertConfig`` that matter here."""
LINEAR = {
    "distilbert": frozenset(
        ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2", "pre_classifier", "classifier")
    ),
    "bert": frozenset(("query", "key", "value", "dense", "classifier")),
}
"""The ends of the names of the linear layers."""
Word = Annotated[str, Field(min_length=1, max_length=100)]


@dataclass(frozen=True, kw_only=True)
class BertOverrides:
    """Keys of ``transformers.BertConfig``, or their counterparts in ``DistilBertConfig``; the rest is as the checkpoint has it.

    Parameters
    ----------
    architecture : {"distilbert", "bert"} or None
        Of random weights (``distilbert`` if it is left out); a checkpoint says it itself.
    """

    architecture: Literal["distilbert", "bert"] | None = None
    hidden_size: Size | None = None
    num_hidden_layers: Size | None = None
    num_attention_heads: Size | None = None
    intermediate_size: Size | None = None
    max_position_embeddings: Size | None = None
    hidden_dropout_prob: Share | None = None
    attention_probs_dropout_prob: Share | None = None
    classifier_dropout: Share | None = None
    initializer_range: Annotated[float, Field(gt=0, le=1)] | None = None


@dataclass(frozen=True, kw_only=True)
class SentimentSettings(TrainingSettings):
    """Sentences into classes with ``DistilBertForSequenceClassification`` or ``BertForSequenceClassification``.

    Parameters
    ----------
    experiment : str
        Selects this experiment.
    checkpoint : str or None
        The hub id of the model to start from (a site may map it to a folder); none means random weights.
    model : BertOverrides or None
        Keys set over the checkpoint's config, or over the library's for random weights.
    strategy : {"full", "features"}
        Train all of the model, or a logistic regression on the first token's hidden state in the frozen encoder.
    lora : LoraSettings or None
        Trains low-rank adapters and the head only.
    vocabulary : list of str or None
        The words of the tokenizer where the checkpoint brings none. In a plan file: ``vocabulary_file``, one a line.
    max_tokens : int or None
        Longer sentences are cut; none means as long as the checkpoint's tokenizer and positions allow.
    word_dropout : float
        While training, each token is unknown with this probability (Iyyer et al. 2015, doi:10.3115/v1/P15-1162).
    """

    experiment: Literal["sentiment"] = "sentiment"
    checkpoint: HubId | None = None
    model: BertOverrides | None = None
    strategy: Literal["full", "features"] = "full"
    lora: LoraSettings | None = None
    vocabulary: Annotated[list[Word], Field(min_length=1, max_length=100_000)] | None = None
    max_tokens: Annotated[int, Field(ge=SHORTEST, le=65_536)] | None = None
    word_dropout: Share = 0.0

    def __post_init__(self) -> None:
        if self.checkpoint is None and self.vocabulary is None:
            raise ValueError(
                "a model from random weights needs a vocabulary: set vocabulary_file, or a checkpoint"
            )
        if self.checkpoint and self.model and self.model.architecture:
            raise ValueError("model.architecture is for random weights; a checkpoint says its own")
        if self.lora:
            architecture = self._architecture()
            self.lora.refuse_unless_in(
                LINEAR[architecture] if architecture else frozenset().union(*LINEAR.values())
            )
        # Of a checkpoint, only its files know what they are set over.
        if self.checkpoint is None and (wrong := self._contradiction(self.model or BertOverrides())):
            raise ValueError(wrong)
        if self.strategy == "features" and self.lora:
            raise ValueError("strategy: features trains no adapters; leave lora out, or set strategy: full")
        if self.strategy == "features" and self.word_dropout:
            raise ValueError("strategy: features takes sentences as they are; leave word_dropout out")

    def _architecture(self) -> str | None:
        """Return that of random weights; None if a checkpoint says it."""
        return None if self.checkpoint else (self.model and self.model.architecture) or "distilbert"

    def _contradiction(self, model: BertOverrides) -> str | None:
        """Say which sizes of random weights make no model together, or one that no sentence fits into."""
        width, heads, positions = (
            getattr(model, key) or DEFAULTS[key]
            for key in ("hidden_size", "num_attention_heads", "max_position_embeddings")
        )
        if width % heads:
            return f"model.num_attention_heads must divide model.hidden_size: {heads} does not divide {width}"
        if positions < (needed := self.max_tokens or SHORTEST):
            what = f"max_tokens: {needed}" if self.max_tokens else f"{needed}, which one word takes"
            return f"model.max_position_embeddings is {positions}, and must be at least {what}"
        return None
