"""The federation file: which envoys there are and what data each holds.

It is for whoever runs them all on one machine: a plan names no data, so ``fed simulate``, ``fed central``,
``fed local`` and the demo read it from here. A deployed envoy's config has the same entry.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from federation import schema
from federation.errors import InputError
from federation.names import MemberName
from federation.schema import Component, OfKind
from federation.templates import known_templates, present_name, tables

if TYPE_CHECKING:
    from shard_descriptors.descriptor import ShardDescriptor

ShardEntry = Annotated[Component, OfKind("shard_descriptor")]
Checkpoints = dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]]


@dataclass(frozen=True)
class EnvoyEntry:
    """One site: the class that opens its data, and that class's settings."""

    shard_descriptor: ShardEntry


@dataclass(frozen=True)
class FederationFile:
    """What a federation file holds.

    Parameters
    ----------
    envoys : dict of str to EnvoyEntry
        By name.
    test : EnvoyEntry, optional
        The shard whose ``test`` split measures final models.
    checkpoints : dict of str to str
        Hub ids of checkpoints and the local folders that hold them.
    """

    envoys: Annotated[dict[MemberName, EnvoyEntry], Field(min_length=1)]
    test: EnvoyEntry | None = None
    checkpoints: Checkpoints = field(default_factory=dict)


def load_federation(path: str | os.PathLike[str]) -> FederationFile:
    """Read and check a federation file; its relative paths are taken from its own folder.

    Raises
    ------
    InputError
        If there is no such file; as `Problems` with all that is wrong with it.
    """
    return schema.load(path, FederationFile)


def open_shard(entry: Component) -> ShardDescriptor:
    """Build the shard descriptor of an entry, if the table of templates has it.

    Raises
    ------
    InputError
        If the template is no shard descriptor; as the shard descriptor itself says if its data is bad.
    """
    template = present_name(entry.template)
    known = known_templates().get(template)
    if known is None or known.kind != "shard_descriptor":
        hint = "; ".join(tables().problems) or "install the package that brings it"
        raise InputError(f"{template} is no known shard descriptor; {hint}")
    module, _, name = template.rpartition(".")
    shard: ShardDescriptor = getattr(import_module(module), name)(**schema.plain(entry.settings))
    return shard


def samples_of(shard: ShardDescriptor) -> dict[str, int]:
    """Return how many samples a shard has, by split: what an envoy announces, and weighs by."""
    return {split: len(shard.split(split)) for split in ("train", "validation", "test")}
