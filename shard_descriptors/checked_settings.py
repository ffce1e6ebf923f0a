"""Settings that did not come through a federation file, such as those of a notebook, checked as strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from federation.document import nearest, shown
from federation.errors import InputError

T = TypeVar("T")


def checked(kind: type[T], settings: Mapping[str, Any], what: str) -> T:
    """Check settings against their dataclass, which forbids unknown keys by its ``__pydantic_config__``.

    Parameters
    ----------
    kind : type
        The dataclass.
    settings : mapping of str to Any
        As a federation file would have them.
    what : str
        What they are of, for the message: "the Speech Commands shard".

    Raises
    ------
    InputError
        With every setting that is wrong, in one line.
    """
    text = json.dumps(settings, default=str, ensure_ascii=False)
    try:
        return TypeAdapter(kind).validate_json(text.encode(), strict=True)
    except UnicodeEncodeError:
        names = [name for name, value in settings.items() if _is_no_text(str(value))]
        raise InputError(
            f"settings of {what}: {', '.join(names)}: not UTF-8, so that it cannot be told to others; rename it"
        ) from None
    except ValidationError as error:
        known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        problems = [_told(problem, known) for problem in error.errors()]
        raise InputError(f"settings of {what}: {'; '.join(dict.fromkeys(problems))}") from error


def _is_no_text(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _told(problem: Mapping[str, Any], known: list[str]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "unexpected_keyword_argument":
        return f"{name}: unknown key{nearest(name, known)}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{name}: {problem['msg'].replace('Input should be', 'must be')}, not {shown(problem['input'])}"
