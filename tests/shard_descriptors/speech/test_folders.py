"""Folders as people have them: endings in capitals, other formats, what other systems leave behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from shard_descriptors.descriptor import SPLITS
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.refusals import refusal_of
from tests.speech_data import write_clip, write_word_folders


def opened(root: Path, **settings: object) -> SpeechCommandsShard:
    return SpeechCommandsShard(root=root, **{"classes": "all_words", "split": "speaker", **settings})


def refusal(root: Path, **settings: object) -> str:
    return refusal_of(lambda: opened(root, **settings))


def ids(shard: SpeechCommandsShard) -> list[str]:
    return sorted(name for split in SPLITS for name in shard.split(split).ids)


@pytest.mark.parametrize("suffix", [".wav", ".WAV", ".Wav", ".flac", ".FLAC", ".ogg", ".mp3", ".aiff"])
def test_recordings_are_found_by_any_ending_that_libsndfile_reads(tmp_path: Path, suffix: str) -> None:
    names = write_word_folders(tmp_path, clips=5, suffix=suffix)
    shard = opened(tmp_path, max_unreadable=0.0)
    assert ids(shard) == sorted(names)
    assert not shard.left_out
    heard = shard.split("train")[0]["audio"]
    assert heard.shape == (16_000,)
    assert 0.1 < np.abs(heard).max() < 0.5


def test_endings_may_be_mixed_in_one_folder(tmp_path: Path) -> None:
    for number, suffix in enumerate([".wav", ".WAV", ".flac", ".ogg", ".mp3", ".Flac"]):
        write_clip(tmp_path / "lion" / f"{number:08x}_nohash_0{suffix}")
    assert len(ids(opened(tmp_path))) == 6


@pytest.mark.parametrize("other", [".flac", ".WAV", ".mp3"])
def test_one_recording_in_two_files_is_an_error(tmp_path: Path, other: str) -> None:
    names = write_word_folders(tmp_path, clips=5)
    write_clip((tmp_path / names[0]).with_suffix(other))
    line = refusal(tmp_path)
    assert line.startswith(f"{tmp_path / 'lion'}: ")
    assert "differ in their endings alone" in line


def test_what_is_no_recording_is_counted(tmp_path: Path) -> None:
    names = write_word_folders(tmp_path, clips=5)
    shutil.copytree(tmp_path / "lion", tmp_path / "__MACOSX" / "lion")
    shutil.copytree(tmp_path / "lion", tmp_path / ".cache" / "lion")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("Words.")
    for word in ("lion", "tiger"):
        for name in (".DS_Store", "._00000000_nohash_0.wav", "notes.TXT", "more.txt", "LICENSE"):
            (tmp_path / word / name).write_bytes(b"\0\5\26\7")
        (tmp_path / word / "inside").mkdir()
    shard = opened(tmp_path, max_unreadable=0.0)
    assert ids(shard) == sorted(names)
    assert dict(shard.left_out) == {
        "hidden files": 4,
        "files ending in .txt": 4,
        "files without an ending": 2,
        "folders inside those of the classes": 2,
        "folders that are no class": 2,
        "folders without a recording": 1,
    }


def test_a_link_that_leads_nowhere_is_an_unreadable_file(tmp_path: Path) -> None:
    names = write_word_folders(tmp_path)
    (tmp_path / "lion" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "zebra").symlink_to(tmp_path / "nowhere")
    shard = opened(tmp_path)
    assert ids(shard) == sorted(names)
    assert dict(shard.left_out) == {"recordings that cannot be used": 1}
    assert f"{tmp_path / 'lion' / 'gone.wav'}: cannot be read as audio" in refusal(
        tmp_path, max_unreadable=0.0
    )


def test_a_link_to_a_recording_is_one(tmp_path: Path) -> None:
    names = write_word_folders(tmp_path / "store", clips=5)
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).symlink_to(tmp_path / "store" / name)
    assert ids(opened(tmp_path / "data", max_unreadable=0.0)) == sorted(names)


def test_spaces_and_other_scripts_in_paths_are_read_in_the_locale_of_c(tmp_path: Path) -> None:
    root = tmp_path / "meine Daten" / "語音 données"
    write_word_folders(root, ["獅子", "tigre à dents", "лев"], clips=5)
    code = (
        "import sys; from shard_descriptors.speech.speech_commands import SpeechCommandsShard as Shard\n"
        "shard = Shard(root=sys.argv[1], classes='all_words', split='speaker', max_unreadable=0.0)\n"
        "print(ascii(shard.classes), len([shard.split('train')[i] for i in range(3)]))\n"
        "print(shard.fingerprint())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, root],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert told.stdout.splitlines() == [
        ascii(("tigre à dents", "лев", "獅子")) + " 3",
        opened(root).fingerprint(),
    ]


def test_a_class_is_the_same_whether_folder_or_config_is_in_nfd(tmp_path: Path) -> None:
    fingerprints = set()
    for folder in ("NFC", "NFD"):
        root = tmp_path / folder
        write_word_folders(root, [unicodedata.normalize(folder, "café"), "thé"], clips=5)  # type: ignore[arg-type]
        for config in ("NFC", "NFD"):
            shard = opened(root, classes=[unicodedata.normalize(config, "café")])  # type: ignore[arg-type]
            assert shard.classes == (unicodedata.normalize("NFC", "café"),)
            assert sum(len(shard.split(name)) for name in SPLITS) == 5
            fingerprints.add(shard.fingerprint())
    assert len(fingerprints) == 1
    assert "classes names a class twice" in refusal(
        tmp_path / "NFC", classes=[unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    )


def test_one_recording_in_both_forms_of_unicode_is_an_error(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        write_clip(tmp_path / "files" / "lion" / unicodedata.normalize(form, "é_nohash_0.wav"))  # type: ignore[arg-type]
        write_clip(tmp_path / "folders" / unicodedata.normalize(form, "café") / "a_nohash_0.wav")  # type: ignore[arg-type]
    assert "only in how Unicode writes them" in refusal(tmp_path / "files")
    assert "café/a_nohash_0.wav is there in both forms of Unicode" in refusal(tmp_path / "folders")


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    write_word_folders(tmp_path, clips=5)
    shutil.copy(
        tmp_path / "lion" / "00000000_nohash_0.wav",
        os.fsencode(tmp_path / "lion") + b"/caf\xe9.wav",  # type: ignore[arg-type]
    )
    assert rf"{tmp_path / 'lion'}: the name b'caf\xe9.wav' is not UTF-8; rename it" in refusal(tmp_path)


def test_a_right_root_without_recordings_is_not_called_wrong(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: no <word>/*.wav below it; set root")
    (tmp_path / "lion").mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path}: its 1 folders are empty")
    (tmp_path / "lion" / "a.m4a").write_bytes(b"....ftypM4A ")
    line = refusal(tmp_path)
    assert line.startswith(f"{tmp_path}: its 1 folders hold no file ending in ")
    assert line.endswith("but files ending in .m4a (1); convert these")
    write_clip(tmp_path / "lion" / "train" / "a.wav")
    assert refusal(tmp_path).endswith("or set root to the folder that holds one folder per word")


def test_recordings_in_no_folder_are_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "0_george_0.wav")
    write_clip(tmp_path / "0_george_1.WAV")
    assert refusal(tmp_path).startswith(f"{tmp_path}: its 2 files lie in no folder of a word; put each")
    (tmp_path / "zero").mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path}: its 1 folders are empty")
    write_word_folders(tmp_path, clips=5)
    assert opened(tmp_path).left_out["files beside the folders"] == 2


def test_a_root_whose_name_is_no_text_is_named(tmp_path: Path) -> None:
    line = refusal(tmp_path / os.fsdecode(b"caf\xe9"))
    assert line.startswith("settings of the Speech Commands shard: root: not UTF-8")


def test_a_class_whose_files_are_all_unreadable_is_not_called_missing(tmp_path: Path) -> None:
    write_word_folders(tmp_path, clips=5)
    for file in (tmp_path / "lion").iterdir():
        file.write_bytes(b"no audio")
    line = refusal(tmp_path, max_unreadable=0.9)
    assert "no recording of the class 'lion' can be used (the log says why)" in line
