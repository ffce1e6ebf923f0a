"""What a director's config says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from director.limits import Limits
from federation.names import MemberName
from federation.patterns import Address


@dataclass(frozen=True)
class DirectorConfig:
    """One director: where it listens, who it is, where its state lies.

    Parameters
    ----------
    listen
        ``host:port``; port 0 lets the system choose one, which is written to ``address`` in the state folder.
    name
        As in its certificate.
    certificates
        The folder with ``authority.crt``, ``NAME.crt`` and ``NAME.key``.
    state
        The folder of the journal and the blobs: what must not be lost.
    max_model_gib
        The largest initial model that is accepted, in GiB.
    retention_days
        After which the models of an experiment that has ended go; left out: never.
    reading
        Whether a workspace sees every experiment (``all``), or only those that it has submitted itself (``own``).
    threads
        Uploads at once, and pieces that are read for downloads; whoever only waits takes none.
    limits
        What one member may use at once.
    """

    listen: Address = "127.0.0.1:50051"
    name: MemberName = "director"
    certificates: Path = Path("../certificates")
    state: Path = Path("~/.local/state/fed/director")
    max_model_gib: Annotated[float, Field(gt=0, le=64)] = 8.0
    retention_days: Annotated[float, Field(gt=0)] | None = None
    reading: Literal["all", "own"] = "all"
    threads: Annotated[int, Field(ge=4, le=10_000)] = 512
    limits: Limits = field(default_factory=Limits)
    log_level: Literal["debug", "info", "warning"] = "info"
