"""The settings of translation: vocabularies, model, attention. Needs no torch to check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from workspace.learning.settings import HubId, Share, Size, TrainingSettings

Vocabulary = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=40_000)]


@dataclass(frozen=True, kw_only=True)
class TranslationModel:
    """The sizes of the model, and how it attends.

    Parameters
    ----------
    attention : {"additive", "dot_product"}
        How a decoder state is scored against an encoder state: Bahdanau's network, or the scaled dot product.
    embedding_size, hidden_size : int
        Of the word vectors, and of the GRUs' states (the encoder has one in each direction).
    dropout : float
        On word vectors and before the output layer.
    max_length : int
        The longest translation, in tokens, that is decoded.
    """

    attention: Literal["additive", "dot_product"] = "additive"
    embedding_size: Size = 256
    hidden_size: Size = 512
    dropout: Share = 0.2
    max_length: Size = 40


@dataclass(frozen=True, kw_only=True)
class TranslationSettings(TrainingSettings):
    """Attention seq2seq translation.

    Parameters
    ----------
    experiment : str
        Selects this experiment.
    checkpoint : str or None
        The hub id of an exported model to start from, which brings vocabularies and model; none means random weights.
    source_vocabulary, target_vocabulary : list of str
        The words of each language. In a plan file ``source_vocabulary_file`` and ``target_vocabulary_file`` name text files
        with one word a line.
    model : TranslationModel or None
        The model with random weights; none means the defaults.
    """

    experiment: Literal["translation"] = "translation"
    checkpoint: HubId | None = None
    source_vocabulary: Vocabulary = field(default_factory=list)
    target_vocabulary: Vocabulary = field(default_factory=list)
    model: TranslationModel | None = None

    def __post_init__(self) -> None:
        vocabularies = {
            "source_vocabulary": self.source_vocabulary,
            "target_vocabulary": self.target_vocabulary,
        }
        for name, words in vocabularies.items():
            if self.checkpoint and words:
                raise ValueError(f"{name} comes with the checkpoint: leave it out")
            if not self.checkpoint and not words:
                raise ValueError(f"{name} is missing: give the words, or {name}_file with one word a line")
            if odd := next((word for word in words if word.split() != [word]), None):
                raise ValueError(f"{name} holds {odd!r}, which is no single word")
            if len(set(words)) < len(words):
                twice = next(word for word in words if words.count(word) > 1)
                raise ValueError(f"{name} holds {twice!r} twice")
        if self.checkpoint and self.model:
            raise ValueError("model comes with the checkpoint: leave it out")
