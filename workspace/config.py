"""How a workspace finds its director: a config file, which options and the environment override."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from federation import schema
from federation.names import MemberName
from workspace.client import Federation

CONFIG_NAME = "workspace_config.yaml"
Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]


@dataclass(frozen=True)
class WorkspaceConfig:
    """Where the director is and who we are.

    Parameters
    ----------
    director
        ``host:port``.
    certificates
        The folder with ``authority.crt``, ``NAME.crt`` and ``NAME.key``.
    name
        As in the certificate.
    checkpoints
        Hub ids of pretrained models, mapped to local folders.
    role
        ``workspace`` or ``operator``, where there is no certificate to say it.
    """

    director: Address = "localhost:50051"
    certificates: Path = Path("../certificates")
    name: MemberName = "workspace"
    checkpoints: dict[str, str] = field(default_factory=dict)
    role: Literal["workspace", "operator"] = "workspace"


def connect(config: str | None = None, insecure: bool = False, **overrides: Any) -> Federation:
    """Connect to the director that a config names.

    Parameters
    ----------
    config
        The file; by default ``workspace_config.yaml`` in the current folder, if there is one.
    insecure
        Without certificates, on the loopback address only.
    **overrides
        Settings that are not None go before the file's.
    """
    path = Path(config or CONFIG_NAME)
    known = schema.load(path, WorkspaceConfig) if config or path.is_file() else WorkspaceConfig()
    known = replace(known, **{key: value for key, value in overrides.items() if value is not None})
    return Federation(known.director, known.certificates, known.name, insecure, known.checkpoints, known.role)
