"""Text of users' files: in UTF-8 with or without a byte order mark, lines that end as on Windows or elsewhere, and bounded.

One reader for plans, configs, federation files, lists, vocabularies and sentences: what an editor of Windows saves is read as
if it were saved anywhere else, and what is in UTF-16 is refused by that name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from federation.errors import FederationError, InputError
from federation.faults import path_fault
from federation.files import open_regular, read_regular

LINE_BYTES = 1 << 20
"""Of one line: more than any sentence, name or event has."""
_BOM = b"\xef\xbb\xbf"
_OTHERS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_LOOKED_AT = 1024


class BadText(Exception):  # noqa: N818
    """A line that is no text; says why."""


def read_text(path: str | os.PathLike[str], most: int, remedy: str = "") -> str:
    """Read a text file whole.

    Parameters
    ----------
    path
        The file.
    most : int
        How many bytes it may have.
    remedy : str, optional
        What to do, to end the line of an error that another file would mend.

    Returns
    -------
    str
        Without a byte order mark; a line ends with a line feed alone.

    Raises
    ------
    InputError
        If it is not there, cannot be read, is larger, or is no text in UTF-8.
    MachineFault
        If the machine keeps it from being read.
    """
    try:
        content = read_regular(path, most)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, remedy) from None
    return decoded(content, os.fspath(path))


def read_lines(path: str | os.PathLike[str], most: int, remedy: str = "") -> list[str]:
    """Read a text file as `read_text` does, and split it into lines; see `lines_of`."""
    return lines_of(read_text(path, most, remedy))


def lines_of(text: str) -> list[str]:
    """Split text at line feeds alone: Unicode counts more as ends of lines, and words and sentences hold them."""
    return text.removesuffix("\n").split("\n") if text else []


def decoded(content: bytes, name: str) -> str:
    """Decode text that a file held, or standard input; raises as `read_text`."""
    _refuse_others(content[:_LOOKED_AT], name)
    try:
        text = content.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        start = error.start + (len(_BOM) if content.startswith(_BOM) else 0)
        line = content.count(b"\n", 0, start) + 1
        raise InputError(
            f"{name}: is not a text file in UTF-8 (byte {start}, in line {line}); save it as UTF-8"
        ) from None
    # Lines of some old programs end with carriage returns alone; beside line feeds they are characters like others.
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def each_line(
    path: str | os.PathLike[str], longest: int = LINE_BYTES, remedy: str = ""
) -> Iterator[tuple[int, str | BadText]]:
    r"""Read a text file of any size line by line, split as by `lines_of`; a line that is no text does not spoil the others.

    Parameters
    ----------
    path
        The file.
    longest : int
        How many bytes a line may have; no more of a longer one is kept.
    remedy : str, optional
        As for `read_text`.

    Yields
    ------
    tuple of int and str or BadText
        The line's number, from 1, and the line without its end (``\n`` or ``\r\n``); or why it cannot be read.

    Raises
    ------
    InputError
        If the file is not there, cannot be read, or is no text in UTF-8 as a whole.
    """
    name, number = os.fspath(path), 0
    try:
        with open_regular(path) as file:
            head = file.read(_LOOKED_AT)
            _refuse_others(head, name)
            file.seek(len(_BOM) if head.startswith(_BOM) else 0)
            while line := file.readline(longest + 2):
                number += 1
                if number == 1 and b"\r" in line[:-1] and not line.endswith(b"\n"):
                    raise InputError(
                        f"{name}: its lines end with carriage returns alone; save it with line feeds"
                    )
                yield number, _line(file, line, longest)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, remedy) from error


def _line(file: BinaryIO, line: bytes, longest: int) -> str | BadText:
    text = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(text) > longest:
        while not line.endswith(b"\n") and (line := file.readline(longest)):
            pass
        return BadText(f"a line of more than {longest:,} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        return BadText(f"not UTF-8 (byte {error.start})")


def _refuse_others(head: bytes, name: str) -> None:
    """Refuse what begins as text of two or four bytes a character does, with its mark or without."""
    encoding = next((other for mark, other in _OTHERS.items() if head.startswith(mark)), None)
    if encoding is None and len(head) >= 2 and 3 * head.count(0) >= len(head):
        encoding = "UTF-16 or UTF-32"
    if encoding is not None:
        raise InputError(f"{name}: is not a text file in UTF-8 but in {encoding}; save it as UTF-8")


def _unreadable(path: str | os.PathLike[str], error: Exception, remedy: str) -> FederationError:
    name, ending = os.fspath(path), f"; {remedy}" if remedy else ""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError(f"{name}: there is no such file{ending}")
    if isinstance(error, OSError):
        fault = path_fault(path, error)
        return type(fault)(f"{fault}{ending}")
    return InputError(f"{name}: cannot be read: {error}{ending}")
