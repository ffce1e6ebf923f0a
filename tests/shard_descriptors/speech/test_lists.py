"""Lists of what is held out: an entry is found, told or refused, and never passed over, which would train on its clip."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from shard_descriptors.descriptor import SPLITS
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.refusals import refusal_of
from tests.speech_data import write_word_folders

CLASSES = ["lion", "tiger"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty clips, of which four are to validate and six to test on."""
    names = write_word_folders(tmp_path / "data")
    write_lists(tmp_path / "data", names[0:4], names[4:10])
    return tmp_path / "data"


def write_lists(root: Path, validation: list[str], test: list[str], end: str = "\n") -> None:
    (root / "validation_list.txt").write_bytes("".join(name + end for name in validation).encode())
    (root / "testing_list.txt").write_bytes("".join(name + end for name in test).encode())


def opened(root: Path, **settings: object) -> SpeechCommandsShard:
    return SpeechCommandsShard(root=root, **{"classes": "all_words", **settings})


def sizes(shard: SpeechCommandsShard) -> list[int]:
    return [len(shard.split(name)) for name in SPLITS]


def refusal(root: Path, **settings: object) -> str:
    return refusal_of(lambda: opened(root, **settings))


@pytest.mark.parametrize(
    "foreign",
    [
        lambda text: text.replace("/", "\\"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "".join(f"./{line}\n" for line in text.splitlines()),
        lambda text: text.replace("/", "//"),
        lambda text: "".join(f"  {line}\t\n\n" for line in text.splitlines()),
        lambda text: "\ufeff" + text.replace("/", "\\").replace("\n", "\r\n"),
    ],
    ids=["backslashes", "mark", "crlf", "dot", "slashes", "blanks", "windows"],
)
def test_entries_in_a_foreign_form_are_the_clips_that_they_name(root: Path, foreign: object) -> None:
    for file in root.glob("*_list.txt"):
        file.write_bytes(foreign(file.read_text()).encode())  # type: ignore[operator]
    assert sizes(opened(root)) == [10, 4, 6]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_lists_and_files_in_either_form_of_unicode_match(tmp_path: Path, form: str) -> None:
    names = write_word_folders(tmp_path, [unicodedata.normalize("NFD", "café")])
    write_lists(
        tmp_path, *([unicodedata.normalize(form, name) for name in part] for part in (names[:3], names[3:5]))
    )
    shard = opened(tmp_path)
    assert sizes(shard) == [5, 3, 2]
    assert shard.classes == (unicodedata.normalize("NFC", "café"),)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("Lion/00000000_nohash_0.wav", "lion/00000000_nohash_0.wav"),
        ("lion/00000000_NOHASH_0.WAV", "lion/00000000_nohash_0.wav"),
        ("lion/00000000_nohash_0.flac", "lion/00000000_nohash_0.wav"),
        ("lion/00000000_nohash_0", "lion/00000000_nohash_0.wav"),
        ("speech/lion/00000000_nohash_0.wav", "lion/00000000_nohash_0.wav"),
        ("/home/me/speech/lion/00000000_nohash_0.wav", "lion/00000000_nohash_0.wav"),
        (r"C:\speech\lion\00000000_nohash_0.wav", "lion/00000000_nohash_0.wav"),
    ],
)
def test_a_clip_that_is_there_under_another_spelling_is_named(root: Path, written: str, there: str) -> None:
    file = root / "validation_list.txt"
    file.write_text(file.read_text().replace("lion/00000000_nohash_0.wav", written))
    line = refusal(root)
    assert line.startswith(f"{file}:1: {written.replace(chr(92), '/')} is there as {there}; ")


def test_an_entry_without_its_folder_is_named_with_it(tmp_path: Path) -> None:
    names = write_word_folders(tmp_path, ["lion"])
    write_lists(tmp_path, [Path(names[0]).name], names[1:2])
    assert "00000000_nohash_0.wav is there as lion/00000000_nohash_0.wav" in refusal(tmp_path)


def test_a_part_of_a_data_set_may_have_its_whole_lists_and_what_is_not_there_is_counted(root: Path) -> None:
    for name in ("validation_list.txt", "testing_list.txt"):
        file = root / name
        file.write_text(file.read_text() + "zebra/00000001_nohash_0.wav\nlion/00000099_nohash_0.wav\n")
    shard = opened(root)
    assert sizes(shard) == [10, 4, 6]
    assert dict(shard.left_out) == {
        "entries of validation_list.txt without a file": 2,
        "entries of testing_list.txt without a file": 2,
    }


@pytest.mark.parametrize("entries", [[], ["zebra/00000001_nohash_0.wav"] * 3], ids=["empty", "foreign"])
def test_a_list_that_holds_nothing_out_is_an_error(root: Path, entries: list[str]) -> None:
    (root / "testing_list.txt").write_text("\n".join(entries))
    line = refusal(root)
    assert line.startswith(f"{root / 'testing_list.txt'}: none of its {len(entries)} entries is a file here")
    assert "split: speaker" in line
    assert sum(sizes(opened(root, split="speaker"))) == 20


def test_a_clip_cannot_be_validated_and_tested_on(root: Path) -> None:
    file = root / "testing_list.txt"
    file.write_text(file.read_text() + "lion/00000000_nohash_0.wav\n")
    assert refusal(root) == f"{file}:7: lion/00000000_nohash_0.wav is in validation_list.txt, too; remove one"


def test_a_list_is_utf_8(root: Path) -> None:
    file = root / "testing_list.txt"
    file.write_bytes(file.read_bytes() + "lion/\xe9.wav".encode("latin-1"))
    assert f"{file}: is not a text file in UTF-8" in refusal(root)
    file.write_bytes((root / "validation_list.txt").read_text().encode("utf-16"))
    assert "UTF-16" in refusal(root)
