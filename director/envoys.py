"""Who is online: the envoys with an open connection, and the orders that are sent to them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from cryptography import x509

from director.needs import fingerprint
from federation.errors import Unreachable
from federation.protocol import federation_pb2 as pb


class Orders(Protocol):
    """Where an envoy's orders are put."""

    def put(self, order: pb.Order | None, /) -> None:
        """Send an order; may be called from any thread."""


@dataclass(eq=False)
class OnlineEnvoy:
    """An envoy with an open connection; ``orders`` are sent to it, None ends the connection.

    ``ordered`` are the experiments that it has been told over this connection to work on, ``certificate`` is what it has shown.
    """

    name: str
    announcement: pb.Announcement
    since: float
    orders: Orders
    address: str = ""
    ordered: set[str] = field(default_factory=set)
    certificate: x509.Certificate | None = None

    @property
    def slots(self) -> int:
        """How many experiments it runs at once: one for each device."""
        return max(1, len(self.announcement.devices))

    @cached_property
    def classes_sha256(self) -> str:
        """The fingerprint of its labels, to be compared with what an experiment needs."""
        return fingerprint(self.announcement.classes)

    def listed(self, most: int) -> pb.Announcement:
        """Return what is listed of the announcement: all of it, or what is short if it has more than so many bytes."""
        said = self.announcement
        if said.ByteSize() <= most:
            return said
        return pb.Announcement(version=said.version, dataset=said.dataset, samples=said.samples)


class NameInUse(Unreachable):
    """Another process is connected under the name; it may be gone and not missed yet."""


class Envoys(dict[str, OnlineEnvoy]):
    """The envoys that are online, by name; whoever owns it guards it with a lock."""

    def connect(
        self,
        name: str,
        announcement: pb.Announcement,
        orders: Orders,
        address: str = "",
        certificate: x509.Certificate | None = None,
    ) -> OnlineEnvoy:
        """Take note of an envoy that is there; a new connection of the same process ends the old one.

        Raises
        ------
        NameInUse
            If another process is connected under the name. Envoys of earlier versions do not say of which process they are, and
            count as one.
        """
        envoy = OnlineEnvoy(name, announcement, time.time(), orders, address=address, certificate=certificate)
        if (other := self.get(name)) is not None:
            if other.announcement.process != announcement.process:
                raise NameInUse(
                    f"{name} is connected from {other.address} already, and cannot be from {address} too: end one of the two; "
                    "a connection that has died is noticed within 45 seconds"
                )
            other.orders.put(None)
        envoy.orders.put(pb.Order(connected=pb.Empty()))
        self[name] = envoy
        return envoy

    def disconnect(self, envoy: OnlineEnvoy) -> bool:
        """Take note that a connection has ended; False if the envoy has another one by now."""
        if self.get(envoy.name) is not envoy:
            return False
        del self[envoy.name]
        return True

    def order_stop(self, names: Iterable[str], experiment: str) -> None:
        """Tell those of some envoys that are there to work on an experiment no more."""
        for envoy in [self[name] for name in names if name in self]:
            envoy.ordered.discard(experiment)
            envoy.orders.put(pb.Order(stop=experiment))

    def order_forget(self, names: Iterable[str], experiment: str) -> None:
        """Tell those of some envoys that are there that nothing of an experiment is needed any more."""
        for envoy in [self[name] for name in names if name in self]:
            envoy.orders.put(pb.Order(forget=experiment))

    def close(self) -> None:
        """End every connection."""
        for envoy in self.values():
            envoy.orders.put(None)
