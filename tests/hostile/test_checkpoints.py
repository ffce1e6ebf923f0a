"""Checkpoints and exported folders that lie: each ends in one clear line, and nothing of it is run."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import Wav2Vec2ForPreTraining, Wav2Vec2ForSequenceClassification

from federation.errors import InputError
from tests.learning_parts import small_recipe
from workspace.learning.checkpoints import _check_claimed, checkpoint_folder, load_pretrained
from workspace.learning.exported import load_exported
from workspace.learning.training import initial_model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small sound one."""
    network = Wav2Vec2ForPreTraining(initial_model(small_recipe(), seed=5).config)  # type: ignore[arg-type]
    network.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def load(folder: Path) -> None:
    found = checkpoint_folder("example/model", {"example/model": str(folder)})
    load_pretrained(Wav2Vec2ForSequenceClassification, found, ("projector", "classifier"))


def change(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | changes))


class Evil:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def brings_code(folder: Path) -> None:
    change(folder / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})


def brings_code_in_its_tokenizer(folder: Path) -> None:
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})


def claims_a_huge_layer(folder: Path) -> None:
    change(folder / "config.json", hidden_size=1 << 20)


def claims_a_huge_number(folder: Path) -> None:
    change(folder / "config.json", intermediate_size=10**30)


def claims_many_layers(folder: Path) -> None:
    change(folder / "config.json", num_hidden_layers=10**9)


def is_nested(folder: Path) -> None:
    (folder / "config.json").write_text('{"a":' + "[" * 100_000 + "]" * 100_000 + "}")


def is_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def has_a_huge_config(folder: Path) -> None:
    with (folder / "config.json").open("a") as file:
        file.truncate(1 << 30)


def has_a_huge_tokenizer(folder: Path) -> None:
    with (folder / "tokenizer.json").open("w") as file:
        file.truncate(1 << 30)


def has_a_huge_vocabulary(folder: Path) -> None:
    with (folder / "vocab.txt").open("w") as file:
        file.truncate(1 << 30)


def has_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "preprocessor_config.json")


def has_an_endless_file(folder: Path) -> None:
    (folder / "vocab.json").symlink_to("/dev/zero")


def is_in_the_old_format(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def runs_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": Evil(folder / "run")}, folder / "pytorch_model.bin")


def runs_an_old_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(
        {"x": Evil(folder / "run")}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False
    )


def is_packed(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data/0", bytes(64 << 20))


def is_cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (brings_code, r"brings code of its own \(auto_map\), which is not run here"),
        (brings_code_in_its_tokenizer, r"tokenizer_config.json: brings code of its own"),
        (claims_a_huge_layer, "claims .* parameters, its files hold .* bytes"),
        (claims_a_huge_number, "'intermediate_size' is 1000.*, which no model has"),
        (claims_many_layers, "'num_hidden_layers' is 1000000000, which no model has"),
        (is_nested, "is no JSON mapping"),
        (is_a_list, "is no JSON mapping"),
        (has_a_huge_config, "config.json: is larger than 4 MiB"),
        (has_a_huge_tokenizer, "tokenizer.json: is larger than 128 MiB"),
        (has_a_huge_vocabulary, "vocab.txt: is larger than 128 MiB"),
        (has_a_pipe, "preprocessor_config.json: is a pipe or a device"),
        (has_an_endless_file, "vocab.json: is a pipe or a device"),
        (is_in_the_old_format, "PyTorch's old format, which is not read"),
        (runs_a_pickle, "they hold something else than tensors"),
        (runs_an_old_pickle, "PyTorch's old format"),
        (is_packed, "holds packed weights"),
        (is_cut, "Safetensor|[Hh]eader"),
    ],
)
def test_a_checkpoint_that_lies_is_refused_in_one_line(
    checkpoint: Path, lie: Callable[[Path], None], said: str
) -> None:
    load(checkpoint)
    lie(checkpoint)
    with pytest.raises((InputError, ValueError), match=said) as caught:
        load(checkpoint)
    assert len(str(caught.value).splitlines()) == 1
    assert not (checkpoint / "run").exists()


def test_looking_at_what_a_checkpoint_claims_draws_no_random_number(checkpoint: Path) -> None:
    """What starts at random is the same at every site."""
    before = torch.get_rng_state()
    _check_claimed(Wav2Vec2ForSequenceClassification, checkpoint, {})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("lie", [is_nested, is_a_list, has_a_huge_config, brings_code])
def test_an_exported_folder_that_lies_is_refused_in_one_line(
    checkpoint: Path, lie: Callable[[Path], None]
) -> None:
    change(checkpoint / "config.json", architectures=["Wav2Vec2ForSequenceClassification"])
    lie(checkpoint)
    with pytest.raises(InputError) as caught:
        load_exported(checkpoint)
    assert len(str(caught.value).splitlines()) == 1
