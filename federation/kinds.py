"""The kinds of files that there are, so that one in the place of another is said at once, and not key by key."""

from __future__ import annotations

from typing import Any

# By the dataclass that a file of the kind must fit: what it is called, and the keys by which it is known.
_KINDS: dict[str, tuple[str, frozenset[str]]] = {
    "PlanDocument": ("a plan", frozenset({"task_runner", "federation"})),
    "FederationFile": ("a federation file", frozenset({"envoys"})),
    "DirectorConfig": ("a director's config", frozenset({"listen"})),
    "EnvoyConfig": ("an envoy's config", frozenset({"shard_descriptor", "director"})),
    "WorkspaceConfig": ("a workspace's config", frozenset({"director"})),
}


def another_kind(value: Any, wanted: type) -> str | None:
    """Say that a document is one of another kind; None if it may be one of the kind that is wanted.

    Parameters
    ----------
    value
        What was read.
    wanted
        The dataclass that it should fit.
    """
    if not isinstance(value, dict) or wanted.__name__ not in _KINDS:
        return None
    called, marks = _KINDS[wanted.__name__]
    if marks & value.keys():
        return None
    found = [(len(known), name) for name, known in _KINDS.values() if known <= value.keys()]
    return f"is {max(found)[1]}, where {called} is wanted" if found else None
