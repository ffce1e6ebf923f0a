"""How an envoy's processes reach their director: with a certificate, or without one on the loopback address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from federation.identity import Credentials, Identity, insecure_channel

# A dead director is noticed within half a minute even where no packet is refused.
OPTIONS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_reconnect_backoff_ms", 15_000),
]


@dataclass(frozen=True)
class Connection:
    """Where the director is and who we are; ``certificates`` None stands for ``--insecure``."""

    director: str
    name: str
    certificates: str | None
    role: str = "envoy"

    def open(self) -> grpc.Channel:
        """Open a channel; it connects when it is first used."""
        if self.certificates is None:
            return insecure_channel(self.director, Identity(self.name, self.role), OPTIONS)
        return Credentials(Path(self.certificates), self.name).channel(self.director, OPTIONS)
