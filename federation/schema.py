"""Check documents against dataclasses: strictly, and all problems at once.

A dataclass says what a file may hold: its fields are the keys, their types and `pydantic.Field` constraints
the values. No key is accepted that it does not name, and no value is converted: ``"3"`` is no number. A
`Component` field holds a template and its settings, checked against the table of templates; a name that a template had in an
earlier version stands for the one that it has now.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, create_model
from pydantic_core import CoreSchema, core_schema, to_jsonable_python

from federation import document
from federation.document import Document, Problem, Problems, nearest, shown
from federation.kinds import another_kind
from federation.paths import at_home
from federation.patterns import words_of
from federation.templates import Kind, known_templates, present_name, tables

__all__ = ["Component", "OfKind", "Problem", "Problems", "check", "check_part", "load", "plain"]

T = TypeVar("T")
Check = Callable[[Document], Iterator[Problem]]

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
TOP = "document"
# Finding what was meant takes time, and a document may have come from anyone.
MAX_PROBLEMS = 200


@dataclass(frozen=True)
class Component:
    """A template and its settings, as an instance of the settings dataclass that the table names for it.

    Use it as ``Annotated[Component, OfKind("data_loader")]``.
    """

    template: str
    settings: Any


@dataclass(frozen=True)
class OfKind:
    """Which templates may stand where a `Component` is annotated with this."""

    kind: Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Build a union over the templates of this kind, told apart by their name."""
        table = {name: known.settings for name, known in known_templates().items() if known.kind == self.kind}
        return core_schema.tagged_union_schema(
            {name: _component_schema(name, settings, handler) for name, settings in table.items()},
            discriminator="template",
        )


def _component_schema(name: str, settings: type | None, handler: GetCoreSchemaHandler) -> CoreSchema:
    inner: CoreSchema
    if settings is None:
        inner = core_schema.dict_schema(core_schema.str_schema())  # the experiment's: see `check_part`
    else:
        inner = handler.generate_schema(settings)
        try:
            settings()
        except (TypeError, ValueError):
            pass  # the settings must be given
        else:
            inner = core_schema.with_default_schema(inner, default_factory=settings)
    fields = [
        core_schema.dataclass_field("template", core_schema.literal_schema([name])),
        core_schema.dataclass_field("settings", inner),
    ]
    arguments = core_schema.dataclass_args_schema(Component.__name__, fields)
    return core_schema.dataclass_schema(
        Component, arguments, ["template", "settings"], config={"extra_fields_behavior": "forbid"}
    )


def check(content: Document, kind: type[T], checks: Iterable[Check] = ()) -> T:
    """Check a document.

    Parameters
    ----------
    content : Document
        What was read.
    kind : type
        The dataclass that it must fit.
    checks : iterable of callables, optional
        What types cannot say. Each is given the document, sound or not, and yields problems; what it says
        about a key goes before what the types say about it.

    Returns
    -------
    object
        An instance of `kind`.

    Raises
    ------
    Problems
        All that is wrong.
    """
    if content.problems and not isinstance(content.value, dict):
        raise Problems(content.problems)
    if (said := another_kind(content.value, kind)) is not None:
        raise Problems([content.problem((), said)])
    problems = {problem.where: problem for problem in content.problems}
    for one in checks:
        for problem in islice(one(content), MAX_PROBLEMS):
            problems.setdefault(problem.where, problem)
    _use_present_names(content.value)
    result, found = check_part(content, (), kind)
    for problem in found:
        problems.setdefault(problem.where, problem)
    if problems:
        raise Problems(problems.values())
    return cast("T", result)


def check_part(content: Document, at: document.Path, kind: type[T]) -> tuple[T | None, list[Problem]]:
    """Check what stands at one place of a document.

    Parameters
    ----------
    content : Document
        What was read.
    at : tuple of str and int
        Where the part stands; it must be there.
    kind : type
        The dataclass that it must fit.

    Returns
    -------
    part, problems
        An instance of `kind`, None if there are problems; and these, with their place in the whole document.
    """
    model = _model(cast("Any", kind))
    try:
        checked = model.model_validate_json(json.dumps({TOP: content.get(*at)}), strict=True)
        return cast("T", getattr(checked, TOP)), []
    except ValidationError as error:
        found = list(_merged(islice(_problems(error, content, at, model), MAX_PROBLEMS)))
        if (meant := _as_meant(error, content, at)) is not None:
            places = {problem.where for problem in found}
            found += [problem for problem in check_part(meant, at, kind)[1] if problem.where not in places]
        return None, found


def load(path: str | os.PathLike[str], kind: type[T], overrides: Iterable[str] = ()) -> T:
    """Read a YAML file, apply overrides, and check it.

    Paths in it that are not absolute are taken from the file's folder, wherever the program was started.

    Parameters
    ----------
    path : path-like
        The file.
    kind : type
        The dataclass that it must fit.
    overrides : iterable of str
        Each as ``key.key=value``, the value in YAML.

    Returns
    -------
    object
        An instance of `kind`.

    Raises
    ------
    InputError
        If there is no such file.
    Problems
        All that is wrong with it.
    """
    content = document.read(path)
    for assignment in overrides:
        content.override(assignment)
    return cast("T", _anchored(check(content, kind), Path(path).absolute().parent))


def plain(value: Any) -> Any:
    """Turn an instance of a checked dataclass into what JSON and YAML can hold, defaults filled in."""
    return to_jsonable_python(value)


@cache
def _model(kind: type) -> type[BaseModel]:
    """Wrap a dataclass, so that strictness holds for all that is nested in it."""
    return create_model("Model", __config__=STRICT, **{TOP: (kind, ...)})  # type: ignore[call-overload, no-any-return]


@cache
def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _anchored(value: Any, folder: Path) -> Any:
    """Replace relative paths anywhere in a value."""
    if isinstance(value, Path):
        return folder / at_home(value)
    if isinstance(value, dict):
        return {key: _anchored(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_anchored(item, folder) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init
        }
        return dataclasses.replace(value, **{key: _anchored(item, folder) for key, item in changed.items()})
    return value


def _use_present_names(value: Any) -> None:
    """Write, wherever a template stands under a name that it had in an earlier version, the one that it has now."""
    if isinstance(value, dict):
        if isinstance(value.get("template"), str):
            value["template"] = present_name(value["template"])
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        _use_present_names(item)


def _problems(
    error: ValidationError, content: Document, at: document.Path, model: type[BaseModel]
) -> Iterator[Problem]:
    for one in error.errors(include_url=False):
        kind, context = one["type"], one.get("ctx", {})
        path = _path(one["loc"], content, at)
        if kind in ("missing", "union_tag_not_found"):
            key = one["loc"][-1] if kind == "missing" else context["discriminator"].strip("'")
            yield content.problem((*path, key), "is missing")
        elif kind == "unexpected_keyword_argument":
            yield content.problem(path, f"unknown key{nearest(str(path[-1]), _keys(model, one['loc'][:-1]))}")
        elif kind == "union_tag_invalid":
            known = [name.strip("' ") for name in context["expected_tags"].split(",")]
            tag, key = context["tag"], context["discriminator"].strip("'")
            said = "; ".join(
                [f"{shown(tag)} is none of the known ones{nearest(tag, known)}", *tables().problems]
            )
            yield content.problem((*path, key), said)
        elif kind == "json_invalid":
            yield content.problem((), "holds text that is not Unicode")
        elif kind == "string_pattern_mismatch" and (words := words_of(context["pattern"])) is not None:
            yield content.problem(path, f"must be {words}, not {shown(one['input'])}")
        elif kind == "value_error":
            yield content.problem(path, str(context["error"]))
        else:
            yield content.problem(path, _message(one["msg"], one["input"]))


def _as_meant(error: ValidationError, content: Document, at: document.Path) -> Document | None:
    """Put the templates that were probably meant in the place of those that there are not: their settings are checked, too.

    Returns
    -------
    Document or None
        A copy; None if nothing can be guessed.
    """
    guessed = False
    meant = Document(content.name, copy.deepcopy(content.value), content.origins)
    for one in error.errors(include_url=False):
        if one["type"] != "union_tag_invalid":
            continue
        known = [name.strip("' ") for name in one["ctx"]["expected_tags"].split(",")]
        close = (
            known if len(known) == 1 else difflib.get_close_matches(str(one["ctx"]["tag"])[:200], known, 1)
        )
        part = meant.get(*_path(one["loc"], content, at))
        if close and isinstance(part, dict):
            part[one["ctx"]["discriminator"].strip("'")] = close[0]
            guessed = True
    return meant if guessed else None


def _message(message: str, value: Any) -> str:
    """Put pydantic's words into ours."""
    if message.startswith("Input should be an object"):
        message = "Input should be a mapping"
    message = re.sub(r"^(Input|List|Dictionary|String) should", "must", message).replace(
        " after validation", ""
    )
    message = message.replace("a valid ", "a ").replace("a integer", "an integer").replace("array", "list")
    return message if ", not " in message else f"{message}, not {shown(value)}"


def _merged(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Join what several alternatives of a union say about the same place."""
    by_place: dict[str, Problem] = {}
    for problem in problems:
        known = by_place.get(problem.where)
        if known and problem.message not in known.message:
            wanted, _, given = known.message.rpartition(", not ")
            before = wanted if problem.message.endswith(f", not {given}") else known.message
            problem = dataclasses.replace(
                known, message=f"{before} or {problem.message.removeprefix('must be ')}"
            )
        by_place[problem.where] = problem
    yield from by_place.values()


def _path(location: tuple[int | str, ...], content: Document, at: document.Path) -> document.Path:
    """Drop from pydantic's location what names an alternative of a union and is not in the document."""
    path, value = at, content.get(*at)
    for step in location[1:]:
        inside = isinstance(value, dict) and step in value
        if inside or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            path, value = (*path, step), value[step]
    return path


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Find the keys that may stand at a location, by the model's JSON schema."""
    schema = _json_schema(model)
    definitions = schema.get("$defs", {})

    def alternatives(node: Any) -> Iterator[dict[str, Any]]:
        while "$ref" in node:
            node = definitions[node["$ref"].rpartition("/")[2]]
        yield node
        for choice in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
            yield from alternatives(choice)

    def step(node: dict[str, Any], key: int | str) -> Iterator[dict[str, Any]]:
        chosen = node.get("discriminator", {}).get("mapping", {}).get(key)
        inside = node.get("properties", {}).get(key) or node.get("items") or node.get("additionalProperties")
        if chosen:
            yield {"$ref": chosen} if isinstance(chosen, str) else chosen
        elif isinstance(inside, dict):
            yield inside

    nodes: list[dict[str, Any]] = [schema]
    for key in location:
        below = [child for node in nodes for choice in alternatives(node) for child in step(choice, key)]
        nodes = below or nodes
    return [key for node in nodes for choice in alternatives(node) for key in choice.get("properties", {})]
