"""Who takes part, in a real deployment: absences, exclusions, stops and resumes, and the same bits in a simulation."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from federation.federation_file import load_federation
from federation.plan import load_plan
from tests.deployment import Deployment, shard_entry, write_yaml
from workspace.client import Event
from workspace.simulation.run import simulate

NAMES = ("north", "south", "west")


@pytest.fixture
def three_envoys(deployment: Deployment, speech: Path) -> Deployment:
    """A director and three envoys that are online."""
    deployment.start_director()
    waiting = [
        deployment.start_envoy(name, shard_entry(speech, rank, 3), wait=False)
        for rank, name in enumerate(NAMES)
    ]
    for envoy in waiting:
        envoy.wait_for("connected to the director")
    return deployment


@pytest.fixture
def federation_file(tmp_path: Path, speech: Path) -> Path:
    entries = {name: {"shard_descriptor": shard_entry(speech, rank, 3)} for rank, name in enumerate(NAMES)}
    return write_yaml(tmp_path / "federation.yaml", {"envoys": entries})


def until(events: Iterator[Event], kind: str, **body: Any) -> Event:
    """Follow events until one of a kind, about what is said."""
    return next(e for e in events if e.kind == kind and body.items() <= e.body.items())


def test_a_run_that_lost_an_envoy_has_the_bits_of_a_simulation_with_its_cohorts(
    three_envoys: Deployment, plan_file: Path, federation_file: Path, tmp_path: Path
) -> None:
    sets = [
        "federation.settings.grace=1.0",
        "federation.settings.cohort=0.9",
        "aggregator.settings.rounds_to_train=3",
    ]
    west = three_envoys.services[3]
    with three_envoys.federation() as federation:
        run = federation.submit(plan_file, sets)
        events = run.events(follow=True)
        until(events, "round_closed", round=0)
        west.end(signal.SIGKILL)
        until(events, "envoy_absent", envoy="west")
        info = run.watch(show=False)
        written = three_envoys.fed("watch", run.name, "--json")
    (tmp_path / "run.jsonl").write_text(written)
    closed = [
        e["body"]["cohort"] for e in map(json.loads, written.splitlines()) if e["kind"] == "round_closed"
    ]
    assert closed[0] == list(NAMES)
    assert closed[-1] == ["north", "south"]

    arguments = ["--federation", str(federation_file), "--json", "--quiet"]
    sets_given = [part for one in sets for part in ("--set", one)]
    follow = [
        "--cohorts",
        str(tmp_path / "run.jsonl"),
        "-o",
        str(tmp_path / "followed"),
        *arguments,
        *sets_given,
    ]
    followed = json.loads(three_envoys.fed("simulate", str(plan_file), *follow))
    assert followed["exchanged_sha256"] == info.exchanged_sha256
    drawn = json.loads(
        three_envoys.fed("simulate", str(plan_file), "-o", str(tmp_path / "drawn"), *arguments, *sets_given)
    )
    assert drawn["exchanged_sha256"] != info.exchanged_sha256, "the absence has changed the model"

    short = "\n".join(line for line in written.splitlines() if '"round": 1' not in line)
    (tmp_path / "short.jsonl").write_text(short)
    missing = [
        "--cohorts",
        str(tmp_path / "short.jsonl"),
        "-o",
        str(tmp_path / "none"),
        *arguments,
        *sets_given,
    ]
    assert "lacks round 1" in three_envoys.fed("simulate", str(plan_file), *missing, code=3)


def test_drawn_cohorts_give_the_same_bits_deployed_and_simulated_in_one_and_several_processes(
    three_envoys: Deployment, plan_file: Path, federation_file: Path, tmp_path: Path
) -> None:
    sets = ["federation.settings.cohort=2", "aggregator.settings.rounds_to_train=3"]
    with three_envoys.federation() as federation:
        run = federation.submit(plan_file, sets)
        deployed = run.watch(show=False)
        cohorts = [e.body["cohort"] for e in run.events() if e.kind == "round_closed"]
    assert {len(cohort) for cohort in cohorts} == {2}
    plan, envoys = load_plan(plan_file, sets), load_federation(federation_file)
    assert simulate(plan, envoys, tmp_path / "one").exchanged_sha256 == deployed.exchanged_sha256
    assert simulate(plan, envoys, tmp_path / "two", processes=2).exchanged_sha256 == deployed.exchanged_sha256


def test_one_that_was_stopped_is_resumed_and_ends_with_the_bits_of_an_undisturbed_one(
    two_envoys: Deployment, plan_file: Path
) -> None:
    sets = ["aggregator.settings.rounds_to_train=20"]
    with two_envoys.federation() as federation:
        undisturbed = federation.submit(plan_file, sets).watch(show=False).exchanged_sha256
        run = federation.submit(plan_file, sets, name="again")
        until(run.events(follow=True), "round_closed", round=0)
        stopped = run.stop()
        assert (stopped.state, stopped.reason) == ("stopped", "stopped on request")
        assert "rounds_to_train" in two_envoys.fed(
            "resume", "again", "--set", "aggregator.settings.rounds_to_train=0", code=3
        )
        assert two_envoys.fed("resume", "again").startswith("again: ")
        assert run.watch(show=False).exchanged_sha256 == undisturbed
        rounds = [e.body["round"] for e in run.events() if e.kind == "round_closed"]
        assert rounds == [*range(21)], "each once"
        assert "has finished" in two_envoys.fed("resume", "again", code=3)


def test_an_envoy_is_excluded_and_the_others_go_on(three_envoys: Deployment, plan_file: Path) -> None:
    with three_envoys.federation() as federation:
        run = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=3"])
        events = run.events(follow=True)
        until(events, "round_started", round=0)
        assert "goes on without west" in three_envoys.fed("exclude", run.name, "west")
        assert "takes no part" in three_envoys.fed("exclude", run.name, "west", code=3)
        assert run.watch(show=False).state == "finished"
        last = [e.body["cohort"] for e in run.events() if e.kind == "round_closed"][-1]
    assert last == ["north", "south"]


def test_an_envoy_that_returns_with_other_data_is_held_and_the_list_says_why(
    two_envoys: Deployment, plan_file: Path, speech: Path
) -> None:
    with two_envoys.federation() as federation:
        run = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=40"])
        events = run.events(follow=True)
        until(events, "round_closed", round=0)
        two_envoys.services[2].end(signal.SIGKILL)
        changed = two_envoys.start_envoy("south", shard_entry(speech, 0, 3))
        said = until(events, "waiting").body["reason"]
        while "another shard" not in said:
            said = until(events, "waiting").body["reason"]
        assert "the envoy south holds another shard" in two_envoys.fed("list")
        changed.end()
        two_envoys.start_envoy("south", shard_entry(speech, 1, 2))
        assert run.watch(show=False).state == "finished"
        assert [e.body["cohort"] for e in run.events() if e.kind == "round_closed"][-1] == ["north", "south"]
