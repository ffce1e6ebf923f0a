"""The other ends of a process and of a connection, at points that cover a run: told to stop, frozen, cut, silent, disk full."""

from __future__ import annotations

import pytest

from tests.cutting_proxy import CuttingProxy
from tests.faults.black_hole import SwallowingProxy
from tests.faults.federation import Tiny
from tests.faults.points import Point

FULL = ("commit", "fsync", "rename", "create", "write")


@pytest.mark.parametrize("number", [3, 12, 30])
@pytest.mark.parametrize("what", ["SIGTERM", "SIGSTOP"])
def test_a_director_that_is_told_to_stop_or_frozen(tiny: Tiny, what: str, number: int) -> None:
    assert tiny.run("director", Point("message", number, "after", what)).reached


@pytest.mark.parametrize("number", [2, 20])
@pytest.mark.parametrize("what", ["SIGTERM", "SIGSTOP"])
def test_a_worker_that_is_told_to_stop_or_frozen(tiny: Tiny, what: str, number: int) -> None:
    assert tiny.run("north-worker", Point("message", number, "after", what)).reached


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("what", ["SIGTERM", "SIGSTOP"])
def test_an_agent_that_is_told_to_stop_or_frozen(tiny: Tiny, what: str, number: int) -> None:
    assert tiny.run("north", Point("message", number, "after", what)).reached


@pytest.mark.parametrize("sent", [1_000, 8_000, 15_000])
def test_a_connection_that_is_cut(tiny: Tiny, sent: int) -> None:
    proxies: list[CuttingProxy] = []

    def through(address: str) -> CuttingProxy:
        proxies.append(CuttingProxy(address, [sent, sent + 2_000]))
        return proxies[0]

    tiny.run(through=through)
    assert proxies[0].made


@pytest.mark.parametrize("sent", [1_000, 15_000])
def test_a_connection_that_goes_silent(tiny: Tiny, sent: int) -> None:
    proxies: list[SwallowingProxy] = []

    def through(address: str) -> SwallowingProxy:
        proxies.append(SwallowingProxy(address, [sent]))
        return proxies[0]

    tiny.run(through=through, keepalive=1_000)
    assert proxies[0].made


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("what", ["ENOSPC", "EIO"])
def test_a_director_whose_disk_fails_now_and_then(tiny: Tiny, kind: str, what: str) -> None:
    assert tiny.until_none_is_left("director", kind, what=what, every=9) >= 1


@pytest.mark.parametrize(("kind", "what"), [("fsync", "ENOSPC"), ("fsync", "EIO"), ("rename", "ENOSPC")])
def test_a_site_whose_disk_is_full(tiny: Tiny, kind: str, what: str) -> None:
    assert tiny.until_none_is_left("north-worker", kind, what=what) >= 1


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("what", ["ENOSPC", "EIO"])
def test_a_director_whose_disk_fails_at_any_call(tiny: Tiny, kind: str, what: str) -> None:
    assert tiny.until_none_is_left("director", kind, what=what) >= 1
