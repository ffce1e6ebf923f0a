"""Which variable of the environment sends calls to a director through a proxy; none does for a director on this machine.

gRPC reads such variables itself, and says nothing of it where the proxy does not answer.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Any

from federation.addresses import is_loopback, split_address

# In gRPC's order: the first that is set decides, even if it is empty.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def proxy_options(address: str) -> list[tuple[str, Any]]:
    """Return the channel's options for a director at ``host:port``: no proxy stands before a loopback address."""
    return [("grpc.enable_http_proxy", 0)] if is_loopback(address) else []


def proxy_variable(address: str) -> str:
    """Return the variable that sends calls to ``host:port`` through a proxy; empty if none does."""
    name = _first_set(_PROXIES)
    if not os.environ.get(name, "").startswith("http://") or is_loopback(address):
        return ""
    host, _ = split_address(address)
    exceptions = os.environ.get(_first_set(_EXCEPTIONS), "").split(",")
    return "" if any(_covers(entry.strip(), host) for entry in exceptions if entry) else name


def _first_set(names: tuple[str, ...]) -> str:
    return next((name for name in names if name in os.environ), "")


def _covers(entry: str, host: str) -> bool:
    """Tell as gRPC does whether an exception is for a host: it is how its name ends, or a network that it is in."""
    if host.lower().endswith(entry.lower()):
        return True
    try:
        return "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
