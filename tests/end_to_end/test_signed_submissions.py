"""Submissions are signed, and so are their changes; sites take others only where their policy says so."""

from __future__ import annotations

from pathlib import Path

from federation.certificates import make_member
from tests.deployment import Deployment, shard_entry
from workspace.client import Federation

ROUNDS = "aggregator.settings.rounds_to_train"


def test_rounds_are_changed_by_a_signed_resume_that_sites_follow(
    two_envoys: Deployment, plan_file: Path
) -> None:
    make_member(two_envoys.certificates, "bob", "workspace")
    with two_envoys.federation() as federation:
        experiment = federation.submit(plan_file, [f"{ROUNDS}=200"])
        next(event for event in experiment.events(follow=True) if event.kind == "round_closed")
        for rounds in (150, 100):
            experiment.stop()
            two_envoys.fed("resume", experiment.name, "--set", f"{ROUNDS}={rounds}")
        experiment.stop()
        said = two_envoys.fed("resume", "tiny", "--name", "bob", "--set", f"{ROUNDS}=10", code=5)
        assert "experiment tiny is workspace's: ask its owner, or an operator of the federation" in said
        done = experiment.info().round
        two_envoys.fed("resume", experiment.name, "--set", f"{ROUNDS}={done + 1}")
        assert experiment.watch(show=False).rounds == done + 1
        numbers = [event.body["amendment"] for event in experiment.events() if event.kind == "resumed"]
        assert numbers == [1, 2, 3]


class Earlier(Federation):
    """A workspace of an earlier version: it signs nothing."""

    def director_name(self, patience: float = 0.0) -> str:
        return ""


def test_what_an_earlier_workspace_submits_waits_for_a_site_that_permits_it(
    deployment: Deployment, plan_file: Path, speech: Path
) -> None:
    deployment.start_director()
    deployment.start_envoy("north", shard_entry(speech, 0, 1))
    settings = ["federation.settings.envoys=1", f"{ROUNDS}=1"]
    with Earlier(deployment.address, deployment.certificates) as federation:
        experiment = federation.submit(plan_file, settings)
        reason = experiment.info().reason
        assert "the envoy north needs a signed submission (its site policy: unsigned)" in reason
        deployment.start_envoy("south", shard_entry(speech, 0, 1), policy={"unsigned": True})
        ended = experiment.watch(show=False)
    assert (ended.state, ended.cohort) == ("finished", ["south"])
