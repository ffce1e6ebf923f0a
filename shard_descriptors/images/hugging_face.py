"""Images in Hugging Face data sets: from the Hub, or saved to disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import Any

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS
from shard_descriptors.hugging_face import open_splits
from shard_descriptors.images.pixels import EmbeddedImage
from shard_descriptors.images.settings import ImageFolderSettings
from shard_descriptors.images.sources import NAMES, Album, Picture, picture
from shard_descriptors.labels import NoLabel, class_of, names_in, same_name


def album_of_rows(settings: ImageFolderSettings) -> Album:
    """List the images of a data set; pixels are not read yet, and rows without a label are what cannot be used.

    Raises
    ------
    InputError
        It cannot be had, has other splits or columns, or no image.
    """
    name = str(settings.root or settings.hub)
    classes: dict[str, None] = {}
    pictures: list[Picture] = []
    unusable: list[str] = []
    left_out: Counter[str] = Counter()
    tables = open_splits(settings.root, str(settings.hub), str(settings.hub), NAMES)
    for split in (split for split in SPLITS if split in tables):
        table = _undecoded(name, split, tables[split], settings)
        names = names_in(table, settings.label_column, f"{name}: split {split}")
        classes |= dict.fromkeys(map(same_name, names or ()))
        rows = list(_rows(table, names, settings))
        if rows and all(label is None for label, _, _ in rows):
            left_out[f"rows of the split {split}, which has no labels"] += len(rows)
            continue
        for row, (label, path, problem) in enumerate(rows):
            where = f"{name}[{split}][{row}]"
            base = same_name(PureWindowsPath(path or f"{row:06d}").name)
            if label is None or problem:
                unusable.append(f"{where}: {problem}")
                continue
            file = EmbeddedImage(table, row, settings.image_column, f"{where} {base}")
            pictures.append(picture(f"{split}/{row:06d}/{base}", label, file, split, settings))
    if not pictures:
        first = f"; the first row: {unusable[0]}" if unusable else ""
        raise InputError(f"{name}: holds no images with a label{first}")
    return Album(name, tuple(classes or sorted({one.word for one in pictures})), pictures, unusable, left_out)


def _rows(
    table: Any, names: tuple[str, ...] | None, settings: ImageFolderSettings
) -> Iterator[tuple[str | None, str | None, str]]:
    """Yield the label and the path of every row, where it has them, and what is wrong with it."""
    paths = _paths(table, settings.image_column)
    for cell, path in zip(list(table[settings.label_column]), paths, strict=True):
        try:
            label = same_name(class_of(cell, names))
        except NoLabel as error:
            yield None, path, str(error)
            continue
        lacks_group = settings.group_pattern is not None and not path
        yield label, path, "no file name, which group_pattern needs" if lacks_group else ""


def _undecoded(name: str, split: str, table: Any, settings: ImageFolderSettings) -> Any:
    import datasets

    for column in (settings.image_column, settings.label_column):
        if column not in table.column_names:
            known = ", ".join(table.column_names)
            raise InputError(f"{name}: split {split} has no column {column!r}; it has {known}")
    try:
        return table.cast_column(settings.image_column, datasets.Image(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{name}: the column {settings.image_column!r} of the split {split} holds no image files; set image_column"
        ) from error


def _paths(table: Any, column: str) -> list[str | None]:
    """Read the files' names without reading the images."""
    import pyarrow.compute as compute

    paths: list[str | None] = []
    for chunk in table.with_format("arrow")[:][column].chunks if len(table) else ():
        paths += compute.struct_field(chunk, "path").to_pylist()
    return paths
