"""The kinds of data to try a plan with, and the folder that each becomes: the data, and a federation file that divides it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from federation.errors import InputError
from federation.paths import remove
from shard_descriptors.sample_data.digits import write_digits
from shard_descriptors.sample_data.sentence_pairs import write_pairs
from shard_descriptors.sample_data.sentences import write_sentences
from shard_descriptors.sample_data.spoken_words import Progress, write_spoken_words

FEDERATION_FILE = "federation.yaml"
ENVOYS = ("north", "south", "west")  # as many as the tiny plans ask for


@dataclass(frozen=True)
class Kind:
    """Data of a family.

    Parameters
    ----------
    name
        Of the file or folder that holds it.
    write
        Makes it at a path, tells how far it is, and returns what it made.
    shard
        The dotted name of the shard descriptor that opens it.
    settings
        Of every envoy's shard and of the test's.
    division
        Of every envoy's shard.
    plan
        The plan that learns it.
    """

    name: str
    write: Callable[[Path, Progress | None], str]
    shard: str
    settings: dict[str, Any]
    division: dict[str, Any]
    plan: str


KINDS = {
    "images": Kind(
        "digits",
        lambda path, _: write_digits(path),
        "shard_descriptors.images.image_folder.ImageFolderShard",
        {"dataset": "mnist", "image_size": 32},
        {},
        "image_tiny",
    ),
    "speech": Kind(
        "speech_commands",
        write_spoken_words,
        "shard_descriptors.speech.speech_commands.SpeechCommandsShard",
        {"split": "speaker", "validation_share": 0.2, "test_share": 0.2},
        {"partition": "speaker"},
        "keyword_spotting_tiny",
    ),
    "text": Kind(
        "sentences",
        lambda path, _: write_sentences(path),
        "shard_descriptors.text.sentiment.SentimentShard",
        {},
        {"partition": "source"},
        "sentiment_tiny",
    ),
    "translation": Kind(
        "english_french.txt",
        lambda path, _: write_pairs(path),
        "shard_descriptors.text.translation.TranslationShard",
        {"validation_share": 0.1},
        {},
        "translation_tiny",
    ),
}


def make(kind: Kind, folder: Path, progress: Progress | None = None) -> str:
    """Write data and a federation file over it; they appear when they are complete.

    Returns
    -------
    str
        What was made.

    Raises
    ------
    InputError
        If something is there already.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is not an empty folder; choose another one, or remove what is there")
    whole = folder.resolve()
    part = whole.with_name(f".{whole.name}.part")
    remove(part.parent, part.name, missing_ok=True)
    try:
        part.mkdir(parents=True)
        made = kind.write(part / kind.name, progress)
        content = yaml.safe_dump(federation(kind), sort_keys=False, width=200, default_flow_style=None)
        (part / FEDERATION_FILE).write_text(content, "utf-8")
        whole.mkdir(exist_ok=True)
        for name in (kind.name, FEDERATION_FILE):
            (part / name).rename(whole / name)
    finally:
        with suppress(OSError):
            remove(part.parent, part.name)
    return made


def federation(kind: Kind) -> dict[str, Any]:
    """Return what the federation file says: three envoys, and the test that none of them holds."""
    common = {"root": kind.name} | kind.settings | {"seed": 1}

    def entry(**own: Any) -> dict[str, Any]:
        return {"shard_descriptor": {"template": kind.shard, "settings": common | own}}

    envoys = {
        name: entry(**kind.division, rank=rank, worldsize=len(ENVOYS)) for rank, name in enumerate(ENVOYS)
    }
    return {"envoys": envoys, "test": entry(worldsize=len(ENVOYS))}
