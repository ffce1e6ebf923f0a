"""Images as a shard: files to squares of pixels, splits and partitions, Hugging Face datasets, and bad data."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, concatenate
from shard_descriptors.images.image_folder import ImageFolderShard
from shard_descriptors.images.pixels import read_image
from tests.image_data import CLASSES, make_image_folder
from tests.refusals import refusal_of


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of each class, of five photographers."""
    return make_image_folder(tmp_path_factory.mktemp("images") / "images")


@pytest.fixture
def root(images: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(images, tmp_path / "data"))


def open_shard(root: Path, **settings: Any) -> ImageFolderShard:
    return ImageFolderShard(**{"root": root, "image_size": 16, **settings})


def refusal(**settings: Any) -> str:
    return refusal_of(lambda: ImageFolderShard(**{"image_size": 16, **settings}))


def test_a_sample_is_a_square_of_pixels_a_label_and_a_name(images: Path) -> None:
    shard = open_shard(images, dataset="colours")
    assert (shard.dataset, shard.classes) == ("colours", CLASSES)
    for name in SPLITS:
        for sample in shard.split(name):
            assert sample["image"].shape == (16, 16, 3)
            assert sample["image"].dtype == np.uint8
            word = CLASSES[sample["label"]]
            assert sample["id"].startswith(f"{word}/")
            means = sample["image"].mean((0, 1))
            assert ("red", "green", "blue")[int(means.argmax())] == word


def test_images_are_turned_upright_made_rgb_and_cut_from_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = (200, 0, 0)
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    upright.convert("RGBA").save(tmp_path / "alpha.png")
    upright.convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    upright.convert("L").convert("P").save(tmp_path / "palette.png")
    assert (read_image(tmp_path / "turned.png", 10) == (200, 0, 0)).all()
    assert (read_image(tmp_path / "alpha.png", 10) == (200, 0, 0)).all()
    assert np.abs(read_image(tmp_path / "print.jpg", 10).astype(int) - (200, 0, 0)).max() < 40
    assert np.ptp(read_image(tmp_path / "palette.png", 10)) == 0
    assert read_image(tmp_path / "alpha.png", 48).shape == (48, 48, 3)


def test_splits_take_their_shares_of_each_class_and_do_not_overlap(images: Path) -> None:
    shard = open_shard(images, validation_share=0.15, test_share=0.2)
    assert {name: list(shard.class_counts(name).values()) for name in SPLITS} == {
        "train": [13] * 3,
        "validation": [3] * 3,
        "test": [4] * 3,
    }
    assert len({name for split in SPLITS for name in shard.split(split).ids}) == 60
    other = open_shard(images, seed=1)
    assert shard.fingerprint() == open_shard(images).fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    "settings",
    [{}, {"partition": "dirichlet"}, {"partition": "group", "group_pattern": "[0-9]+"}],
    ids=["stride", "dirichlet", "group"],
)
def test_a_partition_gives_each_image_to_one_shard_and_the_test_to_all(
    images: Path, settings: dict[str, Any]
) -> None:
    shards = ImageFolderShard.open_all(root=images, image_size=16, worldsize=3, **settings)
    whole = ImageFolderShard(root=images, image_size=16, **{**settings, "partition": "stride"})
    for name in ("train", "validation"):
        ids = [held for shard in shards for held in shard.split(name).ids]  # type: ignore[arg-type]
        assert sorted(ids) == sorted(whole.split(name).ids)  # type: ignore[arg-type]
    assert all(shard.split("test").ids == whole.split("test").ids for shard in shards)
    alone = ImageFolderShard(root=images, image_size=16, worldsize=3, rank=1, **settings)
    assert alone.fingerprint() == shards[1].fingerprint()
    if "group_pattern" in settings:
        groups = [set(shard.split(name).groups) for shard in shards for name in ("train", "validation")]
        groups.append(set(whole.split("test").groups))
        assert sum(map(len, groups)) == len(set().union(*groups)) == 5


def test_published_splits_are_folders_above_the_classes(images: Path, tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        shutil.copytree(images, tmp_path / part)
    shard = open_shard(tmp_path, split="published")
    assert [len(shard.split(name)) for name in SPLITS] == [60, 60, 60]
    assert shard.split("validation").ids[0].startswith("val/blue/")
    shutil.rmtree(tmp_path / "val")
    drawn = open_shard(tmp_path, split="published", validation_share=0.25)
    assert [len(drawn.split(name)) for name in SPLITS] == [45, 15, 60]


def as_dataset(root: Path) -> datasets.Dataset:
    files = sorted(root.glob("*/*.*"))
    columns = {
        "picture": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
        "kind": [CLASSES.index(file.parent.name) for file in files],
    }
    made = datasets.Dataset.from_dict(columns).cast_column("picture", datasets.Image())
    return made.cast_column("kind", datasets.ClassLabel(names=list(CLASSES)))


HUGGING_FACE = {"source": "huggingface", "image_column": "picture", "label_column": "kind"}


def test_a_saved_hugging_face_dataset_holds_the_same_images(images: Path, tmp_path: Path) -> None:
    as_dataset(images).save_to_disk(tmp_path / "one")
    shard = open_shard(tmp_path / "one", **HUGGING_FACE)
    assert shard.classes == CLASSES
    for sample in shard.split("train")[:6]:
        file = images / CLASSES[sample["label"]] / sample["id"].rsplit("/")[-1]
        np.testing.assert_array_equal(sample["image"], read_image(file, 16))
    grouped = open_shard(tmp_path / "one", group_pattern="[0-9]+", **HUGGING_FACE)
    assert len({group for name in SPLITS for group in grouped.split(name).groups}) == 5


def test_a_saved_dataset_with_splits_keeps_them(images: Path, tmp_path: Path) -> None:
    table = as_dataset(images)
    parts = datasets.DatasetDict(train=table, test=table.select(range(7)))
    parts.save_to_disk(tmp_path / "two")
    shard = open_shard(tmp_path / "two", split="published", validation_share=0.2, **HUGGING_FACE)
    assert [len(shard.split(name)) for name in SPLITS] == [48, 12, 7]


def test_what_is_no_dataset_of_images_is_named(images: Path, tmp_path: Path) -> None:
    table = as_dataset(images)
    table.save_to_disk(tmp_path / "sound")
    assert "has no column 'image'; it has picture, kind" in refusal(
        source="huggingface", root=tmp_path / "sound"
    )
    table.cast_column("kind", datasets.Value("int64")).save_to_disk(tmp_path / "numbers")
    assert "numbers without names" in refusal(root=tmp_path / "numbers", **HUGGING_FACE)
    assert "not a dataset saved by save_to_disk" in refusal(root=images, **HUGGING_FACE)
    assert "either root, a saved copy, or hub" in refusal(source="huggingface")


def damaged(file: Path) -> Iterator[tuple[bytes, str]]:
    whole = file.read_bytes()
    yield b"", "empty file"
    yield b"not an image", "no JPEG or PNG image"
    yield whole[: len(whole) // 2], "cannot be read as an image"


def test_a_few_unreadable_files_are_counted_listed_and_skipped(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = {}
    for file in (root / "blue" / "0_000.png", root / "blue" / "3_003.jpg"):
        for content, reason in damaged(file):
            copy = file.with_name(f"{len(spoilt)}_spoilt{file.suffix}")
            copy.write_bytes(content)
            spoilt[copy] = reason
    with caplog.at_level(logging.WARNING):
        shard = open_shard(root, max_unreadable=0.1)
    for file, reason in spoilt.items():
        assert f"{file}: {reason}" in caplog.text
    assert "skipped 6 of 66 files" in caplog.text
    assert sum(len(shard.split(name)) for name in SPLITS) == 60
    line = refusal(root=root, max_unreadable=0.05)
    assert line.startswith("6 of 66 files cannot be used, more than max_unreadable 0.05 allows; the first is")


def test_an_image_that_unpacks_to_far_too_much_is_unreadable(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (3000, 3000)).save(root / "blue" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    assert f"{root}/blue/bomb.png: cannot be read as an image" in refusal(root=root, max_unreadable=0.0)


def test_damage_that_opening_did_not_look_for_is_named_when_it_is_met(root: Path) -> None:
    for file in root.glob("*/*.png"):
        file.write_bytes(file.read_bytes()[:-200])
    train = open_shard(root, check="header").split("train")
    at = next(number for number, name in enumerate(train.ids) if name.endswith(".png"))
    with pytest.raises(InputError, match=f"{train.ids[at]}: cannot be read as an image"):
        train[at]
    (root / train.ids[at]).unlink()
    with pytest.raises(InputError, match=f"{train.ids[at]}: no such file"):
        train[at]


def test_missing_folders_and_classes_are_named(images: Path, root: Path, tmp_path: Path) -> None:
    assert refusal(root=tmp_path / "none").startswith(f"{tmp_path}/none: no such folder; set root")
    (tmp_path / "empty").mkdir()
    assert refusal(root=tmp_path / "empty").startswith(f"{tmp_path}/empty: no <class>/*.jpg or *.png below")
    assert "no class 'pink'; add its folder" in refusal(root=images, classes=["red", "pink"])
    assert "no folder 'train' below it" in refusal(root=images, split="published")
    assert "root is missing" in refusal()
    (root / "pink").mkdir()
    assert open_shard(root, classes=["red", "pink"]).class_counts("train") == {"red": 13, "pink": 0}


def test_wrong_settings_are_named(images: Path) -> None:
    assert "rank 3 is beyond worldsize 3" in refusal(root=images, rank=3, worldsize=3)
    assert "image_sise: unknown key; did you mean image_size?" in refusal(root=images, image_sise=3)
    assert "needs a group_pattern" in refusal(root=images, partition="group")
    assert "no regular expression" in refusal(root=images, group_pattern="(")
    assert "does not match group_pattern '[a-z]+'" in refusal(root=images, group_pattern="[a-z]+")
    assert "classes names a class twice" in refusal(root=images, classes=["red", "red"])
    assert "leave nothing to train on" in refusal(root=images, test_share=0.9)


def test_an_empty_shard_is_an_error(images: Path) -> None:
    settings = {"partition": "group", "group_pattern": "[0-9]+", "worldsize": 9, "rank": 8}
    assert refusal(root=images, **settings) == (
        f"shard 8 of 9 (partition: group) of {images} is empty; lower worldsize or change partition"
    )


@pytest.mark.parametrize(("variable", "classes"), [("FLOWERS_ROOT", 5), ("MNIST_PNG_ROOT", 10)])
def test_every_real_image_can_be_seen(variable: str, classes: int) -> None:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set: no such real images here")
    shard = ImageFolderShard(root=folder, image_size=32, max_unreadable=0.0)
    assert len(shard.classes) == classes
    for sample in concatenate([shard.split(name) for name in SPLITS]):
        assert sample["image"].shape == (32, 32, 3)
        assert np.ptp(sample["image"]) > 0
