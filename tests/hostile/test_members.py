"""Who may do what to whose experiment; what becomes of members whose certificates are revoked."""

from __future__ import annotations

import json
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import click
import pytest

from federation.certificate_requests import renew
from federation.certificates import load_certificate, make_member
from federation.errors import FederationError, InputError, Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.revocation import serial_of, signed_revocation
from tests.deployment import DEADLINE, Deployment
from tests.hostile.commands import run
from tests.hostile.members import Site, submission, submitted, user
from workspace.certificate_ends import warnings
from workspace.client import Experiment, Federation
from workspace.revocations import revocations, revoke

# Within so many seconds what a revoked member has open ends.
ENDS = 10.0


def wait_until(there: Callable[[], object]) -> None:
    """Wait for what nobody tells of."""
    end = time.monotonic() + DEADLINE
    while not there():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


def wait_for_the_next_second() -> None:
    """Certificates know no parts of seconds: one that is made within that of a revocation counts as made before."""
    now = int(time.time())
    threading.Event().wait(now + 1 - time.time())


@pytest.fixture(scope="module")
def federated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A director whose experiments everybody may read."""
    with Deployment(tmp_path_factory.mktemp("members")) as deployment:
        deployment.start_director()
        yield deployment


CHANGES: dict[str, Callable[[Experiment], object]] = {
    "stop": lambda experiment: experiment.stop(),
    "resume": lambda experiment: experiment.resume(),
    "exclude": lambda experiment: experiment.exclude("north"),
    "remove": lambda experiment: experiment.remove(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_experiment_is_changed_by_nobody_but_its_owner_and_operators(
    federated: Deployment, change: str
) -> None:
    with user(federated, "alice") as alice, user(federated, "mallory") as mallory:
        hers = submitted(alice, f"hers-{change}")
        stolen = Experiment(mallory, hers.name)
        with pytest.raises(Refused, match=f"{hers.name} is alice's"):
            CHANGES[change](stolen)
        assert hers.info().state == "queued"
        assert next(event.kind for event in stolen.events()) == "submitted", "everybody may read it"


def test_an_operator_may_do_what_the_owner_may(federated: Deployment) -> None:
    with user(federated, "alice") as alice, user(federated, "olga", "operator") as olga:
        hers = submitted(alice, "watched-over")
        stopped = Experiment(olga, hers.name).stop()
        assert (stopped.state, stopped.submitted_by) == ("stopped", "alice")
        assert Experiment(olga, hers.name).resume().state == "queued"
        assert hers.stop().state == "stopped"
        assert Experiment(olga, hers.name).remove().state == "removed"
        assert hers.name not in [info.name for info in olga.experiments()]


def test_an_operator_uses_the_commands_of_a_workspace_with_its_certificate(federated: Deployment) -> None:
    with user(federated, "alice") as alice, user(federated, "olga", "operator"):
        hers = submitted(alice, "by-command")
        assert "by-command: stopped" in federated.fed("stop", hers.name, "--name", "olga")
        user(federated, "mallory").close()
        said = federated.fed("rm", hers.name, "--name", "mallory", code=5)
        assert "by-command is alice's" in said


def test_a_renewed_certificate_keeps_what_its_name_has_submitted(
    federated: Deployment,
) -> None:
    with user(federated, "anna") as anna:
        hers = submitted(anna, "renewed")
    make_member(federated.certificates, "anna", "workspace", force=True)
    with user(federated, "anna") as anna:
        assert Experiment(anna, hers.name).stop().state == "stopped"


def test_with_reading_own_nobody_sees_the_experiments_of_others(tmp_path: Path) -> None:
    with Deployment(tmp_path) as deployment:
        deployment.start_director(reading="own")
        with (
            user(deployment, "alice") as alice,
            user(deployment, "mallory") as mallory,
            user(deployment, "olga", "operator") as olga,
        ):
            hers = submitted(alice, "hers")
            assert [info.name for info in alice.experiments()] == ["hers"]
            assert mallory.experiments() == []
            assert [info.name for info in olga.experiments()] == ["hers"]
            stolen = Experiment(mallory, "hers")
            for reads in (
                lambda: list(stolen.events()),
                lambda: stolen.tensors("last"),
                lambda: mallory.experiment("hers"),
                # What `start_from` takes.
                lambda: mallory._earlier("hers", "last"),
            ):
                with pytest.raises(Refused, match="hers is alice's"):
                    reads()
            assert set(Experiment(olga, "hers").tensors("last")) == set(hers.tensors("last")) == {"weight"}


def test_what_a_director_writes_is_its_owners_only(federated: Deployment) -> None:
    with user(federated, "alice") as alice:
        submitted(alice, "written")
    state = federated.folder / "state"
    open_to_others = [
        path.name for path in [state, *state.rglob("*")] if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert open_to_others == []
    assert {"journal.sqlite", "blobs", "uploads"} <= {path.name for path in state.iterdir()}


class Silent:
    """An upload that has begun and says no more."""

    def __init__(self, federation: Federation) -> None:
        self._open = threading.Event()
        self._answer: Future[object] = Future()
        self._federation = federation
        threading.Thread(target=self._upload, daemon=True).start()

    def _messages(self) -> Iterator[pb.SubmitChunk]:
        yield pb.SubmitChunk(submission=submission("silent"))
        yield pb.SubmitChunk(data=b"some")
        self._open.wait(DEADLINE)

    def _upload(self) -> None:
        try:
            answer = self._federation.link.call(
                lambda stub: stub.Submit(self._messages(), timeout=DEADLINE), patience=0
            )
        except FederationError as error:
            answer = error
        self._answer.set_result(answer)

    def answer(self) -> object:
        """Return what becomes of it, as soon as it is known."""
        try:
            return self._answer.result(ENDS)
        finally:
            self._open.set()


def test_a_revoked_envoy_is_gone_at_once_and_nothing_of_it_counts(federated: Deployment) -> None:
    with (
        user(federated, "alice") as alice,
        user(federated, "olga", "operator") as olga,
        Site(federated, "north") as north,
        Site(federated, "south") as south,
        Site(federated, "west") as west,
        ThreadPoolExecutor() as threads,
    ):
        hers = submitted(alice, "poisoned", envoys=2)
        for site in (north, south, west):
            assert site.wait_for("start").start.experiment == hers.name
        assert north.train(hers.name, 1000.0)
        waiting = threads.submit(north.tasks, hers.name)
        revoke(olga, "north", reason="stolen")
        assert "was revoked by olga" in str(north.wait_for_the_end())
        with pytest.raises(Refused, match=r"was revoked by olga on .*: stolen"):
            waiting.result(ENDS)
        with pytest.raises(Refused, match="was revoked by olga"):
            north.tasks(hers.name)
        with pytest.raises(Refused, match="was revoked by olga"):
            north.train(hers.name, 1000.0)

        assert south.train(hers.name, 3.0)
        assert west.train(hers.name, 5.0)
        assert hers.watch(show=False).state == "finished"
        assert float(hers.tensors("last")["weight"].max()) == 5.0
        (excluded,) = [event for event in hers.events() if event.kind == "envoy_excluded"]
        assert excluded.body["reason"].endswith("stolen")
        # The others have it with their connection, and go on with the certificates that they have.
        assert south.wait_for("revoked").revoked.name == "north"
        assert {envoy.name for envoy in alice.envoys()} == {"south", "west"}
    federated.director.wait_for("north: a certificate was revoked by olga")
    # Of the same name, and made later, that is: in another second.
    wait_for_the_next_second()
    make_member(federated.certificates, "north", "envoy", force=True)
    with Site(federated, "north") as north:
        assert north.wait_for("revoked").revoked.reason == "stolen", "who comes later has it, too"


def test_what_a_revoked_workspace_has_open_ends_and_its_experiments_stop(federated: Deployment) -> None:
    with (
        user(federated, "trudy") as trudy,
        user(federated, "olga", "operator") as olga,
        ThreadPoolExecutor() as threads,
    ):
        experiment = submitted(trudy, "trudys")
        seen = threading.Event()

        def watch() -> None:
            for _ in experiment.events(follow=True):
                seen.set()

        watching = threads.submit(watch)
        silent = Silent(trudy)
        wait_until(lambda: list((federated.folder / "state" / "blobs").glob("*.part")))
        assert seen.wait(DEADLINE)
        revoke(olga, "trudy")
        with pytest.raises(Refused, match="was revoked by olga"):
            watching.result(ENDS)
        assert "was revoked by olga" in str(silent.answer())
        with pytest.raises(Refused, match="was revoked by olga"):
            trudy.experiments()
        stopped = Experiment(olga, experiment.name)
        assert stopped.info().state == "stopped"
        assert "trudy: its certificate was revoked by olga" in stopped.info().reason
        assert stopped.resume().state == "queued"


def test_one_certificate_is_revoked_by_its_serial_and_the_renewed_one_is_not(
    federated: Deployment, tmp_path: Path
) -> None:
    user(federated, "erin").close()
    shutil.copytree(federated.certificates, tmp_path / "old")
    renew(federated.certificates, "erin")
    serial = serial_of(load_certificate(tmp_path / "old" / "erin.crt", ""))
    with user(federated, "olga", "operator") as olga:
        shown = ":".join([serial.upper()[:2], serial.upper()[2:]])
        listed = revoke(olga, "erin", shown)
        assert serial in [entry.serial for entry in listed]
    with (
        Federation(federated.address, tmp_path / "old", "erin") as old,
        pytest.raises(Refused, match="was revoked"),
    ):
        old.experiments()
    with user(federated, "erin") as erin:
        erin.experiments()


def test_nobody_but_an_operator_revokes(federated: Deployment) -> None:
    with user(federated, "mallory") as mallory, Site(federated, "east") as east:
        with pytest.raises(Refused, match="this is for the role operator"):
            revoke(mallory, "east")
        entry = signed_revocation(Credentials(federated.certificates, "mallory"), "east")
        with pytest.raises(Refused, match="this is for the role operator"):
            east.link.call(lambda stub: stub.Revoke(entry, timeout=DEADLINE), patience=0)
        assert "east" in [envoy.name for envoy in mallory.envoys()]
        assert "east" not in [entry.name for entry in revocations(mallory)]


def test_what_is_revoked_stays_so_when_the_director_starts_again(federated: Deployment) -> None:
    with user(federated, "olga", "operator") as olga, user(federated, "gone") as gone:
        revoke(olga, "gone", reason="left")
        federated.director.end()
        federated.start_director(listen=federated.address.replace("localhost", "127.0.0.1"))
        with pytest.raises(Refused, match=r"was revoked by olga on .*: left"):
            gone.experiments()
        assert "gone" in [entry.name for entry in revocations(olga)]


def test_the_command_revokes_and_lists(federated: Deployment) -> None:
    from workspace.commands.revoke import revoke as command

    with user(federated, "olga", "operator"), user(federated, "heidi") as heidi:
        director = ("--director", federated.address, "--certificates", str(federated.certificates))
        said = run(command, "heidi", "--reason", "left", "--name", "olga", *director)
        assert "heidi: every certificate until then" in said
        assert "by olga: left" in said
        listed = json.loads(run(command, "--list", "--json", "--name", "olga", *director))
        assert "heidi" in [entry["name"] for entry in listed]
        with pytest.raises(Refused, match="was revoked by olga"):
            run(command, "--list", "--name", "heidi", *director)
        with pytest.raises(Refused):
            heidi.envoys()
        for wrong in ([], ["--list", "heidi"]):
            with pytest.raises(click.UsageError):
                run(command, *wrong, "--name", "olga", *director)
        with pytest.raises(InputError, match="is no serial number"):
            run(command, "heidi", "--serial", "xyz", "--name", "olga", *director)


def test_who_lists_envoys_is_warned_thirty_days_before_a_certificate_ends(federated: Deployment) -> None:
    make_member(federated.certificates, "ending", "envoy", days=20)
    make_member(federated.certificates, "lasting", "envoy", days=40)
    with user(federated, "alice") as alice, Site(federated, "ending"), Site(federated, "lasting"):
        ends = {envoy.name: envoy.certificate_ends for envoy in alice.envoys()}
        certificate = load_certificate(federated.certificates / "ending.crt", "")
        assert ends["ending"] == certificate.not_valid_after_utc.timestamp()
        (warning,) = warnings([e for e in alice.envoys() if e.name in ("ending", "lasting")])
        assert "the certificate of ending ends on" in warning
        assert "fed certify renew ending" in warning
