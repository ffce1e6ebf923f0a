"""The settings of an image shard, checked without torch and without touching the data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from federation.patterns import pattern
from shard_descriptors.checked_settings import checked
from shard_descriptors.labels import same_name

Name = Annotated[str, Field(min_length=1, max_length=200)]
HubId = Annotated[
    str,
    pattern(
        r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$",
        "the id of a data set, such as ylecun/mnist; a folder of yours is `root`",
        max_length=200,
    ),
]


@dataclass(frozen=True)
class ImageFolderSettings:
    """Where the images lie, what their classes and splits are, and which part of them this shard is.

    Parameters
    ----------
    dataset : str
        What the images are called; a plan asks for it by this name.
    root : Path, optional
        ``folder``: the folder that holds one folder per class. ``huggingface``: a copy saved by `save_to_disk`.
    source : {"folder", "huggingface"}
        What reads the data.
    hub : str, optional
        The dataset of the source ``huggingface`` when no `root` is given, such as ``AI-Lab-Makerere/beans``.
    image_column, label_column : str
        Of the source ``huggingface``.
    classes : list of str, optional
        In the order of the labels; without it all there are, sorted. A class needs a folder, which may be empty.
    image_size : int
        Pixels: the largest square in the middle of an image is scaled to this side.
    split : {"shares", "published"}
        Drawn by seed and shares, or as the data is laid out: folders ``train``, ``validation`` and ``test`` above the classes,
        or the splits of a Hugging Face dataset. Where no validation is published, its share of train is drawn.
    validation_share, test_share : float
        Of each class; of the groups if there is a `group_pattern`.
    partition : {"stride", "dirichlet", "group"}
        How train and validation are divided among shards: image i to shard i mod `worldsize`; each class by shares drawn
        from a Dirichlet distribution; or whole groups, balanced by images. Test is never divided.
    group_pattern : str, optional
        A regular expression, matched at the beginning of a file's name: files with the same match, such as a patient's or a
        photographer's, are never torn apart by a split.
    rank, worldsize : int
        Which shard of how many.
    alpha : float
        Of the Dirichlet distribution: the smaller, the more the shards differ.
    seed : int
        Of everything that is drawn. Shards of one federation share it.
    check : {"decode", "header"}
        Whether opening the shard decodes every image, or looks at its header alone: damage is then found when it is used.
    max_unreadable : float
        The share of files that may be unreadable and skipped before it is an error.
    cache_mb : int
        Megabytes of decoded images kept in memory; a split that does not fit is decoded each time.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    dataset: Name = "images"
    root: Path | None = None
    source: Literal["folder", "huggingface"] = "folder"
    hub: HubId | None = None
    image_column: Name = "image"
    label_column: Name = "label"
    classes: Annotated[list[Name], Field(min_length=1)] | None = None
    image_size: Annotated[int, Field(ge=8, le=2048)] = 224
    split: Literal["shares", "published"] = "shares"
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.15
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    partition: Literal["stride", "dirichlet", "group"] = "stride"
    group_pattern: Name | None = None
    rank: Annotated[int, Field(ge=0)] = 0
    worldsize: Annotated[int, Field(ge=1)] = 1
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    seed: Annotated[int, Field(ge=0)] = 0
    check: Literal["decode", "header"] = "decode"
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
        if self.source == "folder" and self.root is None:
            raise ValueError("root is missing: the source folder needs the folder that holds the data")
        if self.source == "huggingface" and (self.root is None) == (self.hub is None):
            raise ValueError("the source huggingface needs either root, a saved copy, or hub, a dataset's id")
        if self.classes is not None and len(set(map(same_name, self.classes))) < len(self.classes):
            raise ValueError("classes names a class twice")
        if self.partition == "group" and self.group_pattern is None:
            raise ValueError("partition: group needs a group_pattern, which tells groups by the files' names")
        if self.group_pattern is not None:
            try:
                re.compile(self.group_pattern)
            except re.error as error:
                raise ValueError(f"group_pattern is no regular expression: {error}") from error


def check_settings(settings: Mapping[str, Any]) -> ImageFolderSettings:
    """Check settings that did not come through a federation file; see `checked`."""
    return checked(ImageFolderSettings, settings, "the image shard")
