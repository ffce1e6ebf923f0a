"""A YAML file as plain data that remembers where each value came from.

Scalars are read as YAML 1.2 has them: only ``true`` and ``false`` are booleans (``no`` is a word), and
``1e-4`` is a number. Duplicate keys, tags and keys that are no text are problems, found all at once.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from federation.errors import InputError
from federation.faults import path_fault
from federation.files import open_regular

Path = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000
MAX_SHOWN = 50
MAX_SEARCHED = 200
OVERRIDE = "--set"


class Origin(NamedTuple):
    """Where a value was written: a file's name and line, or an override."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a document.

    Parameters
    ----------
    where : str
        The dotted key; empty where the whole document is meant.
    line : int or None
        In the file; None if it came from an override or over the network.
    message : str
        What is wrong and, where it can be said, what would be right.
    source : str
        The file as the user named it, or ``--set``.
    """

    where: str
    line: int | None
    message: str
    source: str = ""

    def __str__(self) -> str:
        parts = [str(Origin(self.source, self.line)) if self.source else "", self.where, self.message]
        return ": ".join(part for part in parts if part)


class Problems(InputError):  # noqa: N818
    """All that is wrong with a document, one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(
            problems, key=lambda problem: (problem.source, problem.line or 0, problem.where)
        )
        lines = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"and at least {len(self.problems) - MAX_SHOWN} more problems")
        super().__init__("\n".join(lines))


@dataclass
class Document:
    """Plain data, the origin of each of its values, and what was wrong already when it was read."""

    name: str
    value: Any
    origins: dict[Path, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str) -> Problem:
        """Say what is wrong at a path, by the origin of the nearest value that was written there or above."""
        above = (path[:length] for length in range(len(path), -1, -1))
        origin = next((self.origins[at] for at in above if at in self.origins), Origin(self.name))
        return Problem(dotted(path), origin.line, message, origin.source)

    def report(self, path: Path, message: str) -> None:
        """Add a problem."""
        self.problems.append(self.problem(path, message))

    def get(self, *path: str | int) -> Any:
        """Return the value at a path, or None where there is none; the document need not be sound."""
        value = self.value
        for key in path:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def override(self, assignment: str) -> None:
        """Set one value, as ``key.key=value`` says; the value is YAML.

        Parameters
        ----------
        assignment : str
            For instance ``task_runner.settings.learning_rate=1e-4``; a number names an item of a list.
        """
        key, equals, text = assignment.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or "" in path:
            self.problems.append(Problem(shown(assignment), None, "write it as key.key=value", OVERRIDE))
            return
        parsed = parse(text, OVERRIDE) if text.strip() else Document(OVERRIDE, None)
        self.problems += [
            Problem(dotted(path), None, problem.message, OVERRIDE) for problem in parsed.problems
        ]
        if not parsed.problems and not self._put(path, parsed.value):
            self.problems.append(Problem(dotted(path), None, "there is no such place in the file", OVERRIDE))

    def _put(self, path: tuple[str, ...], value: Any) -> bool:
        """Write a value, with the mappings on the way to it; False where something else is in the way."""
        place = self.value
        at: Path = ()
        for depth, part in enumerate(path, start=1):
            key: str | int = part
            if isinstance(place, list) and part.isdecimal() and int(part) < len(place):
                key = int(part)
            elif not isinstance(place, dict):
                return False
            at = (*at, key)
            if depth == len(path):
                place[key] = value
            elif isinstance(place, dict) and place.get(key) is None:
                place[key] = {}
                self.origins[at] = Origin(OVERRIDE)
            place = place[key]
        self.origins = {known: origin for known, origin in self.origins.items() if known[: len(at)] != at}
        self.origins[at] = Origin(OVERRIDE)
        return True


def dotted(path: Path) -> str:
    """Write a path as the user would in an override."""
    return ".".join(str(key) if str(key).isprintable() else repr(key) for key in path)


def shown(value: Any) -> str:
    """Show a value in a message: on one line, and not all of it if it is long."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value) if isinstance(value, bool | None) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, or which ones there are.

    Returns
    -------
    str
        A clause to append to a message; empty if nothing is known, or too much to search.
    """
    names = sorted(known)
    if len(names) > MAX_SEARCHED:
        return ""
    close = difflib.get_close_matches(word[:200], names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 20 else ""


_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(?:null|Null|NULL|~|)$")
_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_CORE = {"bool": _BOOL, "null": _NULL, "int": _INT, "float": _FLOAT}
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[Any, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):
    for _name, _pattern in _CORE.items():
        _class.add_implicit_resolver(_TAG + _name, _pattern, None)


def parse(text: str, name: str) -> Document:
    """Read YAML text.

    Parameters
    ----------
    text : str
        One YAML document.
    name : str
        What problems call it.

    Returns
    -------
    Document
        Its value is None if the text cannot be read at all; the problem says where.
    """
    document = Document(name, None)
    if len(text) > MAX_BYTES:
        document.report((), f"is larger than {MAX_BYTES >> 20} MiB")
        return document
    try:
        node = yaml.compose(text, Loader=_Loader)
        document.value = _Reader(document).read(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        message = " ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem("", line, f"not YAML: {message}", name))
    except yaml.reader.ReaderError as error:
        document.report((), f"not YAML: {error.reason} at character {error.position}")
    except RecursionError:
        document.problems.append(Problem("", None, "is too large or nested too deeply", name))
    return document


class _Reader:
    """Turns YAML nodes into plain data, noting origins and problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        document = self.document
        self.nodes += 1
        document.origins[path] = Origin(document.name, node.start_mark.line + 1)
        if len(path) > MAX_DEPTH or self.nodes > MAX_NODES:
            raise RecursionError
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        document, mapping = self.document, {}
        for key_node, value_node in node.value:
            key, line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                message = "a key must be text; put it in quotes"
                document.problems.append(
                    Problem(
                        dotted((*path, key if isinstance(key, str) else shown(key))),
                        line,
                        message,
                        document.name,
                    )
                )
                continue
            at = (*path, key)
            if key in mapping:
                message = f"duplicate key; it stands on line {document.origins[at].line} already"
                document.problems.append(Problem(dotted(at), line, message, document.name))
                continue
            mapping[key] = self.read(value_node, at)
            document.origins[at] = Origin(document.name, line)
        return mapping

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        try:
            if kind == "str":
                return text
            if kind == "null" and _NULL.match(text):
                return None
            if kind == "bool" and _BOOL.match(text):
                return text.lower() == "true"
            if kind == "int" and _INT.match(text):
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if kind == "float" and _FLOAT.match(text):
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            self.document.report(path, f"is no number that can be read: {shown(text)}")
            return None
        self.document.report(path, f"the tag {shown(node.tag)} is not read; write the value without it")
        return None


def read(path: str | os.PathLike[str]) -> Document:
    """Read a YAML file whose top is a mapping.

    Raises
    ------
    InputError
        If there is no such file or it cannot be read; what is wrong inside it are the document's problems.
    """
    name = os.fspath(path)
    try:
        with open_regular(name) as file:
            text = file.read(MAX_BYTES + 1).decode()
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not a text file in UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise path_fault(name, error) from error
    document = parse(text, name)
    if not document.problems and document.value is None:
        document.problems.append(Problem("", None, "the file is empty", name))
    elif not document.problems and not isinstance(document.value, dict):
        document.report((), f"must be a mapping of keys to values, not {shown(document.value)}")
    return document


def dump(value: Any) -> str:
    """Write plain data as YAML that `parse` reads back as the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
