"""What an envoy's config says: its entry of a federation file, plus its connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from federation.names import MemberName
from federation.schema import Component, OfKind

Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda:[0-9]{1,3})$")]


@dataclass(frozen=True)
class SitePolicy:
    """What this site permits; the director cannot override it.

    ``experiments`` lists the experiments that may run here; left out, every installed one may. ``workspaces`` lists those whose
    submissions are taken; left out, all are. ``unsigned`` takes what nobody has signed: submissions of earlier versions, and of
    workspaces without a certificate.
    """

    experiments: list[str] | None = None
    workspaces: list[MemberName] | None = None
    unsigned: bool = False

    def __post_init__(self) -> None:
        if self.unsigned and self.workspaces is not None:
            raise ValueError(
                "unsigned and workspaces exclude each other: what nobody has signed is of no workspace"
            )


@dataclass(frozen=True)
class EnvoyConfig:
    """One envoy: who it is, where its director is, what data and devices it has.

    Parameters
    ----------
    name
        As in its certificate.
    director
        ``host:port``.
    shard_descriptor
        Template and parameters of the class that opens the data.
    certificates
        The folder with ``authority.crt``, ``NAME.crt`` and ``NAME.key``.
    devices
        ``auto`` (every GPU, else the CPU), one device, or a list: one for each experiment that may run at a time.
    checkpoints
        Hub ids of pretrained models, mapped to local folders.
    policy
        What this site permits.
    state
        Where logs lie, in a folder of the envoy's name; outside the config's folder, so that a copied folder shares nothing.
    """

    name: MemberName
    director: Address
    shard_descriptor: Annotated[Component, OfKind("shard_descriptor")]
    certificates: Path = Path("../certificates")
    devices: Literal["auto"] | Device | Annotated[list[Device], Field(min_length=1)] = "auto"
    checkpoints: dict[str, str] = field(default_factory=dict)
    policy: SitePolicy = field(default_factory=SitePolicy)
    state: Path = Path("~/.local/state/fed/envoys")
    log_level: Literal["debug", "info", "warning"] = "info"
