"""How an envoy's processes reach their director: with a certificate, or without one on the loopback address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from federation.identity import Credentials, Identity
from federation.link import Link, open_channel


@dataclass(frozen=True)
class Connection:
    """Where the director is and who we are, as plain data; ``certificates`` None stands for ``--insecure``."""

    director: str
    name: str
    certificates: str | None
    role: str = "envoy"

    def link(self) -> Link:
        """Return a way to the director, which is opened when it is first used.

        Raises
        ------
        InputError
            As `open_channel` says.
        """
        return Link(self.director, self._identity, self._folder)

    def open(self) -> grpc.Channel:
        """Open a bare channel; it connects when it is first used."""
        return open_channel(self.director, self._identity, self._folder)

    @property
    def credentials(self) -> Credentials | None:
        """The files of our certificate; None without."""
        return None if self._folder is None else Credentials(self._folder, self.name)

    @property
    def _identity(self) -> Identity:
        return Identity(self.name, self.role)

    @property
    def _folder(self) -> Path | None:
        return None if self.certificates is None else Path(self.certificates)
