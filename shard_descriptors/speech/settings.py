"""The settings of a Speech Commands shard, checked without torch and without touching the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from shard_descriptors.checked_settings import checked
from shard_descriptors.labels import same_name


@dataclass(frozen=True)
class SpeechCommandsSettings:
    """Where the data lies, what its classes and splits are, and which part of it this shard is.

    Parameters
    ----------
    root : Path, optional
        ``folder``: the folder that holds one folder per word. ``torchaudio``: the root that it is given.
        ``huggingface``: a copy saved by `save_to_disk`; without it the dataset comes from the Hub.
    source : {"folder", "torchaudio", "huggingface"}
        What reads the data.
    version : {"speech_commands_v0.01", "speech_commands_v0.02"}
        Of the source ``torchaudio``.
    download : bool
        Whether the source ``torchaudio`` may download what is missing.
    hub : {"superb/ks", "google/speech_commands"}
        The dataset of the source ``huggingface`` when no `root` is given.
    classes : {"superb", "ten_words", "all_words"} or list of str
        A set of classes, or the classes themselves: words, and ``_silence_`` and ``_unknown_`` if wanted.
    silence_share, unknown_share : float
        How many samples ``_silence_`` and ``_unknown_`` get, as a multiple of the mean of the word classes.
    split : {"published", "speaker"}
        As the dataset's authors split it, or whole speakers by seed and shares.
    validation_share, test_share : float
        Shares of the speakers under ``split: speaker``.
    partition : {"stride", "speaker", "dirichlet"}
        How train and validation are divided among shards: sample i to shard i mod `worldsize`; whole
        speakers, balanced by clips; or each class by shares drawn from a Dirichlet distribution. Test is
        never divided.
    rank, worldsize : int
        Which shard of how many.
    alpha : float
        Of the Dirichlet distribution: the smaller, the more the shards differ.
    seed : int
        Of everything that is drawn. Shards of one federation share it.
    sampling_rate : {"resample", "strict"}
        Whether a file that is not at 16 kHz is resampled, or counts as unreadable.
    max_unreadable : float
        The share of files that may be unreadable and skipped before it is an error.
    cache_mb : int
        Megabytes of decoded clips kept in memory; a split that does not fit is decoded each time.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    root: Path | None = None
    source: Literal["folder", "torchaudio", "huggingface"] = "folder"
    version: Literal["speech_commands_v0.01", "speech_commands_v0.02"] = "speech_commands_v0.02"
    download: bool = False
    hub: Literal["superb/ks", "google/speech_commands"] = "superb/ks"
    classes: Literal["superb", "ten_words", "all_words"] | Annotated[list[str], Field(min_length=1)] = (
        "superb"
    )
    silence_share: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    unknown_share: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    split: Literal["published", "speaker"] = "published"
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.15
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    partition: Literal["stride", "speaker", "dirichlet"] = "stride"
    rank: Annotated[int, Field(ge=0)] = 0
    worldsize: Annotated[int, Field(ge=1)] = 1
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0
    sampling_rate: Literal["resample", "strict"] = "resample"
    max_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.05
    cache_mb: Annotated[int, Field(ge=0)] = 1024

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
            raise ValueError(
                f"root is missing: the source {self.source} needs the folder that holds the data"
            )
        if not isinstance(self.classes, str) and len(set(map(same_name, self.classes))) < len(self.classes):
            raise ValueError("classes names a class twice")


def check_settings(settings: Mapping[str, Any]) -> SpeechCommandsSettings:
    """Check settings that did not come through a federation file; see `checked`."""
    taken = checked(SpeechCommandsSettings, settings, "the Speech Commands shard")
    if isinstance(taken.classes, str):
        return taken
    return replace(taken, classes=[same_name(name) for name in taken.classes])
