"""What installed packages bring by an entry-point group: listed without importing it, loaded where it is used.

A package that cannot be imported, or a name that two packages claim, is an error for whoever uses that name, and for
nobody else.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from federation.errors import InputError

T = TypeVar("T")


def names(group: str) -> list[str]:
    """Return the names that installed packages bring in a group, sorted; nothing is imported."""
    return sorted(_points(group))


def load(group: str, name: str, kind: type[T]) -> T:
    """Import what a name stands for.

    Parameters
    ----------
    group : str
        The entry-point group.
    name : str
        One of `names`.
    kind : type
        What it must be.

    Raises
    ------
    InputError
        In one line, if two packages claim the name, or its package cannot be imported or brings something else.
    """
    point = entry(group, name)
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{shown(point)} cannot be loaded ({what[:300]}); mend or uninstall that package"
        ) from error
    if not isinstance(found, kind):
        raise InputError(f"{shown(point)} must be of the type {kind.__name__}, not {type(found).__name__}")
    return found


def entry(group: str, name: str) -> EntryPoint:
    """Return the one entry point of a name.

    Raises
    ------
    InputError
        If two packages claim the name.
    KeyError
        If none brings it.
    """
    claims = _points(group)[name]
    if len(claims) > 1:
        packages = " and ".join(sorted(package_of(point) for point in claims))
        raise InputError(f"{group}: {name} is claimed by two packages, {packages}; uninstall one of them")
    return claims[0]


def package_of(point: EntryPoint) -> str:
    """Return the name of the distribution that brings an entry point."""
    return str(point.dist.name) if point.dist is not None else "an unknown package"


def shown(point: EntryPoint) -> str:
    """Name an entry point in a message: its group, its name, and the package that brings it."""
    return f"{point.group}: {point.name} of the package {package_of(point)}"


@cache
def _points(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        # A distribution that is installed twice, beside and in an environment, is one.
        if all(package_of(known) != package_of(point) for known in found.get(point.name, ())):
            found[point.name] = (*found.get(point.name, ()), point)
    return found
