"""Where a published checkpoint lies at this site: a folder that its config names, or the hub's cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import snapshot_download

from federation.errors import InputError

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
        folder = Path(checkpoints[checkpoint]).expanduser()
        if not (folder / "config.json").is_file():
            raise InputError(f"checkpoint {checkpoint!r}: no config.json in {folder}; {hint}")
        return folder
    try:
        return Path(snapshot_download(checkpoint, ignore_patterns=_NOT_OURS))
    except Exception as error:
        # The hub's client raises whatever its transport does: all of it means the same here.
        raise InputError(
            f"checkpoint {checkpoint!r} is not to be had from the hub ({type(error).__name__}); {hint}"
        ) from error
