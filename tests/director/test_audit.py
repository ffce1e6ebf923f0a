"""Who did what is on disk before it is answered, and refusals fill no disk."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from director.audit import FILE, AuditLog, Entry
from tests.full_disk import full

STOP = Entry("stop", "alice", "workspace", "10.0.0.5:4711", "words")
REFUSED = Entry("refused", "mallory", "workspace", "10.0.0.6:4711", "", "Connect: not for this role")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def said(log: AuditLog, **which: object) -> list[tuple[str, str, int]]:
    return [(entry.what, entry.member, entry.count) for entry in log.read(**which)]  # type: ignore[arg-type]


def test_entries_say_who_what_from_where_and_when_and_outlive_the_director(tmp_path: Path) -> None:
    clock = Clock()
    log = AuditLog(tmp_path, clock=clock)
    log.did(STOP)
    # Killed: nothing is closed.
    [entry] = AuditLog(tmp_path).read()
    assert entry == Entry("stop", "alice", "workspace", "10.0.0.5:4711", "words", "done", 1000.0, 0)


def test_only_the_owner_reads_the_file_and_it_is_only_appended_to(tmp_path: Path) -> None:
    AuditLog(tmp_path).did(STOP)
    before = (tmp_path / FILE).read_bytes()
    AuditLog(tmp_path).did(STOP)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert (tmp_path / FILE).read_bytes().startswith(before)
    assert len(before) < (tmp_path / FILE).stat().st_size


def test_no_link_leads_it_elsewhere(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        AuditLog(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_that_a_crash_has_cut_off_costs_no_other(tmp_path: Path) -> None:
    AuditLog(tmp_path).did(STOP)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"what": "sto')
    log = AuditLog(tmp_path)
    log.did(STOP)
    assert said(log) == [("stop", "alice", 0)] * 2


def test_refusals_are_bounded_by_member_and_counted_beyond(tmp_path: Path) -> None:
    clock = Clock()
    log = AuditLog(tmp_path, refusals=3, clock=clock)
    for _ in range(1000):
        log.refused(REFUSED)
    log.refused(Entry("refused", "bob"))
    assert (tmp_path / FILE).read_text().count("\n") == 4
    clock.now += 60
    log.refused(REFUSED)
    assert said(log, member="mallory") == [("refused", "mallory", n) for n in (0, 0, 0, 997, 0)]
    assert said(log, member="bob") == [("refused", "bob", 0)]


def test_what_was_only_counted_is_written_when_somebody_reads_or_the_director_stops(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, refusals=1)
    for _ in range(5):
        log.refused(REFUSED)
    assert said(log) == [("refused", "mallory", 0), ("refused", "mallory", 4)]
    assert said(log) == [("refused", "mallory", 0), ("refused", "mallory", 4)]
    log.refused(REFUSED)
    log.close()
    assert said(AuditLog(tmp_path))[-1] == ("refused", "mallory", 1)
    log.handshake_failed("too late")
    assert said(AuditLog(tmp_path))[-1] == ("refused", "mallory", 1)


def test_strangers_are_counted_by_where_they_call_from(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, refusals=1)
    for port in range(100):
        log.refused(Entry("refused", address=f"10.0.0.9:{port}"))
    log.refused(Entry("refused", address="10.0.0.8:1"))
    assert (tmp_path / FILE).read_text().count("\n") == 2


def test_what_was_done_is_never_left_out_for_what_was_refused(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, refusals=1)
    for _ in range(10):
        log.refused(Entry("refused", "alice"))
    log.did(STOP)
    assert said(log, what="stop") == [("stop", "alice", 0)]


def test_a_failed_handshake_is_nobodys_and_says_how_many_there_were(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.handshake_failed("it has no certificate")
    log.handshake_failed("it has no certificate", 9)
    assert said(log) == [("handshake", "", 0), ("handshake", "", 10)]


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.refused(Entry("refused", "alice", outcome="x" * 1_000_000, experiment="y" * 1_000_000))
    assert (tmp_path / FILE).stat().st_size < 2000


def test_it_is_read_by_time_member_what_and_the_newest(tmp_path: Path) -> None:
    clock = Clock()
    log = AuditLog(tmp_path, clock=clock)
    for number in range(5):
        clock.now = float(number)
        log.did(Entry("stop" if number % 2 else "submit", "alice" if number < 3 else "bob"))
    assert [entry.time for entry in log.read(since=2.0)] == [2, 3, 4]
    assert [entry.time for entry in log.read(member="bob")] == [3, 4]
    assert [entry.time for entry in log.read(what="submit")] == [0, 2, 4]
    assert [entry.time for entry in log.read(what="submit", last=1)] == [4]
    assert [entry.time for entry in log.read(last=2)] == [3, 4]


def test_without_room_what_changes_something_is_not_answered_and_a_refusal_is(small_disk: Path) -> None:
    faults: list[int | None] = []
    log = AuditLog(small_disk, on_fault=lambda error: faults.append(error.errno))
    log.did(STOP)
    with full(small_disk):
        # The file's last block has room for some.
        with pytest.raises(OSError) as raised:
            for _ in range(100):
                log.did(STOP)
        assert raised.value.errno == errno.ENOSPC
        log.refused(REFUSED)
        log.noted(REFUSED)
        whole = (small_disk / FILE).read_bytes()
        assert whole.endswith(b"\n"), "nothing is half written"
        assert len(list(log.read())) == whole.count(b"\n")
    assert set(faults) == {errno.ENOSPC}
    log.did(STOP)
    assert len(list(log.read())) == whole.count(b"\n") + 1
    log.close()
