"""The lists of clips that a data set's authors hold out: ``validation_list.txt`` and ``testing_list.txt``.

A clip that is in neither is trained on: so an entry that matches no clip is never passed over in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from federation.errors import InputError
from federation.printing import printable
from federation.text_files import read_lines
from shard_descriptors.descriptor import SplitName
from shard_descriptors.labels import same_name

LISTS: dict[SplitName, str] = {"validation": "validation_list.txt", "test": "testing_list.txt"}
LIST_BYTES = 64 << 20


def present_lists(root: Path) -> dict[SplitName, Path]:
    """Return the two lists by split; nothing where there are none.

    Raises
    ------
    InputError
        If there is only one.
    """
    lists = {split: root / name for split, name in LISTS.items()}
    present = [file for file in lists.values() if file.is_file()]
    if present and len(present) < len(lists):
        missing = next(file for file in lists.values() if file not in present)
        raise InputError(f"{missing}: missing beside {present[0].name}; provide both lists or neither")
    return lists if present else {}


def listed_splits(
    lists: dict[SplitName, Path], ids: Sequence[str]
) -> tuple[dict[str, SplitName], Counter[str]]:
    """Read the lists against the clips that are there.

    Parameters
    ----------
    lists : dict of str to Path
        Entries are ``<word>/<file>``, one a line, in UTF-8; backslashes, ``./``, a byte order mark, line ends of Windows and
        either form of Unicode do not matter.
    ids : sequence of str
        ``<word>/<file>`` of every clip.

    Returns
    -------
    dict of str to str
        The splits of the clips that are in a list.
    Counter of str
        Entries whose clip is not here, as in a part of a data set with its whole lists; in words, for each list.

    Raises
    ------
    InputError
        A list that cannot be read or that no clip is in, a clip that is in both, and an entry whose clip is here under another
        spelling.
    """
    known, spelled = set(ids), _spellings(ids)
    splits: dict[str, SplitName] = {}
    absent: Counter[str] = Counter()
    for split, file in lists.items():
        entries, found = 0, 0
        for number, entry in _entries(file):
            entries += 1
            if entry in known:
                if splits.setdefault(entry, split) != split:
                    raise InputError(
                        f"{file}:{number}: {printable(entry)} is in {LISTS[splits[entry]]}, too; remove one"
                    )
                found += 1
            elif other := spelled.get(_key(entry)):
                raise InputError(
                    f"{file}:{number}: {printable(entry)} is there as {printable(other)}; "
                    "write entries as <word>/<file>, as the files are named"
                )
            else:
                absent[f"entries of {file.name} without a file"] += 1
        if not found:
            raise InputError(
                f"{file}: none of its {entries} entries is a file here, so nothing would be held out; correct it, "
                "or set split: speaker, which reads no lists"
            )
    return splits, absent


def _entries(file: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_lines(file, LIST_BYTES), 1):
        if entry := same_name(line):
            yield number, str(PurePosixPath(entry.replace("\\", "/")))


def _spellings(ids: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Find clips by what is left of their names without case and ending, with and without their folders."""
    return {_key(name)[-parts:]: name for parts in (1, 2) for name in ids}


def _key(entry: str) -> tuple[str, ...]:
    """Return the last two parts of a name, which are all that it needs, without case and ending."""
    path = PurePosixPath(entry)
    return tuple(part.casefold() for part in path.with_suffix("").parts[-2:]) if path.name else ()
