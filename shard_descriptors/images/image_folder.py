"""Images as a shard: a square of pixels in, a class out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, Sample, ShardDescriptor, Split, SplitName
from shard_descriptors.drawing import order
from shard_descriptors.images.pixels import UnreadableImage, check_header, read_image
from shard_descriptors.images.settings import ImageFolderSettings, check_settings
from shard_descriptors.images.sources import Album, Picture, album_in
from shard_descriptors.labels import same_name
from shard_descriptors.partition import assign
from shard_descriptors.skipped import skip

log = logging.getLogger(__name__)

MACHINE_SETTINGS = (
    "root",
    "source",
    "hub",
    "image_column",
    "label_column",
    "check",
    "max_unreadable",
    "cache_mb",
)


class PictureSplit(Split):
    """Images decoded when they are asked for, and kept in memory where they may be."""

    def __init__(self, pictures: Sequence[Picture], classes: Sequence[str], size: int, keep: bool) -> None:
        label = {name: number for number, name in enumerate(classes)}
        self.labels = np.array([label[picture.word] for picture in pictures], np.int64)
        self.groups = [picture.group for picture in pictures]
        self.ids = [picture.id for picture in pictures]
        self._pictures = list(pictures)
        self._size = size
        self._keep = keep
        self._kept: dict[int, npt.NDArray[np.uint8]] = {}

    def sample(self, index: int) -> Sample:
        """Read sample `index`: ``image`` (uint8 of shape [size, size, 3], RGB), ``label`` and ``id``."""
        image = self._kept.get(index)
        if image is None:
            image = read_image(self._pictures[index].file, self._size)
            if self._keep:
                self._kept[index] = image
        return {"image": image, "label": int(self.labels[index]), "id": self.ids[index]}


class ImageFolderShard(ShardDescriptor):
    """One site's part of a dataset of images in classes.

    Train and validation are this shard's part; test is the whole dataset's, nobody trains on it.

    Parameters
    ----------
    **settings
        See `shard_descriptors.images.settings.ImageFolderSettings`.

    Raises
    ------
    InputError
        A wrong setting, a missing folder or class, too many unreadable files, or nothing to train on.
    """

    target_description = "the class, int"

    def __init__(self, **settings: Any) -> None:
        checked = check_settings(settings)
        self._fill(checked, *_divide(checked))

    @classmethod
    def open_all(cls, **settings: Any) -> list[ImageFolderShard]:
        """Open the shards of every rank, looking at the data once; shards may be empty.

        Parameters
        ----------
        **settings
            As for one shard; `rank` is not looked at.
        """
        checked = check_settings({**settings, "rank": 0})
        classes, splits, left_out = _divide(checked)
        shards = []
        for rank in range(checked.worldsize):
            shard = cls.__new__(cls)
            shard._fill(replace(checked, rank=rank), classes, splits, left_out, may_be_empty=True)
            shards.append(shard)
        return shards

    def _fill(
        self,
        settings: ImageFolderSettings,
        classes: tuple[str, ...],
        splits: Mapping[SplitName, list[list[Picture]]],
        left_out: Mapping[str, int],
        may_be_empty: bool = False,
    ) -> None:
        self.settings = settings
        self.dataset = settings.dataset
        self.classes = classes
        self.left_out = left_out
        size = settings.image_size
        self.sample_description = f"an image, uint8[{size}, {size}, 3] in RGB"
        held = {name: shards[settings.rank] for name, shards in splits.items()}
        if not may_be_empty:
            _check_not_empty(held, settings)
        room = settings.cache_mb * 2**20 // (3 * size * size)
        self._splits: dict[SplitName, PictureSplit] = {}
        for name in SPLITS:
            keep = len(held[name]) <= room
            self._splits[name] = PictureSplit(held[name], classes, size, keep)
            room -= len(held[name]) if keep else 0

    def split(self, name: SplitName) -> Split:
        """Return the samples of ``train``, ``validation`` or ``test``."""
        return self._splits[name]

    def described_settings(self) -> Mapping[str, Any]:
        """Return the settings that decide what a sample is; those of this machine left out."""
        return {key: value for key, value in asdict(self.settings).items() if key not in MACHINE_SETTINGS}


def _divide(
    settings: ImageFolderSettings,
) -> tuple[tuple[str, ...], dict[SplitName, list[list[Picture]]], Counter[str]]:
    """Open the data: the classes, for each split what every rank holds, and what is left out."""
    album = _open_album(settings)
    classes = _classes(album, settings)
    wanted = [picture for picture in album.pictures if picture.word in set(classes)]
    pictures = _readable(album, wanted, settings)
    counts = {
        "images that cannot be used": len(wanted) + len(album.unusable) - len(pictures),
        "images of other classes": len(album.pictures) - len(wanted),
    }
    side = _sides(pictures, settings)
    whole = {name: [picture for picture in pictures if side[picture.id] == name] for name in SPLITS}
    divided: dict[SplitName, list[list[Picture]]] = {
        "train": _partition(whole["train"], classes, settings),
        "validation": _partition(whole["validation"], classes, settings),
        "test": [whole["test"]] * settings.worldsize,
    }
    return classes, divided, album.left_out + Counter(counts)


def _open_album(settings: ImageFolderSettings) -> Album:
    """List the images of the source that the settings name; pixels are not read yet."""
    if settings.source == "huggingface":
        from shard_descriptors.images.hugging_face import album_of_rows

        return album_of_rows(settings)
    assert settings.root is not None, "checked with the settings"
    return album_in(settings.root, settings)


def _classes(album: Album, settings: ImageFolderSettings) -> tuple[str, ...]:
    """Resolve the setting `classes`: a class must be known to the data, even if this site has no image of it."""
    wanted = tuple(map(same_name, settings.classes or ()))
    for name in wanted:
        if name not in album.classes:
            raise InputError(
                f"{album.name}: no class {name!r}; add its folder, which may be empty, or change the setting classes"
            )
    return wanted or album.classes


def _readable(album: Album, pictures: list[Picture], settings: ImageFolderSettings) -> list[Picture]:
    """Look at every file; skip and list what cannot be used, unless it is too much."""
    good, bad = [], [*album.unusable]
    for picture in pictures:
        try:
            if settings.check == "decode":
                read_image(picture.file, settings.image_size)
            else:
                check_header(picture.file)
            good.append(picture)
        except UnreadableImage as error:
            bad.append(str(error))
    skip(bad, len(good) + len(bad), settings.max_unreadable)
    return good


def _sides(pictures: Sequence[Picture], settings: ImageFolderSettings) -> dict[str, SplitName]:
    """Decide the split of each picture, by id."""
    side: dict[str, SplitName] = {picture.id: picture.published for picture in pictures}
    if settings.split == "shares":
        shares = (settings.test_share, settings.validation_share)
        drawn = pictures
    elif "validation" in side.values():
        return side
    else:
        shares = (0.0, settings.validation_share)
        drawn = [picture for picture in pictures if picture.published == "train"]
    # Each class is split by the same shares; but groups may hold several classes, and must stay whole.
    strata: dict[str, dict[str, list[Picture]]] = {}
    for picture in drawn:
        stratum = picture.word if settings.group_pattern is None else ""
        strata.setdefault(stratum, {}).setdefault(picture.group, []).append(picture)
    for groups in strata.values():
        names = sorted(groups, key=lambda name: order(settings.seed, name))
        test, validation = (round(share * len(names)) for share in shares)
        for position, name in enumerate(names):
            own: SplitName = (
                "test" if position < test else "validation" if position < test + validation else "train"
            )
            side.update((picture.id, own) for picture in groups[name])
    return side


def _partition(
    pictures: Sequence[Picture], classes: Sequence[str], settings: ImageFolderSettings
) -> list[list[Picture]]:
    shards: list[list[Picture]] = [[] for _ in range(settings.worldsize)]
    label = {name: number for number, name in enumerate(classes)}
    ranks = assign(
        ids=[picture.id for picture in pictures],
        labels=[label[picture.word] for picture in pictures],
        groups=[picture.group for picture in pictures],
        kind=settings.partition,
        worldsize=settings.worldsize,
        alpha=settings.alpha,
        seed=settings.seed,
    )
    for picture, rank in zip(pictures, ranks, strict=True):
        shards[rank].append(picture)
    return shards


def _check_not_empty(held: Mapping[SplitName, list[Picture]], settings: ImageFolderSettings) -> None:
    """Refuse a shard that cannot train, unless it is there for its test split alone."""
    which = f"shard {settings.rank} of {settings.worldsize} (partition: {settings.partition})"
    only_tests = settings.worldsize == 1 and held["test"]
    if not held["train"] and not only_tests:
        raise InputError(
            f"{which} of {settings.root or settings.hub} is empty; lower worldsize or change partition"
        )
    for name, pictures in held.items():
        if not pictures:
            log.warning("%s holds no sample of the split %s", which, name)
