"""A model folder holds one model, whole: nothing of an earlier one stays, and nothing else is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from federation.errors import InputError
from tests import image_data, learning_parts
from workspace.learning.exported import load_exported
from workspace.learning.recipe import Recipe
from workspace.model_folder import write_model_folder


def exporting(recipe: Recipe) -> Callable[[Path], None]:
    model = recipe.build_model()
    return lambda folder: recipe.export(model, folder)


SPEECH = exporting(learning_parts.small_recipe())
IMAGES = exporting(image_data.small_recipe())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_model_is_refused_and_replaced_only_by_force_and_nothing_of_it_stays(tmp_path: Path) -> None:
    folder, fresh = tmp_path / "model", tmp_path / "fresh"
    write_model_folder(folder, SPEECH)
    # What other models have, and this one has not.
    for stale in ("tokenizer.json", "vocab.txt", "pytorch_model.bin", "model-00001-of-00002.safetensors"):
        (folder / stale).write_text("of another model")
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    with pytest.raises(InputError, match=r"holds another model \(config.json\); .*--force"):
        write_model_folder(folder, IMAGES)
    assert contents(folder) == before

    write_model_folder(folder, IMAGES, force=True)
    write_model_folder(fresh, IMAGES)
    assert contents(folder) == contents(fresh) | {"notes.txt": b"mine"}
    assert load_exported(folder)[0].classes == image_data.CLASSES


def test_the_same_model_again_changes_nothing(tmp_path: Path) -> None:
    write_model_folder(tmp_path / "model", IMAGES)
    there = {path: path.stat().st_ino for path in (tmp_path / "model").iterdir()}
    write_model_folder(tmp_path / "model", IMAGES)
    assert {path: path.stat().st_ino for path in (tmp_path / "model").iterdir()} == there


def test_a_folder_with_other_files_gets_a_model_beside_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_model_folder(tmp_path, SPEECH)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    load_exported(tmp_path)


def test_a_file_that_is_no_models_is_not_taken_for_one_nor_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text("mine")
    (tmp_path / "vocab.txt").write_text("mine, too")
    with pytest.raises(InputError, match=r"preprocessor_config.json"):
        write_model_folder(tmp_path, SPEECH)
    write_model_folder(tmp_path, SPEECH, force=True)
    assert (tmp_path / "vocab.txt").read_text() == "mine, too"
    load_exported(tmp_path)


@pytest.mark.parametrize("is_there", [True, False], ids=["a folder with a model", "no folder"])
def test_an_export_that_fails_leaves_all_as_it_was(tmp_path: Path, is_there: bool) -> None:
    if is_there:
        write_model_folder(tmp_path / "model", SPEECH)
    before = contents(tmp_path)

    def fails(folder: Path) -> None:
        IMAGES(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_model_folder(tmp_path / "model", fails, force=True)
    assert contents(tmp_path) == before
    assert (tmp_path / "model").exists() == is_there


def test_a_folder_is_never_taken_for_a_model_that_is_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each removal and each rename, a kill would leave one whole model, or none."""
    write_model_folder(tmp_path / "speech", SPEECH)
    write_model_folder(tmp_path / "images", IMAGES)
    whole = [contents(tmp_path / name) for name in ("speech", "images")]
    seen = []

    def looking(function: Callable[..., None]) -> Callable[..., None]:
        def looked(*arguments: object, **keywords: object) -> None:
            there = contents(folder)
            there = {name: data for name, data in there.items() if "unfinished" not in name}
            seen.append("config.json" in there)
            assert there in whole or "config.json" not in there
            function(*arguments, **keywords)

        return looked

    folder = tmp_path / "model"
    write_model_folder(folder, SPEECH)
    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, looking(getattr(os, name)))
    write_model_folder(folder, IMAGES, force=True)
    assert seen[0] and not all(seen)
    assert contents(folder) == whole[1]
