"""Where the recordings come from: a local folder, torchaudio, or Hugging Face datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from federation.errors import InputError
from federation.files import read_text
from shard_descriptors.descriptor import SPLITS, SplitName
from shard_descriptors.speech.audio import SAMPLING_RATE, EmbeddedFile, UnreadableAudio, read_header
from shard_descriptors.speech.classes import BACKGROUND, SILENCE
from shard_descriptors.speech.corpus import Background, Corpus, Recording, published_split, speaker_of
from shard_descriptors.speech.settings import SpeechCommandsSettings

LIST_BYTES = 64 << 20


def open_corpus(settings: SpeechCommandsSettings) -> Corpus:
    """List the recordings of the source that the settings name; audio is not read yet."""
    if settings.source == "huggingface":
        return _from_hugging_face(settings)
    assert settings.root is not None, "checked with the settings"
    if settings.source == "torchaudio":
        return _from_torchaudio(settings.root, settings)
    return _from_folder(settings.root)


def _from_folder(root: Path) -> Corpus:
    """List a folder in Speech Commands layout.

    Folders whose name starts with ``_`` are no words: of these, ``_background_noise_`` is used, and the
    ``_silence_`` and ``_unknown_`` of the published test archive are left out: they were cut from the same
    material.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set root to the folder that holds one folder per word")
    files = [
        file
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(("_", "."))
        for file in _wav_files(folder)
    ]
    if not files:
        raise InputError(
            f"{root}: no <word>/*.wav below it; set root to the folder that holds one folder per word"
        )
    return _corpus(root, files)


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
    return _corpus(root / "SpeechCommands" / settings.version, files)


def _corpus(root: Path, files: list[Path]) -> Corpus:
    listed = _published_lists(root)
    recordings = []
    for file in sorted(files):
        name = f"{file.parent.name}/{file.name}"
        published = published_split(file.name) if listed is None else listed.get(name, "train")
        recordings.append(Recording(name, file.parent.name, speaker_of(file.name), file, published))
    noises = root / BACKGROUND
    backgrounds = [Background(file.name, file) for file in _wav_files(noises)] if noises.is_dir() else []
    return Corpus(str(root), recordings, backgrounds)


def _wav_files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix == ".wav" and not file.name.startswith(".")
    )


def _published_lists(root: Path) -> dict[str, SplitName] | None:
    lists: dict[SplitName, Path] = {
        "validation": root / "validation_list.txt",
        "test": root / "testing_list.txt",
    }
    present = [file for file in lists.values() if file.is_file()]
    if not present:
        return None
    if len(present) < len(lists):
        missing = next(file for file in lists.values() if file not in present)
        raise InputError(f"{missing}: missing beside {present[0].name}; provide both lists or neither")
    return {
        line.strip(): name
        for name, file in lists.items()
        for line in read_text(file, LIST_BYTES).splitlines()
    }


def _from_hugging_face(settings: SpeechCommandsSettings) -> Corpus:
    name, tables = _tables(settings)
    published = len(tables) > 1
    recordings, backgrounds = [], []
    for split, table in tables.items():
        for row, (label, path) in enumerate(_labels_and_paths(name, table)):
            base = Path(path).name
            file = EmbeddedFile(table, row, f"{name}[{split}][{row}] {base}")
            if label == SILENCE and _is_long(file):
                backgrounds.append(Background(f"{split}/{row:06d}/{base}", file))
                continue
            recordings.append(
                Recording(
                    id=f"{split}/{row:06d}/{base}",
                    word=label,
                    speaker=speaker_of(base),
                    file=file,
                    published=split if published else published_split(base),
                )
            )
    if not recordings:
        raise InputError(f"{name}: holds no recordings of words")
    return Corpus(name, recordings, backgrounds)


def _tables(settings: SpeechCommandsSettings) -> tuple[str, dict[SplitName, Any]]:
    """Open the dataset with its audio left as encoded bytes, so that soundfile decodes it."""
    import datasets

    if settings.root is None:
        path, config = HUB[settings.hub]
        try:
            opened = datasets.load_dataset(path, config, revision=PARQUET)
        except Exception as error:  # the Hub's clients raise many kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{settings.hub}: cannot be had from the Hugging Face Hub; where the network allows, "
                f"load it and save_to_disk, then set root to that folder ({reason})"
            ) from error
    else:
        try:
            opened = datasets.load_from_disk(str(settings.root))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{settings.root}: not a dataset saved by save_to_disk; set root to one"
            ) from error
    name = str(settings.root or settings.hub)
    tables = dict(opened) if isinstance(opened, datasets.DatasetDict) else {"train": opened}
    for split, table in tables.items():
        if split not in SPLITS:
            raise InputError(f"{name}: unknown split {split!r}; known are {', '.join(SPLITS)}")
        if missing := {"audio", "label"} - set(table.column_names):
            raise InputError(f"{name}: split {split} has no column {min(missing)!r}")
    undecoded = datasets.Audio(sampling_rate=SAMPLING_RATE, decode=False)
    return name, {split: tables[split].cast_column("audio", undecoded) for split in SPLITS if split in tables}


def _labels_and_paths(name: str, table: Any) -> list[tuple[str, str]]:
    names = getattr(table.features["label"], "names", None)
    labels = [names[label] if names else label for label in table["label"]]
    if any(not isinstance(label, str) for label in labels):
        raise InputError(f"{name}: the column 'label' holds numbers without names; save it as a ClassLabel")
    if "file" in table.column_names:
        return list(zip(labels, table["file"], strict=True))
    return [(label, table[row]["audio"]["path"] or str(row)) for row, label in enumerate(labels)]


def _is_long(file: EmbeddedFile) -> bool:
    try:
        return read_header(file).seconds >= 2
    except UnreadableAudio:
        return False  # reported with the other recordings


# The Hub's own conversion: `datasets` no longer runs the scripts that these two were published as.
PARQUET = "refs/convert/parquet"
HUB = {"superb/ks": ("s3prl/superb", "ks"), "google/speech_commands": ("google/speech_commands", "v0.02")}
