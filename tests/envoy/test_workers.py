"""Orders that come twice, late or in a hurry, and processes that are killed: real ones, which do no more than they must."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from envoy.run import Run
from envoy.worker import WorkOrder
from envoy.workers import Workers
from federation.link import Backoff
from federation.protocol import federation_pb2 as pb

DEADLINE = 60.0
others: set[psutil.Process] = set()
WORKS = "sys.stdin.read()"  # until it is ended
IS_KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
HAS_A_RESULT_TAKEN = "print('taken', flush=True)"
DISK_IS_FULL = """print('failed {"reason": "its disk is full", "passing": true}', flush=True); sys.exit(1)"""
FAILS = (
    """print('failed {"reason": "its GPU has gone", "traceback": "Traceback"}', flush=True); sys.exit(1)"""
)


def order(name: str, plan: str = "") -> pb.Start:
    return pb.Start(experiment=name, plan=plan)


class Site:
    """Workers whose processes run scripts, and what became of them."""

    def __init__(self, script: str = WORKS, devices: int = 1) -> None:
        self.script = script
        self.began: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self.away: list[str] = []
        self.has_room: Callable[[], bool] = lambda: True
        self._news = threading.Condition()
        self.workers = Workers([f"cpu:{n}" for n in range(devices)], self._work, self._note_failure)

    def _work(self, run: Run, device: str) -> pb.Failure | None:
        start = run.start
        body = f"import os, signal, sys; order = sys.stdin.readline(); {self.script}"
        self._say(lambda: self.began.append(f"{start.experiment} {start.plan}"))
        work_order = WorkOrder(start.experiment, start.plan, "", "", device, {}, {}, {}, "info", "")
        program = [sys.executable, "-c", body]
        return run.work(work_order, lambda: self.has_room(), self._note_away, program)

    def _note_failure(self, start: pb.Start, failure: pb.Failure) -> None:
        self._say(lambda: self.failed.append((start.experiment, failure.reason)))

    def _note_away(self, failure: pb.Failure | None) -> None:
        self._say(lambda: self.away.append(failure.reason if failure else "back"))

    def _say(self, note: Callable[[], Any]) -> None:
        with self._news:
            note()
            self._news.notify_all()

    def wait_for(self, so: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(so, DEADLINE), (self.began, self.failed, self.away)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    others.update(psutil.Process().children())
    yield site
    site.workers.close()
    assert not children(), "nothing is orphaned"


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envoy.run.LONGEST_PAUSE", 0.05)
    monkeypatch.setattr("envoy.run.FIRST_PAUSE", 0.01)


def test_what_runs_goes_on_when_it_is_ordered_again(site: Site) -> None:
    site.workers.start(order("birds"))
    process = wait_for_process()
    site.workers.start(order("birds"))
    assert process.is_running()
    assert site.began == ["birds "]


def test_an_experiment_that_was_stopped_and_is_ordered_again_is_run_as_ordered_last(site: Site) -> None:
    """Its process may still be ending when the order comes, as after `fed stop` and `fed resume`."""
    site.workers.start(order("birds", "old"))
    process = wait_for_process()
    process.suspend()  # it would not hear a SIGTERM
    site.workers.stop("birds")
    site.workers.start(order("birds", "new"))
    site.wait_for(lambda: site.began == ["birds old", "birds new"])
    assert not process.is_running()


def test_another_order_for_what_runs_replaces_it(site: Site) -> None:
    """An envoy that was away while an experiment was stopped and gone on with is not told of the stop."""
    site.workers.start(order("birds", "old"))
    wait_for_process()
    site.workers.start(order("birds", "new"))
    site.wait_for(lambda: site.began == ["birds old", "birds new"])


def test_an_order_that_comes_while_its_process_quits_is_not_lost(site: Site, tmp_path: Path) -> None:
    """The director has told it to quit, has gone on with the experiment, and ordered it again."""
    quits = tmp_path / "quits"
    os.mkfifo(quits)
    site.script = f"open({str(quits)!r}).read()"
    site.workers.start(order("birds"))
    with quits.open("w"):
        site.workers.start(order("birds"))
        site.script = WORKS
    site.wait_for(lambda: site.began == ["birds ", "birds "])
    assert site.failed == []


def test_the_last_of_several_orders_for_a_device_that_is_taken_holds(site: Site) -> None:
    site.workers.start(order("birds"))
    wait_for_process()
    site.workers.start(order("fish", "old"))
    site.workers.start(order("cats"))
    site.workers.start(order("fish", "new"))
    site.workers.start(order("cats"))
    site.workers.stop("cats")
    site.workers.stop("birds")
    site.wait_for(lambda: site.began == ["birds ", "fish new"])


def test_a_stop_that_comes_at_once_ends_what_has_hardly_begun(site: Site) -> None:
    for _ in range(20):
        site.workers.start(order("birds"))
        site.workers.stop("birds")
    gone = threading.Event()
    site.workers.stop("birds", gone.set)
    assert gone.wait(DEADLINE)
    assert site.failed == []


def test_what_is_kept_is_removed_when_nothing_runs_any_more_and_before_it_runs_again(
    site: Site, tmp_path: Path
) -> None:
    site.workers.start(order("birds"))
    process = wait_for_process()
    seen: list[tuple[bool, list[str]]] = []
    removed = threading.Event()

    def remove() -> None:
        seen.append((process.is_running(), list(site.began)))
        removed.set()

    site.workers.stop("birds", remove)
    site.workers.start(order("birds"))
    assert removed.wait(DEADLINE)
    assert seen == [(False, ["birds "])]
    site.wait_for(lambda: site.began == ["birds ", "birds "])


def test_a_process_that_is_killed_again_and_again_has_failed(site: Site) -> None:
    site.script = IS_KILLED
    site.workers.start(order("birds"))
    site.wait_for(lambda: bool(site.failed))
    assert site.failed == [("birds", "its process was killed by signal 9, 4 times in a row")]


def test_kills_are_counted_in_a_row_and_a_result_that_was_taken_ends_the_row(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six kills, with a result between the third and the fourth, are no four in a row, and pauses grow anew after it."""
    resets: list[Backoff] = []
    monkeypatch.setattr(Backoff, "reset", lambda pauses: resets.append(pauses))
    lives = tmp_path / "lives"
    lives.write_text("")
    site.script = f"""lives = open({str(lives)!r}, "a+"); lives.write("x"); lives.flush(); lives.seek(0); n = len(lives.read())
n == 4 and {HAS_A_RESULT_TAKEN}
n <= 6 and {IS_KILLED}"""
    site.workers.start(order("birds"))
    site.workers.start(order("fish"))
    site.wait_for(lambda: "fish " in site.began)
    assert site.failed == []
    assert len(lives.read_text()) >= 7
    assert len(resets) == 1


def test_a_failure_is_told_with_its_traceback_and_a_silent_one_as_well(site: Site) -> None:
    site.script = FAILS
    site.workers.start(order("birds"))
    site.wait_for(lambda: len(site.failed) == 1)
    site.script = "sys.exit(7)"
    site.workers.start(order("fish"))
    site.wait_for(lambda: len(site.failed) == 2)
    assert site.failed == [
        ("birds", "its GPU has gone"),
        ("fish", "its process ended with code 7 and did not say why"),
    ]


def test_a_full_disk_is_waited_for_and_uses_up_no_restart(site: Site, tmp_path: Path) -> None:
    there = threading.Event()
    asked = threading.Semaphore(0)

    def has_room() -> bool:
        asked.release()
        return there.is_set()

    site.has_room = has_room
    site.script = (
        f"import pathlib; pathlib.Path({str(tmp_path / 'room')!r}).exists() and sys.exit(0)\n{DISK_IS_FULL}"
    )
    site.workers.start(order("birds"))
    for _ in range(8):
        assert asked.acquire(timeout=DEADLINE)
    assert site.away == ["its disk is full"]
    (tmp_path / "room").touch()
    there.set()
    site.wait_for(lambda: site.away == ["its disk is full", "back"])
    site.workers.start(order("fish"))
    site.wait_for(lambda: "fish " in site.began)
    assert site.failed == []


def test_a_stop_ends_the_wait_for_room(site: Site) -> None:
    site.has_room = lambda: False
    site.script = DISK_IS_FULL
    site.workers.start(order("birds"))
    site.wait_for(lambda: bool(site.away))
    gone = threading.Event()
    site.workers.stop("birds", gone.set)
    assert gone.wait(DEADLINE)
    assert site.failed == []


@pytest.mark.parametrize(
    ("error", "reason", "passes"),
    [
        ("OSError(errno.ENOSPC, 'No space left')", "its disk is full (No space left)", True),
        ("OSError(errno.EIO, 'Input/output error')", "its disk fails (Input/output error)", True),
        ("PermissionError(errno.EACCES, 'Denied')", "PermissionError: [Errno 13] Denied", False),
        ("Refused('other code')", "other code", False),
    ],
)
def test_a_worker_tells_what_passes_from_what_has_failed(error: str, reason: str, passes: bool) -> None:
    script = (
        "import errno, sys; from envoy import worker; from federation.errors import Refused\n"
        f"def work(*_): raise {error}\n"
        "worker.work = work; sys.exit(worker.main())"
    )
    work_order = WorkOrder("birds", "", "", "", "cpu", {}, {}, {}, "info", "")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(work_order.to_json() + "\n")
        process.stdin.flush()
        word, _, rest = process.stdout.readline().partition(" ")
        # It ends at once when nobody holds its standard input open any more.
        assert process.wait(DEADLINE) == (5 if "Refused" in error else 1)
    told = json.loads(rest)
    assert (word, told["reason"], told.get("passing", False)) == ("failed", reason, passes)


def children() -> list[psutil.Process]:
    """Return the processes of the workers; other tests of this process may have left some of theirs for later ones."""
    return [process for process in psutil.Process().children() if process not in others]


def wait_for_process() -> psutil.Process:
    """Return the one process of the workers, as soon as it runs its own program: who forked it waits until then."""
    deadline, ours = threading.Event(), psutil.Process().cmdline()
    for _ in range(int(DEADLINE / 0.02)):
        if (found := children()) and found[0].cmdline() != ours:
            return found[0]
        deadline.wait(0.02)
    raise AssertionError("no process")
