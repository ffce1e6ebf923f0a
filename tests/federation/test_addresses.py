"""Addresses as people write them and as peers have them, and which of them are this machine's own."""

from __future__ import annotations

import pytest

from federation.errors import InputError
from federation.identity import is_loopback_peer, require_loopback


@pytest.mark.parametrize("address", ["127.0.0.1:5", "localhost:0", "[::1]:5", "127.8.9.1:1"])
def test_loopback_addresses_are_recognised(address: str) -> None:
    require_loopback(address)


@pytest.mark.parametrize("address", ["localhost", ":5", "::1:5", "host:port", "[::1]", "host:70000", ""])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(InputError, match="write it as host:port"):
        require_loopback(address)


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("ipv4:127.0.0.1:4711", True),
        ("ipv6:[::1]:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv4:10.0.0.5:4711", False),
        ("ipv6:%5B2001:db8::1%5D:4711", False),
        ("ipv6:%5B::ffff:10.0.0.5%5D:4711", False),
    ],
)
def test_only_a_caller_on_this_machine_may_be_without_certificate(peer: str, here: bool) -> None:
    assert is_loopback_peer(peer) is here
