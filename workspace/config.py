"""How a workspace finds its director: a config file, which options and the environment override."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from federation import schema
from federation.errors import InputError
from federation.names import MemberName
from federation.patterns import Address
from workspace.client import Federation

CONFIG_NAME = "workspace_config.yaml"


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

    Raises
    ------
    InputError
        If the config cannot be used, or there is none and its defaults lead nowhere; or as `Federation` says.
    """
    path = Path(config or CONFIG_NAME)
    there = config is not None or path.is_file()
    known = schema.load(path, WorkspaceConfig) if there else WorkspaceConfig()
    given = {key: value for key, value in overrides.items() if value is not None}
    known = replace(known, **given)
    try:
        return Federation(
            known.director, known.certificates, known.name, insecure, known.checkpoints, known.role
        )
    except InputError as error:
        # The defaults are for the folder of a config: elsewhere, what they lead to is not what is wrong.
        if there or insecure or "certificates" in given:
            raise
        raise InputError(f"{_no_config()} ({error})") from error


def _no_config() -> str:
    below = Path("workspace", CONFIG_NAME)
    where = (
        f"there is one in {below.parent}/: cd {below.parent}" if below.is_file() else "run this where it is"
    )
    return (
        f"there is no {CONFIG_NAME} in this folder; {where}, or name it with -c FILE (or FED_WORKSPACE), or say --director, "
        "--certificates and --name"
    )
