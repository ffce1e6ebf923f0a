"""What an envoy's config says: its entry of a federation file, plus its connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from envoy.hours import Hours
from federation.errors import InputError
from federation.names import MemberName
from federation.patterns import Address, pattern
from federation.schema import Component, OfKind

Device = Annotated[str, pattern(r"^(cpu|cuda:[0-9]{1,3})$", "cpu or cuda:N, such as cuda:0")]

Bound = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _checked_hours(text: str) -> str:
    try:
        Hours.parse(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


WorkingHours = Annotated[str, AfterValidator(_checked_hours)]


@dataclass(frozen=True)
class Bounds:
    """The most that an experiment may ask of this site; what is left out is not bounded.

    Parameters
    ----------
    parameters
        Of the model, frozen ones too.
    epochs
        Of a round.
    batch_size
        Of training and of evaluation.
    threads
        Of torch.
    rounds
        Of the experiment.
    round_seconds
        The plan's ``round_limit``.
    disk_bytes
        For the model of a round and for what is kept, such as personal layers.
    """

    parameters: Bound | None = None
    epochs: Bound | None = None
    batch_size: Bound | None = None
    threads: Bound | None = None
    rounds: Bound | None = None
    round_seconds: Bound | None = None
    disk_bytes: Bound | None = None


@dataclass(frozen=True)
class SitePolicy:
    """What this site permits; the director cannot override it.

    Parameters
    ----------
    experiments
        Those that may run here; left out, every installed one may.
    checkpoints
        The ids of those that may be used; left out, all whose folder the config's ``checkpoints`` says, and those of the hub if
        it is permitted.
    hub
        Whether checkpoints may be downloaded from the hub; by default not, where ``checkpoints`` are set here or in the config.
    bounds
        What an experiment may ask for.
    hours
        Such as ``22:00-06:00``, by this machine's clock: outside of them the task at hand is finished, and no other is taken.
    devices
        Those that may be used, of the config's ``devices``; left out, all of them.
    workspaces
        Those whose submissions are taken; left out, all are.
    unsigned
        Whether to take what nobody has signed: submissions of earlier versions, and of workspaces without a certificate.
    """

    experiments: list[str] | None = None
    checkpoints: list[str] | None = None
    hub: bool | None = None
    bounds: Bounds = field(default_factory=Bounds)
    hours: WorkingHours | None = None
    devices: Annotated[list[Device], Field(min_length=1)] | None = None
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
