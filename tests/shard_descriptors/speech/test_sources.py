"""The sources beside a local folder: torchaudio's layout, and Hugging Face datasets saved to disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

from federation.errors import InputError
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.speech_data import make_speech_folder

WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
SUPERB = [*WORDS, "_silence_", "_unknown_"]


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speech_folder(tmp_path_factory.getbasetemp() / "speech")


def table(rows: list[tuple[Path, str]], names: list[str], files: bool = True) -> datasets.Dataset:
    """Build a split as the Hub has it: encoded audio inside, labels with names, and the path in `file`."""
    columns = {
        "audio": [{"bytes": path.read_bytes(), "path": path.name} for path, _ in rows],
        "label": [names.index(label) for _, label in rows],
    }
    if files:
        columns["file"] = [f"/somewhere/{path.parent.name}/{path.name}" for path, _ in rows]
    made = datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))
    return made.cast_column("audio", datasets.Audio(sampling_rate=16000)).cast_column(
        "label", datasets.ClassLabel(names=names)
    )


@pytest.fixture(scope="module")
def superb(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`superb` `ks`: silence is whole recordings in train and seconds in test; unknown is a label."""
    folder = tmp_path_factory.mktemp("superb")
    speakers = sorted({file.name.split("_")[0] for file in (speech / "yes").iterdir()})
    parts = {"train": speakers[:6], "validation": speakers[6:8], "test": speakers[8:]}
    saved = datasets.DatasetDict()
    for name, held in parts.items():
        rows = [
            (file, file.parent.name if file.parent.name in SUPERB else "_unknown_")
            for file in sorted(speech.glob("*/*_nohash_*.wav"))
            if file.name.split("_")[0] in held
        ]
        noises = sorted((speech / "_background_noise_").iterdir())
        if name == "train":
            rows += [(noise, "_silence_") for noise in noises]
        if name == "test":
            for second, noise in enumerate(noises):
                wave, rate = soundfile.read(noise, frames=16000, start=16000 * second)
                soundfile.write(folder / f"silent{second}.wav", wave, rate)
                rows.append((folder / f"silent{second}.wav", "_silence_"))
        saved[name] = table(rows, SUPERB)
    saved.save_to_disk(str(folder / "ks"))
    return folder / "ks"


def test_superb_keeps_its_own_splits_and_labels(superb: Path) -> None:
    shard = SpeechCommandsShard(source="huggingface", root=superb)
    assert shard.classes == tuple(SUPERB)
    for split, speakers in (("train", 6), ("validation", 2), ("test", 2)):
        counts = shard.class_counts(split)  # type: ignore[arg-type]
        assert counts["yes"] == speakers
        assert counts["_unknown_"] == 8 * speakers  # all that the dataset calls unknown
    assert shard.class_counts("train")["_silence_"] == 6  # cut from the recordings
    assert shard.class_counts("test")["_silence_"] == 5  # the dataset's own


def test_superb_decodes_with_soundfile_what_the_file_held(superb: Path, speech: Path) -> None:
    train = SpeechCommandsShard(source="huggingface", root=superb).split("train")
    for sample in train[:5]:
        row, file = sample["id"].split("/")[1:]
        word = SUPERB[sample["label"]]
        candidates = speech.glob(f"{'*' if word == '_unknown_' else word}/{file}")
        assert any(
            np.array_equal(soundfile.read(path, dtype="float32")[0], sample["audio"]) for path in candidates
        )
        assert sample["speaker"] == file.split("_nohash_")[0]
        assert row.isdigit()


def test_superb_can_be_split_by_speaker_and_divided(superb: Path) -> None:
    shards = [
        SpeechCommandsShard(
            source="huggingface", root=superb, split="speaker", partition="speaker", rank=rank, worldsize=2
        )
        for rank in range(2)
    ]
    speakers = [{group for group in shard.split("train").groups if "@" not in group} for shard in shards]
    assert [len(held) for held in speakers] == [3, 3]
    assert not speakers[0] & speakers[1]
    assert all(shard.class_counts("test")["yes"] == 2 for shard in shards)
    seconds = [{group for group in shard.split("test").groups if "@" in group} for shard in shards]
    assert seconds[0] == seconds[1]
    assert len(seconds[0]) == 2  # cut anew: the dataset's own seconds may be in what others train on


def test_google_speech_commands_labels_every_word(speech: Path, tmp_path: Path) -> None:
    words = sorted(
        folder.name for folder in speech.iterdir() if folder.is_dir() and not folder.name.startswith("_")
    )
    files = sorted(speech.glob("*/*_nohash_*.wav"))
    made = table([(file, file.parent.name) for file in files], [*words, "_silence_"], files=False)
    noises = table(
        [(file, "_silence_") for file in sorted((speech / "_background_noise_").iterdir())],
        [*words, "_silence_"],
        files=False,
    )
    datasets.DatasetDict(
        {"train": datasets.concatenate_datasets([made, noises]), "test": made.select(range(20))}
    ).save_to_disk(str(tmp_path / "google"))
    all_words = SpeechCommandsShard(source="huggingface", root=tmp_path / "google", classes="all_words")
    assert all_words.classes == tuple(words)
    twelve = SpeechCommandsShard(source="huggingface", root=tmp_path / "google", split="speaker")
    assert twelve.class_counts("train")["_unknown_"] == twelve.class_counts("train")["yes"] > 0
    assert twelve.class_counts("train")["_silence_"] > 0


def test_a_single_table_is_split_by_the_datasets_rule(speech: Path, tmp_path: Path) -> None:
    files = sorted(speech.glob("*/*_nohash_*.wav"))
    words = sorted({file.parent.name for file in files})
    table([(file, file.parent.name) for file in files], words).save_to_disk(str(tmp_path / "one"))
    copied = SpeechCommandsShard(source="huggingface", root=tmp_path / "one", classes="ten_words")
    folder = SpeechCommandsShard(root=speech, classes="ten_words")
    for split in ("train", "validation", "test"):
        assert copied.class_counts(split) == folder.class_counts(split)  # type: ignore[arg-type]


def test_hugging_face_errors_name_what_is_wrong(speech: Path, tmp_path: Path) -> None:
    def opened(**settings: object) -> SpeechCommandsShard:
        return SpeechCommandsShard(source="huggingface", **settings)

    with pytest.raises(InputError, match=f"{tmp_path}/none: not a dataset saved by save_to_disk"):
        opened(root=tmp_path / "none")
    plain = datasets.Dataset.from_dict({"text": ["yes"]})
    plain.save_to_disk(str(tmp_path / "text"))
    with pytest.raises(InputError, match="split train has no column 'audio'"):
        opened(root=tmp_path / "text")
    file = next((speech / "yes").iterdir())
    numbers = table([(file, "yes")], ["yes"]).cast_column("label", datasets.Value("int64"))
    numbers.save_to_disk(str(tmp_path / "numbers"))
    with pytest.raises(InputError, match="'label' holds numbers without names"):
        opened(root=tmp_path / "numbers", classes=["yes"])


def test_without_the_hub_one_line_says_how_to_bring_the_data() -> None:
    code = (
        "from shard_descriptors.speech.speech_commands import SpeechCommandsShard as Shard\n"
        "Shard(source='huggingface', hub='superb/ks')"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "InputError: superb/ks: cannot be had" in failed.stderr.splitlines()[-1]
    assert "save_to_disk, then set root to that folder" in failed.stderr.splitlines()[-1]


def test_torchaudio_reads_its_own_layout(speech: Path, tmp_path: Path) -> None:
    inside = shutil.copytree(speech, tmp_path / "SpeechCommands" / "speech_commands_v0.02")
    files = sorted(f"{file.parent.name}/{file.name}" for file in inside.glob("*/*_nohash_*.wav"))
    (inside / "validation_list.txt").write_text("\n".join(files[0::5]))
    (inside / "testing_list.txt").write_text("\n".join(files[1::5]))
    by_torchaudio = SpeechCommandsShard(source="torchaudio", root=tmp_path)
    by_folder = SpeechCommandsShard(source="folder", root=inside)
    assert by_torchaudio.fingerprint() == by_folder.fingerprint()
    np.testing.assert_array_equal(
        by_torchaudio.split("test")[0]["audio"], by_folder.split("test")[0]["audio"]
    )


def test_torchaudios_layout_counts_what_it_leaves_and_takes_no_hidden_files(
    speech: Path, tmp_path: Path
) -> None:
    inside = shutil.copytree(speech, tmp_path / "SpeechCommands" / "speech_commands_v0.02")
    shutil.copytree(speech / "yes", inside / "__MACOSX")
    file = next((inside / "yes").iterdir())
    shutil.copy(file, file.with_name(f"._{file.name}"))
    shutil.copy(file, file.with_name("other.wav"))
    (inside / "no" / "notes.txt").write_text("two takes")
    shard = SpeechCommandsShard(source="torchaudio", root=tmp_path, split="speaker", max_unreadable=0.0)
    assert shard.left_out["files that torchaudio does not take"] == 3
    whole = SpeechCommandsShard(root=speech, split="speaker")
    assert shard.fingerprint() == whole.fingerprint()


def test_torchaudio_without_data_names_the_root_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path}: torchaudio cannot open .*; set download: true"):
        SpeechCommandsShard(source="torchaudio", root=tmp_path)
