"""A site's policy: the director says what it forbids before anything starts, and the site refuses it from any director."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime, time, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from director.envoys import OnlineEnvoy
from director.matching import mismatch
from director.needs import needs_of
from envoy.agent import Agent
from envoy.client import GrpcAggregatorClient
from envoy.config import EnvoyConfig, SitePolicy
from envoy.hours import Hours, OutsideHours
from envoy.policy import announced, permitted_devices, refusal, refusal_of_model
from envoy.worker import WorkOrder, _collaborate, _failure_of
from federation.code import code_hash
from federation.engine.results import TaskOutput
from federation.errors import InputError, Refused
from federation.identity import Identity
from federation.link import Link
from federation.plan import CheckedPlan, plan_from_json
from federation.protocol import federation_pb2 as pb
from federation.schema import Problems, load
from tests.deployment import TINY_PLAN, WORDS, shard_entry, write_yaml
from tests.envoy.test_agent import DEADLINE, Director, agent, served
from tests.federation.fake_director import FakeDirector, serving
from workspace.initial_exchange import initial_exchange

LIMITS = {"rounds": 1, "threads": 0.5, "round_seconds": 3600, "epochs": 0.5, "batch_size": 4}


def site(tmp_path: Path, policy: dict[str, Any], **changes: Any) -> EnvoyConfig:
    content = {
        "name": "north",
        "director": "localhost:1",
        "shard_descriptor": shard_entry(tmp_path, 0, 1),
        "policy": policy,
    }
    return load(write_yaml(tmp_path / "envoy_config.yaml", content | changes), EnvoyConfig)


def plan(**settings: Any) -> CheckedPlan:
    content = copy.deepcopy(TINY_PLAN)
    content["task_runner"]["settings"] |= settings
    return plan_from_json(json.dumps(content), "birds")


def said(config: EnvoyConfig, asked: CheckedPlan, parameters: float | None = None) -> tuple[str, str]:
    """What the site answers an order, and what the director says of the site beforehand."""
    policy = announced(config.policy, config.checkpoints)
    told = pb.Announcement(
        dataset="speech_commands",
        classes=WORDS,
        code_hashes={"keyword_spotting": "c"},
        experiments=["keyword_spotting"],
        policy=policy,
    )
    there = OnlineEnvoy("north", told, 0.0, SimpleQueue())
    needs = needs_of("birds", asked.config, parameters)
    return str(refusal(config.policy, asked, config.checkpoints)), str(mismatch(needs, "c", there, "alice"))


@pytest.mark.parametrize("name", LIMITS)
def test_a_plan_above_a_bound_is_refused_by_the_site_and_not_even_started_by_the_director(
    tmp_path: Path, name: str
) -> None:
    for answer in said(site(tmp_path, {"bounds": {name: LIMITS[name]}}), plan()):
        assert f"permits {name} up to {LIMITS[name]:g}, the plan asks for " in answer
        assert f"(its site policy: bounds.{name})" in answer
    wide = dict.fromkeys(LIMITS, 10_000_000)
    assert said(site(tmp_path, {"bounds": wide}), plan()) == ("None", "None")
    assert said(site(tmp_path, {}), plan()) == ("None", "None")


def test_a_batch_of_evaluation_is_bounded_like_one_of_training(tmp_path: Path) -> None:
    config = site(tmp_path, {"bounds": {"batch_size": 64}})
    assert said(config, plan(batch_size=64, evaluation_batch_size=64)) == ("None", "None")
    for answer in said(config, plan(batch_size=1, evaluation_batch_size=65)):
        assert "asks for 65" in answer


def test_a_model_of_too_many_parameters_is_not_started_and_not_trained(tmp_path: Path) -> None:
    config = site(tmp_path, {"bounds": {"parameters": 1000, "disk_bytes": 10_000}})
    assert "permits parameters up to 1000, the plan asks for 2000" in said(config, plan(), 2000)[1]
    bounds = dict(announced(config.policy).bounds)
    assert refusal_of_model(bounds, 1000, 10_000) is None
    assert "bounds.parameters" in str(refusal_of_model(bounds, 1001, 10_000))
    assert "bounds.disk_bytes" in str(refusal_of_model(bounds, 1000, 10_001))


class Quits(FakeDirector):
    def GetTasks(self, request: Any, context: Any) -> pb.Tasks:
        return pb.Tasks(quit=True)


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ({"parameters": 100}, r"permits parameters up to 100, .*bounds\.parameters"),
        ({"disk_bytes": 1000}, r"permits disk_bytes up to 1000, .*bounds\.disk_bytes"),
        ({"parameters": 1e6, "disk_bytes": 1e7}, None),
    ],
)
def test_a_worker_leaves_when_the_model_that_it_has_built_is_too_large_and_knows_how_large_one_may_come(
    tmp_path: Path, speech: Path, bounds: dict[str, float], why: str | None
) -> None:
    order = WorkOrder(
        experiment="birds",
        plan=json.dumps(TINY_PLAN),
        frozen_fingerprint=build_frozen(),
        code_hash=code_hash("keyword_spotting"),
        device="cpu",
        connection={},
        shard_descriptor=shard_entry(speech, 0, 1),
        checkpoints={},
        log_level="info",
        state=str(tmp_path / "state"),
        downloads=str(tmp_path),
        bounds=bounds,
    )
    with serving(Quits()) as address, Link(address, Identity("north", "envoy"), None) as link:
        client = GrpcAggregatorClient(link, "birds", downloads=tmp_path)
        with pytest.raises(Refused, match=why) if why else nullcontext():
            _collaborate(order, "north", client)
    assert why or client.most_bytes < 1e6


def build_frozen() -> str:
    return initial_exchange(plan(), {}).frozen_fingerprint


@pytest.mark.parametrize(
    ("policy", "folders", "permitted"),
    [
        ({}, {}, {"a/here": True, "b/hub": True}),
        ({}, {"a/here": "/models/a"}, {"a/here": True, "b/hub": False}),
        ({"hub": True}, {"a/here": "/models/a"}, {"a/here": True, "b/hub": True}),
        ({"hub": False}, {}, {"a/here": False, "b/hub": False}),
        ({"checkpoints": []}, {"a/here": "/models/a"}, {"a/here": False, "b/hub": False}),
        ({"checkpoints": ["b/hub"]}, {"a/here": "/models/a"}, {"a/here": False, "b/hub": False}),
        ({"checkpoints": ["b/hub"], "hub": True}, {"a/here": "/models/a"}, {"a/here": False, "b/hub": True}),
    ],
)
def test_a_checkpoint_comes_from_a_folder_that_the_site_names_or_from_the_hub_where_it_says_so(
    tmp_path: Path, policy: dict[str, Any], folders: dict[str, str], permitted: dict[str, bool]
) -> None:
    config = site(tmp_path, policy, checkpoints=folders)
    for checkpoint, may in permitted.items():
        answers = said(config, plan(checkpoint=checkpoint))
        for answer in answers:
            assert (answer == "None") == may, (checkpoint, answers)
            assert (
                may or f"does not permit the checkpoint {checkpoint} (its site policy: checkpoints)" in answer
            )
    assert said(config, plan()) == ("None", "None"), "random weights need none"


def test_what_another_director_starts_nevertheless_is_refused_and_the_rule_is_named(
    tmp_path: Path, speech: Path
) -> None:
    director = Director()
    policy = {"bounds": {"rounds": 1}}
    with served(director) as address, agent(tmp_path, speech, address, policy):
        announcement = director.announcements.get(timeout=DEADLINE)
        assert dict(announcement.policy.bounds) == {"rounds": 1}
        director.orders.put(pb.Order(start=pb.Start(experiment="birds", plan=json.dumps(TINY_PLAN))))
        _, failure = director.failures.get(timeout=DEADLINE)
        assert failure.reason.endswith("(its site policy: bounds.rounds)")
        assert not failure.passing


def test_only_the_devices_that_the_policy_names_are_used(tmp_path: Path) -> None:
    devices = [pb.Device(name=name) for name in ("cuda:0", "cuda:1", "cpu")]
    policy = site(tmp_path, {"devices": ["cuda:1"]}).policy
    assert [device.name for device in permitted_devices(policy, devices)] == ["cuda:1"]
    assert permitted_devices(SitePolicy(), devices) == devices
    with pytest.raises(InputError, match=r"policy.devices: permits none .*\(cuda:0\)"):
        Agent(site(tmp_path, {"devices": ["cpu"]}), devices[:1], insecure=True)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (
            "22:00-06:00",
            [time(22), time(23, 59), time(0), time(5, 59, 59)],
            [time(6), time(21, 59), time(12)],
        ),
        ("09:30-17:00", [time(9, 30), time(16, 59)], [time(9, 29), time(17), time(0)]),
        ("00:00-23:59", [time(0), time(12)], [time(23, 59)]),
    ],
)
def test_hours_are_of_the_sites_day_or_over_its_midnight(
    text: str, inside: list[time], outside: list[time]
) -> None:
    hours = Hours.parse(text)
    assert all(hours.hold(now) for now in inside)
    assert not any(hours.hold(now) for now in outside)
    assert Hours.parse(None).closed() is None


@pytest.mark.parametrize(
    "policy",
    [
        {"hours": "22-6"},
        {"hours": "24:00-06:00"},
        {"hours": "06:00-06:00"},
        {"bounds": {"rounds": 0}},
        {"bounds": {"rounds": "many"}},
        {"bounds": {"round": 5}},
        {"devices": []},
        {"hub": "no"},
        {"everything": True},
    ],
    ids=str,
)
def test_a_policy_that_says_nothing_clear_is_refused_at_the_start(
    tmp_path: Path, policy: dict[str, Any]
) -> None:
    with pytest.raises(Problems, match="policy"):
        site(tmp_path, policy)


def closed_now() -> str:
    """Hours that begin in two hours."""
    begin = datetime.now() + timedelta(hours=2)
    return f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"


def test_outside_its_hours_a_site_takes_no_experiment_and_says_that_this_passes(
    tmp_path: Path, speech: Path
) -> None:
    director = Director()
    with served(director) as address, agent(tmp_path, speech, address, {"hours": closed_now()}):
        director.orders.put(pb.Order(start=pb.Start(experiment="birds", plan=json.dumps(TINY_PLAN))))
        _, failure = director.failures.get(timeout=DEADLINE)
        assert failure.passing, "it counts as away, and has not failed"
        assert "takes no task outside its hours" in failure.reason


class Tasks(FakeDirector):
    """Has a task at any time, and takes any result."""

    def GetTasks(self, request: Any, context: Any) -> pb.Tasks:
        return pb.Tasks(tasks=["train", "validate"])

    def SendTaskResults(self, requests: Iterator[pb.ResultChunk], context: Any) -> pb.Receipt:
        assert list(requests)
        return pb.Receipt(counted=True)


def test_at_the_end_of_its_hours_a_site_delivers_the_task_at_hand_and_takes_no_other() -> None:
    taken: list[str] = []
    open_ = [True]

    def may_go_on() -> None:
        if not open_[0]:
            raise OutsideHours("takes no task outside its hours (22:00-06:00)")

    with serving(Tasks()) as address, Link(address, Identity("north", "envoy"), None) as link:
        client = GrpcAggregatorClient(link, "birds", lambda: taken.append("result"), may_go_on=may_go_on)
        assert client.get_tasks()[0] == ["train", "validate"]
        open_[0] = False
        with pytest.raises(OutsideHours) as caught:
            client.send_local_task_results(0, "train", 1, TaskOutput({}, {}))
        assert taken == ["result"], "the task at hand was delivered"
        with pytest.raises(OutsideHours):
            client.get_tasks()
    assert _failure_of(caught.value) == {"reason": str(caught.value), "passing": True}
