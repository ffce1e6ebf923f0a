"""One name, one connection: the same process may connect anew, another may not as long as the first is there."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import pytest

from director.envoys import Envoys, NameInUse, OnlineEnvoy
from federation.protocol import federation_pb2 as pb

HERE, THERE = "10.0.0.5:4711", "10.0.0.6:4712"


def connect(envoys: Envoys, process: str, address: str = HERE) -> tuple[OnlineEnvoy, SimpleQueue[Any]]:
    orders: SimpleQueue[Any] = SimpleQueue()
    return envoys.connect("north", pb.Announcement(process=process), orders, address), orders


def test_a_process_that_connects_anew_replaces_its_connection() -> None:
    envoys = Envoys()
    first, orders = connect(envoys, "one")
    second, _ = connect(envoys, "one", THERE)
    assert orders.get_nowait().HasField("connected")
    assert orders.get_nowait() is None
    assert envoys["north"] is second
    assert not envoys.disconnect(first)
    assert envoys["north"] is second


def test_another_process_of_the_name_is_told_both_addresses_and_disturbs_nothing() -> None:
    envoys = Envoys()
    first, orders = connect(envoys, "one")
    with pytest.raises(NameInUse, match=f"{HERE} already.*{THERE} too"):
        connect(envoys, "two", THERE)
    assert envoys["north"] is first
    assert orders.get_nowait().HasField("connected")
    assert orders.empty()
    envoys.disconnect(first)
    second, _ = connect(envoys, "two", THERE)
    assert envoys["north"] is second


def test_an_envoy_that_was_upgraded_waits_for_the_end_of_the_older_one() -> None:
    envoys = Envoys()
    connect(envoys, "")
    with pytest.raises(NameInUse):
        connect(envoys, "one")


def test_envoys_of_earlier_versions_say_no_process_and_replace_each_other_as_before() -> None:
    envoys = Envoys()
    _, orders = connect(envoys, "")
    second, _ = connect(envoys, "")
    assert orders.get_nowait().HasField("connected")
    assert orders.get_nowait() is None
    assert envoys["north"] is second
