"""Text files as their owners' editors save them: on Windows, with marks, in other encodings, with lines of any length."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from federation.errors import InputError
from federation.federation_file import load_federation
from federation.text_files import BadText, decoded, each_line, lines_of, read_lines, read_text

BOM = b"\xef\xbb\xbf"
WINDOWS = [b"", BOM]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "words.txt"


@pytest.mark.parametrize("mark", WINDOWS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\r\n"])
def test_a_file_of_windows_holds_the_words_of_any_other(
    file: Path, mark: bytes, end: bytes, last: bytes
) -> None:
    file.write_bytes(mark + end.join([b"the", b"caf\xc3\xa9", b"", b"at\xe2\x80\xa8once"]) + last)
    words = ["the", "café", "", "at\u2028once"]
    assert read_lines(file, 100) == words
    assert [line for _, line in each_line(file)] == words
    assert read_text(file, 100).rstrip("\n") == "\n".join(words)


def test_a_mark_counts_at_the_beginning_alone_and_an_empty_file_has_no_line(file: Path) -> None:
    for content in (b"", BOM):
        file.write_bytes(content)
        assert read_lines(file, 100) == [] == list(each_line(file))
    file.write_bytes(BOM + BOM + b"a")
    assert read_lines(file, 100) == ["\ufeffa"]
    assert lines_of("\n") == [""]


def test_carriage_returns_alone_end_lines_where_no_line_feed_does(file: Path) -> None:
    file.write_bytes(b"the\rof\r")
    assert read_lines(file, 100) == ["the", "of"]
    with pytest.raises(
        InputError, match=r"words\.txt: its lines end with carriage returns alone; save it with line"
    ):
        list(each_line(file))
    file.write_bytes(b"a \r b\nc\r\n")
    assert read_lines(file, 100) == ["a \r b", "c"]
    assert [line for _, line in each_line(file)] == ["a \r b", "c"]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-be", "UTF-16 or UTF-32"),
        ("utf-16-le", "UTF-16 or UTF-32"),
        ("utf-32", "UTF-32"),
        ("utf-32-be", "UTF-16 or UTF-32"),
    ],
)
def test_another_encoding_is_refused_by_its_name(file: Path, encoding: str, name: str) -> None:
    file.write_bytes("le café\n".encode(encoding))
    said = rf"words\.txt: is not a text file in UTF-8 but in {name}; save it as UTF-8$"
    with pytest.raises(InputError, match=said):
        read_text(file, 100)
    with pytest.raises(InputError, match=said):
        list(each_line(file))


def test_what_is_no_utf_8_is_found_by_its_line(file: Path) -> None:
    file.write_bytes(BOM + "the\ncafé\nof\n".encode("latin-1"))
    with pytest.raises(
        InputError, match=r"is not a text file in UTF-8 \(byte 10, in line 2\); save it as UTF-8"
    ):
        read_text(file, 100)
    lines = dict(each_line(file))
    assert lines[1] == "the"
    assert str(lines[2]) == "not UTF-8 (byte 3)"
    assert lines[3] == "of"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_no_more_of_a_line_is_kept_than_it_may_have(file: Path, end: bytes) -> None:
    file.write_bytes(b"a" * 4000 + end)
    assert list(each_line(file, longest=4000)) == [(1, "a" * 4000)]
    file.write_bytes(b"a" * 4001 + end + b"b" * (0 if not end else 5))
    (_, line), *others = each_line(file, longest=4000)
    assert isinstance(line, BadText) and str(line) == "a line of more than 4,000 bytes"
    assert others == ([(2, "bbbbb")] if end else [])


def test_megabytes_without_an_end_of_line_take_no_memory(file: Path) -> None:
    import tracemalloc

    with file.open("wb") as out:
        out.write(b"the\tle\n" + b"a" * 2048)
        out.truncate(1 << 26)
    tracemalloc.start()
    try:
        lines = list(each_line(file))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [number for number, _ in lines] == [1, 2]
    assert most < 8 << 20


def test_a_file_that_is_not_there_is_not_called_badly_encoded(tmp_path: Path) -> None:
    for name in ("gone.txt", "gone/words.txt"):
        for read in (
            lambda path: read_text(path, 100, "set root"),
            lambda path: list(each_line(path, 100, "set root")),
        ):
            with pytest.raises(InputError, match=rf"{name}: there is no such file; set root$"):
                read(tmp_path / name)
    with pytest.raises(InputError, match=r": is a folder, not a file \(Is a directory\)$"):
        read_text(tmp_path, 100)
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        read_text("a\0b", 100)
    os.mkfifo(tmp_path / "pipe")
    for read in (lambda path: read_text(path, 100), lambda path: list(each_line(path))):
        with pytest.raises(InputError, match="is a pipe or a device"):
            read(tmp_path / "pipe")
    with pytest.raises(InputError, match="standard input: is not a text file"):
        decoded(b"\xe9", "standard input")


def test_a_federation_file_of_windows_is_one(tmp_path: Path) -> None:
    shard = "shard_descriptors.images.image_folder.ImageFolderShard"
    text = (
        f"envoys:\n  north:\n    shard_descriptor:\n      template: {shard}\n      settings: {{root: data}}\n"
    )
    plain, windows = tmp_path / "plain.yaml", tmp_path / "windows.yaml"
    plain.write_text(text)
    windows.write_bytes(BOM + text.replace("\n", "\r\n").encode())
    assert load_federation(windows) == load_federation(plain)
    windows.write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match=r"windows\.yaml: is not a text file in UTF-8 but in UTF-16"):
        load_federation(windows)
