"""Who takes part: who is drawn, who is waited for and how long, who counts, and what a restart makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.errors import InputError
from tests.director.in_process import HASH, TRAIN, TUNED, VALIDATE, Director, director

THREE = ("north", "south", "west")
VALUES = {"north": 5.0, "south": 7.0, "west": 9.0}


def started(alive: Director, *names: str, **settings: Any) -> None:
    alive.connect(*(names or THREE))
    alive.submit(envoys=settings.pop("envoys", 2), rounds=settings.pop("rounds", 2), federation=settings)


def bodies(alive: Director, kind: str) -> list[dict[str, Any]]:
    return [dict(event.body) for event in alive.events("rows") if event.kind == kind]


def standing(alive: Director) -> dict[str, str]:
    return {member.name: member.standing for member in alive.journal.members("rows")}


def test_the_envoys_of_an_experiment_are_fixed_when_it_starts_with_what_they_announced(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        alive.submit(envoys=1)
        alive.connect_as("north", samples={"train": 10}, fingerprint="f" * 64)
        alive.connect("south")
        [member] = alive.journal.members("rows")
        assert (member.name, member.standing, member.counted) == ("north", "active", None)
        assert (member.samples, member.fingerprint, member.code_hash) == ('{"train": 10}', "f" * 64, HASH)
        assert alive.work("rows", "south") == [], "who comes later takes no part"


def test_who_comes_late_takes_part_from_the_next_round_where_the_plan_says_so(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, "north", envoys=1, join_late=True)
        orders = alive.connect_as("south")
        assert bodies(alive, "envoy_joined") == [{"envoy": "south", "round": 0}]
        assert alive.work("rows", "south") == []
        alive.work("rows", "north")
        assert alive.work("rows", "south") == [VALIDATE, TRAIN, TUNED]
        assert orders.get(timeout=5).HasField("connected")
        assert orders.get(timeout=5).start.experiment == "rows"


@pytest.mark.parametrize(("cohort", "size"), [(2, 2), (0.5, 2), (0.1, 1), (0.99, 4), (4, 4), (None, 4)])
def test_a_rounds_cohort_is_drawn_by_number_or_share_and_the_same_after_a_restart(
    tmp_path: Path, cohort: float | None, size: int
) -> None:
    names = [*THREE, "east"]
    drawn = []
    for folder in ("one", "restarted"):
        with director(tmp_path / folder) as alive:
            started(alive, *names, envoys=2, rounds=6, cohort=cohort)
            first = bodies(alive, "round_started")[0]["cohort"]
        with director(tmp_path / folder) as alive:
            alive.connect(*names)
            assert bodies(alive, "round_started")[0]["cohort"] == first
            alive.finish("rows", dict.fromkeys(names, 1.0))
            drawn.append([body["cohort"] for body in bodies(alive, "round_started")])
            assert [body["cohort"] for body in bodies(alive, "round_closed")] == drawn[-1]
    assert drawn[0] == drawn[1]
    assert {len(names) for names in drawn[0]} == {size}
    assert size == 4 or len(set(map(tuple, drawn[0]))) > 1, "each round is drawn anew"


def test_a_cohort_of_more_than_there_are_is_clamped_and_an_event_says_so(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, cohort=5)
        assert bodies(alive, "round_started")[0]["cohort"] == list(THREE)
        assert bodies(alive, "cohort_clamped") == [{"round": 0, "wanted": 5, "there": 3}]


@pytest.mark.parametrize("cohort", [0, -1, 0.0, 1.0, 1.5, True, "all"])
def test_a_cohort_that_is_none_is_refused_by_the_check(tmp_path: Path, cohort: Any) -> None:
    with director(tmp_path) as alive, pytest.raises(InputError, match="cohort"):
        alive.submit(federation={"cohort": cohort})


def test_a_round_waits_for_an_envoy_that_is_away_for_less_than_the_grace(tmp_path: Path) -> None:
    with director(tmp_path / "undisturbed") as alive:
        started(alive)
        expected = alive.finish("rows", VALUES)
    with director(tmp_path / "disturbed") as alive:
        started(alive)
        alive.disconnect("west")
        assert bodies(alive, "envoy_away") == [{"envoy": "west", "round": 0, "reason": "is away"}]
        for name in ("north", "south"):
            alive.work("rows", name, VALUES[name])
        alive.pass_time(599.0)
        assert alive.experiments.experiment("rows").round == 0
        alive.connect("west")
        assert bodies(alive, "envoy_back") == [{"envoy": "west", "round": 0}]
        alive.work("rows", "west", VALUES["west"])
        assert alive.experiments.experiment("rows").round == 1
        assert alive.finish("rows", VALUES) == expected, "the same bits"


def test_who_is_away_for_longer_is_absent_and_back_from_the_next_round(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        for name in ("north", "south"):
            alive.work("rows", name)
        alive.work("rows", "west", most=2)
        alive.disconnect("west")
        alive.pass_time(601.0)
        assert bodies(alive, "envoy_absent") == [{"envoy": "west", "round": 0, "reason": "is away"}]
        assert [body["cohort"] for body in bodies(alive, "round_closed")] == [["north", "south"]]
        assert bodies(alive, "round_started")[1]["cohort"] == ["north", "south"]
        alive.connect("west")
        assert standing(alive)["west"] == "active"
        assert alive.work("rows", "west") == [], "the round has begun without it"
        for name in ("north", "south"):
            alive.work("rows", name)
        assert bodies(alive, "round_started")[2]["cohort"] == list(THREE)


def test_an_absence_counts_only_while_the_director_listens_and_begins_anew_when_it_starts(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.disconnect("west")
        alive.pass_time(500.0)
    with director(tmp_path) as alive:
        alive.connect("north", "south")
        alive.pass_time(500.0)
        assert bodies(alive, "envoy_absent") == []
        alive.pass_time(101.0)
        assert [body["envoy"] for body in bodies(alive, "envoy_absent")] == ["west"]


def test_an_envoy_that_came_back_is_still_out_of_the_round_after_a_restart(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.disconnect("west")
        alive.pass_time(601.0)
        alive.connect("west")
        assert alive.work("rows", "west") == []
    with director(tmp_path) as alive:
        alive.connect(*THREE)
        assert alive.work("rows", "west") == []
        for name in ("north", "south"):
            alive.work("rows", name)
        assert bodies(alive, "round_closed")[0]["cohort"] == ["north", "south"]


def test_a_round_that_nobody_is_left_in_begins_again_with_a_new_draw(tmp_path: Path) -> None:
    names = [f"e{number}" for number in range(8)]
    with director(tmp_path) as alive:
        started(alive, *names, cohort=2, envoys=2)
        first = bodies(alive, "round_started")[0]["cohort"]
        alive.work("rows", first[0], most=1)
        for name in first:
            live = alive.experiments.live("rows")
            assert live is not None
            live.fail(name, "its GPU has gone")
        again = bodies(alive, "round_started")[1]
        assert (again["round"], again["attempt"]) == (0, 1)
        assert not {*first} & {*again["cohort"]}
        assert alive.journal.results("rows") == [], "what came of the first attempt is void"
    with director(tmp_path) as alive:
        alive.connect(*names)
        assert len(bodies(alive, "round_started")) == 2, "it is read, not drawn again"
        for name in again["cohort"]:
            assert alive.work("rows", name) == [VALIDATE, TRAIN, TUNED]
        assert bodies(alive, "round_closed")[0]["cohort"] == again["cohort"]


def test_too_few_wait_and_the_experiment_says_for_whom(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, "north", "south")
        alive.pass_time(20.0)
        alive.disconnect("south")
        assert alive.experiments.experiment("rows").reason == (
            "1 of 2 envoys are there; the envoy south is away"
        )
        alive.work("rows", "north")
        alive.pass_time(601.0)
        row = alive.experiments.experiment("rows")
        assert (row.state, row.round) == ("running", 1), "the round is closed, and the next waits"
        assert bodies(alive, "waiting")[-1]["reason"] == row.reason
        assert alive.work("rows", "north") == []
        alive.connect("south")
        assert alive.experiments.experiment("rows").reason == ""
        assert bodies(alive, "round_started")[-1]["cohort"] == ["north", "south"]


def test_a_director_that_has_listened_for_long_says_at_once_for_whom_a_new_experiment_waits(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        alive.attend()
        alive.pass_time(60.0)
        started(alive, "north", "south")
        alive.disconnect("south")
        assert alive.experiments.experiment("rows").reason == (
            "1 of 2 envoys are there; the envoy south is away"
        )


def test_so_many_failures_that_too_few_are_left_end_it_with_all_reasons_once_the_others_are_done(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        started(alive)
        live = alive.experiments.live("rows")
        assert live is not None
        live.fail("west", "no memory")
        live.fail("south", "no disk")
        assert alive.experiments.experiment("rows").state == "running"
        alive.work("rows", "north")
        row = alive.experiments.experiment("rows")
        assert (row.state, row.reason) == ("failed", "south failed: no disk; west failed: no memory")
        assert row.round == 1, "what north has done counts"
        assert alive.kinds("rows")[-2:] == ["round_closed", "failed"]


def test_who_fails_before_it_has_finished_counts_for_nothing_and_who_had_finished_counts(
    tmp_path: Path,
) -> None:
    models = []
    for restarts in (False, True):
        folder = tmp_path / str(restarts)
        with director(folder) as alive:
            started(alive, envoys=1)
            live = alive.experiments.live("rows")
            assert live is not None
            alive.work("rows", "north", 5.0, most=2)
            alive.work("rows", "south", 7.0)
            live.fail("north", "no disk")
            live.fail("south", "no memory")
            assert [row.envoy for row in alive.journal.results("rows")] == ["south"] * 3
            if not restarts:
                alive.work("rows", "west", 9.0)
                models.append(alive.experiments.experiment("rows").model)
        if restarts:
            with director(folder) as alive:
                alive.connect(*THREE)
                alive.work("rows", "west", 9.0)
                assert bodies(alive, "round_closed")[0]["cohort"] == ["south", "west"]
                assert bodies(alive, "round_started")[1]["cohort"] == ["west"]
                models.append(alive.experiments.experiment("rows").model)
    assert models[0] == models[1], "a restart replays by the same rule"


def test_a_failed_envoy_is_free_at_once_for_what_waits(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.submit("first", envoys=1)
        one = {"devices": [{"name": "cpu"}]}
        alive.connect_as("north", **one)
        alive.submit("second", envoys=1)
        assert alive.experiments.experiment("second").state == "queued"
        live = alive.experiments.live("first")
        assert live is not None
        live.fail("north", "no memory")
        alive.attend()
        assert alive.experiments.experiment("second").state == "running"


def test_a_straggler_counts_for_nothing_in_that_round_and_takes_part_in_the_next(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, round_limit=100.0)
        for name in ("north", "south"):
            alive.work("rows", name)
        alive.work("rows", "west", most=2)
        alive.pass_time(99.0)
        assert alive.experiments.experiment("rows").round == 0
        alive.pass_time(2.0)
        assert bodies(alive, "stragglers") == [{"round": 0, "envoys": ["west"]}]
        assert bodies(alive, "round_closed")[0]["cohort"] == ["north", "south"]
        assert alive.work("rows", "west") == [VALIDATE, TRAIN, TUNED]


def test_a_round_that_nobody_finishes_in_time_begins_again(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, "north", "south", round_limit=100.0)
        alive.work("rows", "north", most=2)
        alive.pass_time(101.0)
        assert bodies(alive, "stragglers") == [{"round": 0, "envoys": ["north", "south"]}]
        assert bodies(alive, "round_started")[1]["attempt"] == 1
        assert alive.work("rows", "north") == [VALIDATE, TRAIN, TUNED], "from the beginning"


def test_the_cut_off_of_a_plan_starts_with_the_round_also_after_a_restart(tmp_path: Path) -> None:
    """The late envoy is gone when the director is there again, and asks for no tasks that would start a clock."""
    with director(tmp_path) as alive:
        alive.connect("north", "south")
        alive.submit(envoys=1, cutoff=0.2)
    with director(tmp_path) as alive:
        alive.connect("north")
        alive.work("rows", "north")
        live = alive.experiments.live("rows")
        assert live is not None
        live.wait_for_work(["north"])
        assert live.round_number == 1
        assert bodies(alive, "stragglers") == [{"round": 0, "envoys": ["south"]}]


CHANGED = {
    "shard": ({"fingerprint": "e" * 64}, "another shard"),
    "classes": ({"classes": ["no", "yes"]}, "classes"),
    "code": ({"code_hashes": {"tabular": "d" * 64}}, "other code"),
    "policy": ({"experiments": []}, "does not permit"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_an_envoy_that_returns_changed_is_held_until_it_fits(tmp_path: Path, change: str) -> None:
    said, reason = CHANGED[change]
    with director(tmp_path) as alive:
        for name in THREE:
            alive.connect_as(name, fingerprint="f" * 64)
        alive.submit()
        alive.disconnect("west")
        orders = alive.connect_as("west", **({"fingerprint": "f" * 64} | said))
        assert reason in alive.experiments.experiment("rows").reason
        live = alive.experiments.live("rows")
        assert live is not None
        assert alive.work("rows", "west") == []
        assert not alive.report("rows", "west", VALIDATE), "nothing of it counts"
        assert orders.get(timeout=5).HasField("connected")
        assert orders.empty(), "no order to begin"
        fits = alive.connect_as("west", fingerprint="f" * 64)
        assert alive.experiments.experiment("rows").reason == ""
        assert fits.get(timeout=5).HasField("connected")
        assert fits.get(timeout=5).start.experiment == "rows"
        alive.finish("rows", VALUES)
        assert bodies(alive, "round_closed")[0]["cohort"] == list(THREE)


def test_an_experiment_that_does_not_get_better_for_so_long_stops(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, rounds=9, patience=3)
        alive.finish("rows", VALUES)
        row = alive.experiments.experiment("rows")
        assert (row.state, row.reason) == ("finished", "accuracy has not improved for 3 rounds")
        assert [body["round"] for body in bodies(alive, "round_closed")] == [0, 1, 2, 3]
        assert row.best_round == 0


def test_an_envoy_whose_disk_is_full_counts_as_away_and_has_not_failed(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.pass_time(20.0)
        alive.experiments.cannot_work("rows", "west", "cannot go on: its disk is full")
        alive.attend()
        assert standing(alive)["west"] == "active"
        assert alive.work("rows", "west") == []
        alive.experiments.works("rows", "west")
        alive.attend()
        assert alive.work("rows", "west") == [VALIDATE, TRAIN, TUNED]


def test_an_envoy_without_a_free_device_is_absent_after_the_grace(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, envoys=1)
        alive.submit("other", envoys=1)
        alive.connect_as("west", devices=[{"name": "cpu"}])
        assert alive.work("rows", "west", most=1)
        assert alive.work("other", "west") == [], "its one device is taken"
        alive.pass_time(601.0)
        assert {m.name: m.standing for m in alive.journal.members("other")}["west"] == "absent"
        assert [e.body["reason"] for e in alive.events("other") if e.kind == "envoy_absent"] == [
            "has no free device"
        ]
