"""What becomes of a revoked member's work: nothing of it counts, whole or not at all, whenever the director dies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from federation.certificates import load_certificate, make_authority, make_member
from federation.errors import InputError, Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.revocation import serial_of, signed_revocation, text_of_revocation
from federation.signing import sign
from tests.director.in_process import TRAIN, VALIDATE, Director, announcement, director

REASON = "its certificate was revoked by olga on .*: stolen"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    make_authority(folder)
    make_member(folder, "director", "director")
    make_member(folder, "olga", "operator")
    for name in ("north", "south", "west"):
        make_member(folder, name, "envoy")
    return folder


@contextmanager
def life(folder: Path) -> Iterator[Director]:
    """A director's life with certificates."""
    (folder / "state").mkdir(exist_ok=True)
    with director(folder / "state", credentials=Credentials(folder / "certificates", "director")) as alive:
        yield alive


def connect(alive: Director, certificates: Path, *names: str) -> None:
    """Bring envoys online with their certificates."""
    from queue import SimpleQueue

    for name in names:
        certificate = load_certificate(certificates / f"{name}.crt", "")
        alive.connections[name] = alive.experiments.connect(
            name, announcement(), SimpleQueue(), certificate=certificate
        )
    alive.attend()


def revoke(alive: Director, certificates: Path, name: str, serial: str = "") -> pb.Revocation:
    entry = signed_revocation(Credentials(certificates, "olga"), name, serial, "stolen")
    alive.experiments.revoke(entry, "olga", lambda: None)
    alive.attend()
    return entry


def standing(alive: Director, name: str) -> str:
    return {member.name: member.standing for member in alive.journal.members("rows")}[name]


def counted(alive: Director) -> set[str]:
    return {result.envoy for result in alive.journal.results("rows")}


def test_what_a_revoked_envoy_has_sent_for_the_open_round_does_not_count(
    tmp_path: Path, certificates: Path
) -> None:
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south", "west")
        alive.submit(tasks=[VALIDATE, TRAIN], rounds=1)
        # One has finished the round, another a part of it.
        alive.work("rows", "north", 1000.0)
        alive.work("rows", "south", 3.0, most=1)
        assert counted(alive) == {"north", "south"}
        revoke(alive, certificates, "north")
        assert counted(alive) == {"south"}
        assert standing(alive, "north") == "excluded"
        event = alive.events("rows")[-1]
        assert (event.kind, event.body["envoy"]) == ("envoy_excluded", "north")
        assert "revoked by olga" in event.body["reason"]
        assert alive.kinds("rows").count("envoy_excluded") == 1
        alive.work("rows", "south", 3.0)
        alive.work("rows", "west", 5.0)
        closed = next(event for event in alive.events("rows") if event.kind == "round_closed")
        assert closed.body["cohort"] == ["south", "west"]
        model = alive.blobs.open(alive.experiments.experiment("rows").model)
        assert float(model["weight"].max()) == 4.0


def test_a_director_that_dies_after_it_goes_on_without_the_revoked(
    tmp_path: Path, certificates: Path
) -> None:
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south", "west")
        alive.submit(tasks=[VALIDATE, TRAIN], rounds=1)
        alive.work("rows", "north", 1000.0)
        revoke(alive, certificates, "north")
    with life(tmp_path) as alive:
        assert counted(alive) == set()
        assert standing(alive, "north") == "excluded"
        with pytest.raises(Refused, match=REASON):
            connect(alive, certificates, "north")
        connect(alive, certificates, "south", "west")
        alive.work("rows", "south", 3.0)
        alive.work("rows", "west", 5.0)
        model = alive.blobs.open(alive.experiments.experiment("rows").model)
        assert float(model["weight"].max()) == 4.0


@pytest.mark.parametrize("table", ["revocations", "members", "events"])
def test_where_one_part_cannot_be_written_none_is(tmp_path: Path, certificates: Path, table: str) -> None:
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south", "west")
        alive.submit(tasks=[VALIDATE, TRAIN], rounds=1)
        alive.work("rows", "north", 1000.0)
        before = alive.kinds("rows")
        with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite")) as other:
            other.execute(f"CREATE TRIGGER no BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(sqlite3.IntegrityError):
            revoke(alive, certificates, "north")
        with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite")) as other:
            other.execute("DROP TRIGGER no")
        assert alive.journal.read("SELECT name FROM revocations") == []
        assert alive.kinds("rows") == before
        assert counted(alive) == {"north"}
        assert standing(alive, "north") == "active"
        # It is refused all the same, and the same once more is done.
        with pytest.raises(Refused, match=REASON):
            connect(alive, certificates, "north")
        revoke(alive, certificates, "north")
        assert counted(alive) == set()
        assert standing(alive, "north") == "excluded"


def test_the_experiments_of_a_revoked_workspace_stop_and_can_be_resumed(
    tmp_path: Path, certificates: Path
) -> None:
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south")
        alive.submit("runs", by="alice")
        alive.submit("waits", envoys=5, by="alice")
        alive.submit("other", envoys=5, by="bob")
        revoke(alive, certificates, "alice")
        rows = {row.name: row for row in alive.experiments.experiments()}
        assert {name: row.state for name, row in rows.items()} == {
            "runs": "stopped",
            "waits": "stopped",
            "other": "queued",
        }
        assert "alice: its certificate was revoked by olga" in rows["runs"].reason
        assert alive.kinds("runs").count("stopped") == 1
        assert alive.experiments.live("runs") is None
        alive.experiments.resume("runs", {}, False, "olga")
        alive.attend()
        assert alive.experiments.experiment("runs").state == "running"


def test_nobody_waits_for_a_revoked_envoy_when_an_experiment_is_resumed(
    tmp_path: Path, certificates: Path
) -> None:
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south", "west")
        alive.submit(tasks=[VALIDATE, TRAIN], rounds=1)
        revoke(alive, certificates, "north")
        alive.experiments.resume("rows", {}, False, "olga")
        assert standing(alive, "north") == "excluded", "nor when it runs"
        alive.experiments.stop("rows")
        alive.experiments.resume("rows", {}, False, "olga")
        alive.attend()
        assert standing(alive, "north") == "excluded"
        alive.work("rows", "south", 3.0)
        alive.work("rows", "west", 5.0)
        closed = next(event for event in alive.events("rows") if event.kind == "round_closed")
        assert closed.body["cohort"] == ["south", "west"]


def test_an_envoy_that_is_back_with_a_new_certificate_is_taken_in_by_a_resume(
    tmp_path: Path, certificates: Path
) -> None:
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south", "west")
        alive.submit(tasks=[VALIDATE, TRAIN], rounds=1)
        revoke(alive, certificates, "north", serial_of(load_certificate(certificates / "north.crt", "")))
        for ending in (".crt", ".key"):
            (certificates / f"north{ending}").unlink()
        make_member(certificates, "north", "envoy")
        connect(alive, certificates, "north")
        assert standing(alive, "north") == "excluded"
        alive.experiments.resume("rows", {}, False, "olga")
        assert standing(alive, "north") == "active"


def test_the_same_entry_twice_stops_nothing_that_was_resumed(tmp_path: Path, certificates: Path) -> None:
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south")
        alive.submit(by="alice")
        entry = revoke(alive, certificates, "alice")
        alive.experiments.resume("rows", {}, False, "olga")
        alive.experiments.revoke(entry, "olga", lambda: None)
        assert alive.experiments.experiment("rows").state == "running"
        assert len(list(alive.experiments.revocations)) == 1


def test_an_envoy_that_is_back_with_another_certificate_stays_when_its_old_one_is_revoked(
    tmp_path: Path, certificates: Path
) -> None:
    old = load_certificate(certificates / "north.crt", "")
    make_member(certificates, "north", "envoy", force=True)
    with life(tmp_path) as alive:
        connect(alive, certificates, "north", "south")
        alive.submit()
        revoke(alive, certificates, "north", serial_of(old))
        assert standing(alive, "north") == "active"
        assert [envoy.name for envoy, _ in alive.experiments.online()] == ["north", "south"]
        revoke(alive, certificates, "north", serial_of(load_certificate(certificates / "north.crt", "")))
        assert standing(alive, "north") == "excluded"
        assert [envoy.name for envoy, _ in alive.experiments.online()] == ["south"]


def test_an_entry_that_no_operator_has_signed_like_this_changes_nothing(
    tmp_path: Path, certificates: Path
) -> None:
    make_member(certificates, "mallory", "workspace")
    sound = signed_revocation(Credentials(certificates, "olga"), "north", "", "stolen")

    def changed(**fields: object) -> pb.Revocation:
        entry = pb.Revocation()
        entry.CopyFrom(sound)
        for key, value in fields.items():
            setattr(entry, key, value)
        return entry

    unsigned = pb.Revocation(name="north", time=sound.time, by="olga")
    by_another = signed_revocation(Credentials(certificates, "mallory"), "north")
    borrowed = changed(by="mallory")
    borrowed.signature.CopyFrom(sign(Credentials(certificates, "mallory"), text_of_revocation(borrowed)))
    late = changed(time=sound.time + 3600)
    late.signature.CopyFrom(sign(Credentials(certificates, "olga"), text_of_revocation(late)))
    with life(tmp_path) as alive:
        for entry, by in (
            (unsigned, "olga"),
            (by_another, "mallory"),
            (borrowed, "mallory"),
            (changed(name="south"), "olga"),
            (changed(serial="ab"), "olga"),
            (changed(time=sound.time - 1), "olga"),
            (changed(time=float("nan")), "olga"),
            (changed(time=1e300), "olga"),
            (changed(reason="x"), "olga"),
            (changed(reason="\x1b]0;owned\x07"), "olga"),
            (changed(by="oscar"), "oscar"),
            (sound, "oscar"),
        ):
            with pytest.raises(Refused):
                alive.experiments.revoke(entry, by, lambda: None)
        with pytest.raises(InputError, match="a time to come"):
            alive.experiments.revoke(late, "olga", lambda: None)
        with pytest.raises(InputError, match="is this director"):
            revoke(alive, certificates, "director")
        assert list(alive.experiments.revocations) == []
        alive.experiments.revoke(sound, "olga", lambda: None)
        assert [entry.name for entry in alive.experiments.revocations] == ["north"]


def test_a_director_without_certificates_revokes_nothing(tmp_path: Path, certificates: Path) -> None:
    with director(tmp_path / "open") as alive, pytest.raises(Refused, match="--insecure"):
        revoke(alive, certificates, "north")


def test_the_signed_text_of_an_entry_holds_every_field(certificates: Path) -> None:
    """A change of the encoding breaks every entry that is kept: it wants another tag."""
    entry = pb.Revocation(name="north", serial="ab", time=1.5, reason="r", by="olga")
    assert text_of_revocation(entry) == (
        b"fed-revocation-1\0"
        b"\0\0\0\0\0\0\0\5north"
        b"\0\0\0\0\0\0\0\2ab"
        b"\0\0\0\0\0\0\0\x140x1.8000000000000p+0"
        b"\0\0\0\0\0\0\0\1r"
        b"\0\0\0\0\0\0\0\4olga"
    )
    signed = {"name", "serial", "time", "reason", "by"}
    assert {field.name for field in pb.Revocation.DESCRIPTOR.fields} == {*signed, "signature"}
