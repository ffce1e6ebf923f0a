"""Checkpoints as users have them: in several files, pickled, with labels in another order, of no names, or of none."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2ForSequenceClassification

from federation.errors import InputError
from tests.learning_parts import CLASSES, SMALL, Tones, small_recipe
from workspace.experiments.keyword_spotting.recipe import KeywordSpotting
from workspace.experiments.keyword_spotting.settings import KeywordSpottingSettings
from workspace.learning.adapters import with_adapters
from workspace.learning.exchange import exchanged_tensors
from workspace.learning.exported import load_exported
from workspace.learning.settings import LoraSettings
from workspace.learning.training import initial_model, train_round

ID = "somebody/wav2vec2"


def started(folder: Path | str, **settings: Any) -> KeywordSpotting:
    return KeywordSpotting(KeywordSpottingSettings(checkpoint=ID, **settings), CLASSES, {ID: str(folder)})


@pytest.fixture
def trained() -> Any:
    return initial_model(small_recipe(), seed=5)


@pytest.fixture
def checkpoint(trained: Any, tmp_path: Path) -> Path:
    small_recipe().export(trained, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def as_one_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_shards(folder: Path) -> None:
    model: Any = Wav2Vec2ForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def as_pickles_in_shards(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names, index = sorted(weights), {}
    for number in range(2):
        part = f"pytorch_model-{number + 1:05}-of-00002.bin"
        torch.save({name: weights[name] for name in names[number::2]}, folder / part)
        index |= dict.fromkeys(names[number::2], part)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("written", [as_one_pickle, in_shards, as_pickles_in_shards])
def test_weights_are_read_however_they_lie(written: Any, checkpoint: Path, trained: Any) -> None:
    written(checkpoint)
    found = exchanged_tensors(initial_model(started(checkpoint), 1))
    for name, tensor in exchanged_tensors(trained).items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


def test_what_a_trainer_leaves_beside_the_weights_is_no_matter(checkpoint: Path, trained: Any) -> None:
    as_one_pickle(checkpoint)
    for name in ("training_args.bin", "optimizer.pt"):
        torch.save({"learning_rate": 1e-4}, checkpoint / name, _use_new_zipfile_serialization=False)
    found = exchanged_tensors(initial_model(started(checkpoint), 1))
    np.testing.assert_array_equal(found["classifier.weight"], exchanged_tensors(trained)["classifier.weight"])


def test_other_tensors_in_the_folder_do_not_keep_pickled_weights_from_being_looked_at(
    checkpoint: Path,
) -> None:
    as_one_pickle(checkpoint)
    save_file({"x": torch.zeros(3)}, checkpoint / "adapter_model.safetensors")
    torch.save({}, checkpoint / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="holds weights in PyTorch's old format"):
        started(checkpoint)


@pytest.mark.parametrize("written", [in_shards, as_pickles_in_shards])
def test_a_shard_that_is_missing_is_told_in_one_line(written: Any, checkpoint: Path) -> None:
    written(checkpoint)
    next(iter(sorted(checkpoint.glob("*-00002-of-*")))).unlink()
    with pytest.raises(InputError, match=r"checkpoint somebody/wav2vec2: .*00002-of") as caught:
        started(checkpoint).build_model()
    assert len(str(caught.value).splitlines()) == 1


def relabel(folder: Path, labels: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = labels
    config.pop("label2id", None)
    if labels is None:
        del config["id2label"]
    (folder / "config.json").write_text(json.dumps(config))


def test_labels_in_another_order_are_another_head(checkpoint: Path, trained: Any) -> None:
    relabel(checkpoint, {str(i): name for i, name in enumerate(reversed(CLASSES))})
    found = exchanged_tensors(initial_model(started(checkpoint), 1))
    theirs = exchanged_tensors(trained)
    assert not np.array_equal(found["classifier.weight"], theirs["classifier.weight"])
    np.testing.assert_array_equal(found["projector.weight"], theirs["projector.weight"])
    assert list(load_exported(checkpoint)[0].classes) == list(reversed(CLASSES))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"low": 0, "middle": 1, "high": 2}, "id2label has 0 under 'low'; it must map the number"),
        (["low", "middle", "high"], "id2label is .*; it must map the number"),
        ({"0": None, "1": "middle", "2": "high"}, "id2label has null under '0'"),
    ],
    ids=str,
)
def test_labels_that_are_inverted_or_no_names_are_told_where_they_are_read(
    labels: Any, said: str, checkpoint: Path
) -> None:
    relabel(checkpoint, labels)
    for read in (started, load_exported):
        with pytest.raises(InputError, match=f"config.json: {said}"):
            read(checkpoint)


@pytest.mark.parametrize(
    ("labels", "said"),
    [({str(i): f"LABEL_{i}" for i in range(3)}, "LABEL_0, LABEL_1, LABEL_2"), (None, "no id2label")],
)
def test_a_model_whose_labels_have_no_names_can_be_trained_and_answers_nothing(
    labels: Any, said: str, checkpoint: Path, trained: Any
) -> None:
    """A library leaves out of the config what it has made up itself."""
    relabel(checkpoint, labels)
    found = exchanged_tensors(initial_model(started(checkpoint), 1))
    weight = "classifier.weight"
    if labels:
        np.testing.assert_array_equal(found[weight], exchanged_tensors(trained)[weight])
    with pytest.raises(InputError, match=rf"config.json: does not name the model's labels \({said}\); write"):
        load_exported(checkpoint)


def test_adapters_are_trained_with_gradient_checkpointing_to_the_same_weights(
    checkpoint: Path, tmp_path: Path
) -> None:
    trained = []
    for checkpointing in (False, True):
        recipe = started(checkpoint, lora=LoraSettings(rank=2), gradient_checkpointing=checkpointing)
        model = initial_model(recipe, 1)
        before = exchanged_tensors(model)
        train_round(recipe, model, Tones(8), SMALL, rounds=1, round_number=0, seed=1, site="a", device="cpu")
        after = exchanged_tensors(model)
        assert [name for name in before if np.array_equal(before[name], after[name])] == []
        trained.append(after)
        recipe.export(model, tmp_path / f"out-{checkpointing}")
    for name, tensor in trained[0].items():
        np.testing.assert_allclose(trained[1][name], tensor, atol=1e-6, err_msg=name)
    load_exported(tmp_path / "out-True")


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            ["q_proj", "layers.9.attention.q_proj"],
            "'layers.9.attention.q_proj' is the end of no layer's name",
        ),
        (["layer_norm"], "'layer_norm' names .*, which is no linear layer"),
    ],
)
def test_adapters_of_no_linear_layer_are_told_by_the_settings_name(
    targets: list[str], said: str, checkpoint: Path
) -> None:
    model = started(checkpoint).build_model()
    with pytest.raises(InputError, match=rf"task_runner.settings.lora.target_modules: {said}"):
        with_adapters(model, LoraSettings(target_modules=targets), (), ())


def test_a_folder_is_found_by_its_path_where_there_is_no_home(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    started(checkpoint).build_model()


def test_a_home_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    nobody = "~nobody-of-this-name/model"
    with pytest.raises(InputError, match=rf"checkpoint '{ID}': {re.escape(nobody)}.* whole path"):
        started(nobody)


def test_a_copy_of_a_folder_under_another_name_is_the_same_model(checkpoint: Path, tmp_path: Path) -> None:
    copied = tmp_path / "模型 with spaces"
    shutil.copytree(checkpoint, copied)
    (copied / ".DS_Store").write_bytes(os.urandom(100))
    one, other = (exchanged_tensors(initial_model(started(f), 1)) for f in (checkpoint, copied))
    for name, tensor in one.items():
        np.testing.assert_array_equal(other[name], tensor)
