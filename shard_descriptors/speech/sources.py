"""Where the recordings come from: a local folder, torchaudio, or Hugging Face datasets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from federation.errors import InputError
from shard_descriptors.descriptor import SplitName
from shard_descriptors.folders import BESIDE, class_folders, nothing_found, sample_files, text_name
from shard_descriptors.speech.audio import SUFFIXES
from shard_descriptors.speech.classes import BACKGROUND
from shard_descriptors.speech.corpus import Background, Corpus, Recording, published_split, speaker_of
from shard_descriptors.speech.hugging_face import from_hugging_face
from shard_descriptors.speech.lists import listed_splits, present_lists
from shard_descriptors.speech.settings import SpeechCommandsSettings


def open_corpus(settings: SpeechCommandsSettings) -> Corpus:
    """List the recordings of the source that the settings name; audio is not read yet."""
    if settings.source == "huggingface":
        return from_hugging_face(settings)
    assert settings.root is not None, "checked with the settings"
    if settings.source == "torchaudio":
        return _from_torchaudio(settings.root, settings)
    return _from_folder(settings)


def _from_folder(settings: SpeechCommandsSettings) -> Corpus:
    """List a folder in Speech Commands layout.

    Folders whose name starts with ``_`` are no words: of these, ``_background_noise_`` is used, and the
    ``_silence_`` and ``_unknown_`` of the published test archive are left out: they were cut from the same
    material.
    """
    root = settings.root
    assert root is not None, "checked with the settings"
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set root to the folder that holds one folder per word")
    folders, others = class_folders(root, ("_", "."), SUFFIXES)
    if (root / BACKGROUND).is_dir():
        others["folders that are no class"] -= 1
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    for folder in folders:
        found, beside = sample_files(folder, SUFFIXES)
        files += found
        left_out += beside
        if not found:
            others["folders without a recording"] += 1
    if not files:
        raise nothing_found(
            root, folders, left_out + Counter({BESIDE: others[BESIDE]}), SUFFIXES, "<word>/*.wav"
        )
    return _corpus(root, files, left_out + others, settings)


def _from_torchaudio(root: Path, settings: SpeechCommandsSettings) -> Corpus:
    from torchaudio.datasets import SPEECHCOMMANDS

    try:
        if settings.download:
            root.mkdir(parents=True, exist_ok=True)
        dataset = SPEECHCOMMANDS(root, url=settings.version, download=settings.download)
        files = [root / "SpeechCommands" / dataset.get_metadata(index)[0] for index in range(len(dataset))]
    except (RuntimeError, ValueError, OSError) as error:
        hint = (
            "is the network allowed?"
            if settings.download
            else "set download: true where the network allows it"
        )
        raise InputError(f"{root}: torchaudio cannot open {settings.version}; {hint} ({error})") from error
    inside = root / "SpeechCommands" / settings.version
    # It takes what macOS writes beside files, too.
    files = [file for file in files if file.parent.name[0] not in "_." and not file.name.startswith(".")]
    return _corpus(inside, files, _beside(inside, files), settings)


def _beside(root: Path, taken: list[Path]) -> Counter[str]:
    """Count what torchaudio has left in the folders of words."""
    there = sum(1 for file in root.glob("[!_.]*/*") if file.is_file())
    return Counter({"files that torchaudio does not take": there - len(taken)})


def _corpus(
    root: Path, files: list[Path], left_out: Counter[str], settings: SpeechCommandsSettings
) -> Corpus:
    named = sorted((text_name(root, file.parent.name), text_name(root, file.name), file) for file in files)
    ids = [f"{word}/{name}" for word, name, _ in named]
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise InputError(f"{root}: {twice[0]} is there in both forms of Unicode (NFC and NFD); remove one")
    lists = present_lists(root)
    listed: dict[str, SplitName] = {}
    if lists and settings.split == "published":
        listed, absent = listed_splits(lists, ids)
        left_out = left_out + absent
    recordings = [
        Recording(
            name,
            word,
            speaker_of(base),
            file,
            listed.get(name, "train") if lists else published_split(base),
        )
        for name, (word, base, file) in zip(ids, named, strict=True)
    ]
    backgrounds: list[Background] = []
    if (root / BACKGROUND).is_dir():
        noises, _ = sample_files(root / BACKGROUND, SUFFIXES)
        backgrounds = [Background(text_name(root, file.name), file) for file in noises]
    return Corpus(str(root), recordings, backgrounds, left_out=+left_out)
