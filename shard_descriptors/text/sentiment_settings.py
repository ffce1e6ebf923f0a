"""The settings of a shard of labelled sentences, checked without torch and without touching the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from shard_descriptors.labels import same_name


@dataclass(frozen=True)
class SentimentShardSettings:
    """Where the sentences lie, what their classes and splits are, and which part of them this shard is.

    Parameters
    ----------
    root : Path, optional
        ``tsv``: a file of ``sentence<TAB>label``, or a folder of such files (``*.tsv``, ``*.txt``). ``sst2``: the folder with
        SST-2's ``train.tsv`` and ``dev.tsv``. ``huggingface``: a copy saved by `save_to_disk`; without it the dataset
        comes from the Hub.
    source : {"tsv", "sst2", "huggingface"}
        What reads the data.
    hub : str
        The dataset of the source ``huggingface`` when no `root` is given.
    classes : list of str
        In the order of the labels: a label is a class's number, from 0, or its name.
    split : {"random", "published"}
        By seed and shares, or as the data has it; see `shard_descriptors.text.sentence_splits`.
    validation_share, test_share : float
        Shares of the distinct sentences that are drawn; the test's only under ``split: random``.
    partition : {"stride", "source", "dirichlet"}
        How train and validation are divided among shards: sentence i to shard i mod `worldsize`; whole files; or each class
        by shares drawn from a Dirichlet distribution. Test is never divided.
    rank, worldsize : int
        Which shard of how many.
    alpha : float
        Of the Dirichlet distribution: the smaller, the more the shards differ.
    seed : int
        Of everything that is drawn. Shards of one federation share it.
    max_unreadable : float
        The share of lines that may be malformed and skipped before it is an error.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    root: Path | None = None
    source: Literal["tsv", "sst2", "huggingface"] = "tsv"
    hub: Literal["stanfordnlp/sst2"] = "stanfordnlp/sst2"
    classes: Annotated[list[str], Field(min_length=2)] = field(
        default_factory=lambda: ["negative", "positive"]
    )
    split: Literal["random", "published"] = "random"
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    partition: Literal["stride", "source", "dirichlet"] = "stride"
    rank: Annotated[int, Field(ge=0)] = 0
    worldsize: Annotated[int, Field(ge=1)] = 1
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.05

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
        if self.root is None and self.source != "huggingface":
            raise ValueError(f"root is missing; the source {self.source} needs the folder of the data")
        if self.split == "published" and self.source == "tsv":
            raise ValueError("split: published is for sst2 and huggingface; the source tsv has no splits")
        if self.partition == "source" and self.source != "tsv":
            raise ValueError(
                f"partition: source divides the files of the source tsv; {self.source} tells no origins"
            )
        if len(set(map(same_name, self.classes))) < len(self.classes):
            raise ValueError("classes names a class twice")
