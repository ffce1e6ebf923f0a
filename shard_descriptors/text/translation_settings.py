"""The settings of a translation shard, checked without torch and without touching the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from federation.patterns import pattern

Language = Annotated[
    str, pattern(r"^[A-Za-z][A-Za-z0-9-]{0,30}$", "the name of a language, such as en or fra")
]


@dataclass(frozen=True)
class TranslationShardSettings:
    """Where the sentence pairs lie, which of them are used, and which part of them this shard is.

    Parameters
    ----------
    root : Path, optional
        ``pairs``: a UTF-8 text file with a pair on each line, the two sentences and anything after them separated by tabs.
        ``huggingface``: a copy saved by `save_to_disk`; without it the dataset comes from the Hub.
    source : {"pairs", "huggingface"}
        What reads the data.
    hub, hub_config : str
        The dataset of the source ``huggingface`` when no `root` is given, and which of its configurations.
    languages : list of two str
        What is translated from and into. Plans ask for them, and they are the keys of a row's ``translation`` in Hugging Face
        datasets.
    swap : bool
        Whether the second sentence of a pair in a text file is translated into the first.
    max_words : int
        Pairs with a longer sentence are left out; punctuation marks count as words.
    max_samples : int, optional
        How many pairs of the whole dataset are used, drawn by seed.
    split : {"shares", "published"}
        By seed and shares of the source sentences, or as the dataset's authors split it (``huggingface`` only).
    validation_share, test_share : float
        Shares of the source sentences, all of whose translations are in the same split.
    partition : {"stride", "length", "dirichlet"}
        How train and validation are divided among shards: sample i to shard i mod `worldsize`; the shortest source sentences
        to the first shard and the longest to the last; or the sentences of each length by shares drawn from a Dirichlet
        distribution. Test is never divided.
    rank, worldsize : int
        Which shard of how many.
    alpha : float
        Of the Dirichlet distribution: the smaller, the more the shards differ.
    seed : int
        Of everything that is drawn. Shards of one federation share it.
    max_unreadable : float
        The share of lines that may hold no pair and be skipped before it is an error.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    root: Path | None = None
    source: Literal["pairs", "huggingface"] = "pairs"
    hub: str = "Helsinki-NLP/opus_books"
    hub_config: str | None = "en-fr"
    languages: Annotated[list[Language], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: ["en", "fr"]
    )
    swap: bool = False
    max_words: Annotated[int, Field(ge=1)] = 10
    max_samples: Annotated[int, Field(ge=1)] | None = None
    split: Literal["shares", "published"] = "shares"
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    partition: Literal["stride", "length", "dirichlet"] = "stride"
    rank: Annotated[int, Field(ge=0)] = 0
    worldsize: Annotated[int, Field(ge=1)] = 1
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.01

    def __post_init__(self) -> None:
        if self.rank >= self.worldsize:
            raise ValueError(
                f"rank {self.rank} is beyond worldsize {self.worldsize}; "
                f"ranks go from 0 to {self.worldsize - 1}"
            )
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                "validation_share and test_share leave nothing to train on; their sum must be below 1"
            )
        if self.source == "pairs" and self.root is None:
            raise ValueError("root is missing: the source pairs needs the text file that holds the pairs")
        if self.source == "pairs" and self.split == "published":
            raise ValueError("split: published is for the source huggingface; a text file has no splits")
