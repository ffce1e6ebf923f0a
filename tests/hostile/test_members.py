"""Who may do what to whose experiment; what becomes of members whose certificates are revoked."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from federation.errors import Refused
from tests.deployment import Deployment
from tests.hostile.members import submitted, user
from workspace.client import Experiment


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
    federated: Deployment, tmp_path: Path
) -> None:
    from federation.certificates import make_member

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
