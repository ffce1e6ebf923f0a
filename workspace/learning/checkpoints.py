"""A published checkpoint at this site: its folder (one that the site's config names, or the hub's cache), and its model."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import nn

from federation.errors import InputError
from workspace.learning.checkpoint_files import are_a_librarys, check_files, labels_of, read_config

logger = logging.getLogger(__name__)

CLASSIFIER = "classifier"  # how the names of the layer that gives the logits begin, in every model here
MOST_NEW = 1 << 26  # parameters of a head that starts at random
_NOT_OURS = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.tflite"]  # other frameworks' copies of the weights


def checkpoint_folder(checkpoint: str, checkpoints: Mapping[str, str]) -> Path:
    """Find a checkpoint by its hub id.

    Parameters
    ----------
    checkpoint : str
        The id, such as ``facebook/wav2vec2-base``.
    checkpoints : mapping of str to str
        Ids and local folders, which come before the hub.

    Raises
    ------
    InputError
        If the folder holds no model, or the hub does not give one.
    """
    hint = f"map it to a local folder in this site's config: `checkpoints: {{{checkpoint}: /path/to/folder}}`"
    if checkpoint in checkpoints:
        folder = _expanded(checkpoint, checkpoints[checkpoint])
        if not (folder / "config.json").is_file():
            raise InputError(f"checkpoint {checkpoint!r}: no config.json in {folder}; {hint}")
        check_files(folder)
        return folder
    try:
        folder = Path(snapshot_download(checkpoint, ignore_patterns=_NOT_OURS))
    except Exception as error:
        # The hub's client raises whatever its transport does: all of it means the same here.
        raise InputError(
            f"checkpoint {checkpoint!r} is not to be had from the hub ({type(error).__name__}); {hint}"
        ) from error
    check_files(folder)
    return folder


def _expanded(checkpoint: str, folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"checkpoint {checkpoint!r}: {folder}: there is no such home folder; write the whole path"
        ) from error


def load_pretrained(model_class: Any, folder: Path, may_be_new: tuple[str, ...], **arguments: Any) -> Any:
    """Load a transformers model in float32, of which only the named parts may start from random weights.

    Where the checkpoint's config names other labels than ours, its classifier is one of something else: a new one is made.

    Parameters
    ----------
    model_class : type
        Whose ``from_pretrained`` is called.
    folder : pathlib.Path
        As `checkpoint_folder` returns it.
    may_be_new : tuple of str
        The beginnings of the names of tensors that the files may lack, or hold in another shape: the head's.
    **arguments
        For ``from_pretrained``: a config, or keys over the checkpoint's own.

    Raises
    ------
    ValueError
        If the files lack any other tensor: transformers would start it at random and go on. If the config claims a model that
        they cannot hold, or they cannot be read for any other reason.
    OSError
        If the files cannot be read.
    """
    with reading("config"):
        _check_claimed(model_class, folder, arguments)
    with reading("weights"):
        model, found = model_class.from_pretrained(
            folder, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True, **arguments
        )
    new = {*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}
    # Batches that BatchNorm has counted: older files have no such tensor, and nothing is computed from it.
    lacking = sorted(n for n in new if not n.startswith(may_be_new) and not n.endswith("num_batches_tracked"))
    if lacking:
        raise ValueError(f"{len(lacking)} tensors are missing or of another shape, the first is {lacking[0]}")
    # transformers initialises layers; a tensor between them some of its versions leave as whatever the memory held.
    start_anew = {name for name in new if not _is_in_a_layer(model, name)}
    if not any(name.startswith(CLASSIFIER) for name in new) and _has_other_labels(
        folder, model.config.id2label
    ):
        start_anew |= {name for name in model.state_dict() if name.startswith(CLASSIFIER)}
        logger.info("%s: its classifier is for other labels; a new one is trained", folder)
    if start_anew:
        fresh = type(model)(model.config).state_dict()
        model.load_state_dict({name: fresh[name] for name in start_anew}, strict=False)
    return model


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what libraries raise for files that lie, each in its own way, into a ValueError of one line.

    Parameters
    ----------
    what
        Of the checkpoint is being read.

    Raises
    ------
    ValueError
        In one line.
    InputError, OSError, MemoryError
        These pass as they are.
    """
    try:
        yield
    except (InputError, OSError, ValueError, MemoryError):
        raise
    except Exception as error:
        name = type(error).__name__
        # PyTorch would have them unpickled.
        said = "they hold something else than tensors" if name == "UnpicklingError" else str(error)
        raise ValueError(f"its {what} cannot be loaded ({name}: {' '.join(said.split())[:200]})") from error


def _check_claimed(model_class: Any, folder: Path, arguments: Mapping[str, Any]) -> None:
    """Count what the config claims, without memory for it: all but the head must be in the files."""
    config = arguments.get("config")
    if config is None:
        config = model_class.config_class.from_pretrained(folder, **arguments)
    # The weights that start at random must be the same as without this.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        shell = getattr(model_class, "from_config", model_class)(config)
    claimed = sum(parameter.numel() for parameter in shell.parameters())
    held = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
    if claimed > held + MOST_NEW:
        raise ValueError(f"its config claims {claimed:,} parameters, its files hold {held:,} bytes")


def _is_in_a_layer(model: nn.Module, name: str) -> bool:
    """Say whether a tensor belongs to a module without modules of its own, as weights and biases do."""
    return not list(model.get_submodule(name.rpartition(".")[0]).children())


def _has_other_labels(folder: Path, ours: Mapping[int, str]) -> bool:
    """Say whether a checkpoint names its labels, and others than ours or in another order; case is no difference."""
    file = folder / "config.json"
    theirs = [_compared(label) for label in labels_of(file, read_config(file))]
    return not are_a_librarys(theirs) and theirs != [_compared(ours[number]) for number in sorted(ours)]


def _compared(label: str) -> str:
    return unicodedata.normalize("NFC", label).lower()
