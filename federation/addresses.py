"""Where a director is: ``host:port``, and whether that is this machine alone."""

from __future__ import annotations

import ipaddress

from federation.errors import InputError


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port``; an IPv6 host stands in brackets.

    Raises
    ------
    InputError
        If it is not of that form.
    """
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare) != host.startswith("[") or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"{address!r}: is no address; write it as host:port")
    return bare, int(port)


def is_loopback(address: str) -> bool:
    """Tell whether the host of ``host:port`` is ``localhost`` or a loopback IP address.

    Raises
    ------
    InputError
        If it is not of that form.
    """
    host, _ = split_address(address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_loopback(address: str) -> None:
    """Refuse an address from which, or at which, others could be reached.

    Raises
    ------
    InputError
        If its host is not ``localhost`` or a loopback IP address.
    """
    if not is_loopback(address):
        raise InputError(
            f"{address}: without certificates only 127.0.0.1, ::1 or localhost; leave --insecure out"
        )


def address_of_peer(peer: str) -> str:
    """Return ``host:port`` of a peer, as gRPC names it."""
    return peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]")


def is_loopback_peer(peer: str) -> bool:
    """Tell whether a peer, as gRPC names it, calls from this machine."""
    return peer.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D"))
