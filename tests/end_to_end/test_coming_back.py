"""Who is without a director is back within seconds after it is there: envoys, workers, workspaces and watches."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from federation.certificates import make_member
from tests.deployment import DEADLINE, Deployment, Service, shard_entry, write_yaml
from tests.federation.fake_director import black_hole, free_address

BACK_SECONDS = 15.0
TIMES = pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.sweep)])
ONE_ROUND = ["--set", "federation.settings.envoys=1", "--set", "aggregator.settings.rounds_to_train=1"]


def restart(deployment: Deployment) -> float:
    """Start the director where it was; return the moment from which it has listened."""
    deployment.start_director(listen=f"127.0.0.1:{deployment.address.rpartition(':')[2]}")
    return time.monotonic()


def assert_back(service: Service, pattern: str, listening: float, times: int) -> None:
    service.wait_for(pattern, BACK_SECONDS, times)
    took = time.monotonic() - listening
    print(f"back after {took:.2f} s: {pattern}")
    assert took < BACK_SECONDS


def workspace(deployment: Deployment, *arguments: str) -> Service:
    """Start a command of the workspace that goes on running."""
    ours = {"FED_DIRECTOR": deployment.address, "FED_CERTIFICATES": str(deployment.certificates)}
    return deployment.start(*arguments, env=ours)


@TIMES
def test_an_envoy_that_found_no_director_is_back_soon_after_it_is_there(
    deployment: Deployment, speech: Path, times: int
) -> None:
    deployment.address = f"localhost:{free_address().rpartition(':')[2]}"
    for _ in range(times):
        envoy = deployment.start_envoy("north", shard_entry(speech, 0, 1), wait=False)
        envoy.wait_for("does not answer .*nothing listens there; trying again")
        listening = restart(deployment)
        assert_back(envoy, "connected to the director", listening, 1)
        assert envoy.end() == 0
        deployment.director.end(signal.SIGKILL)


@TIMES
def test_envoy_and_worker_are_back_after_restarts_in_the_middle_of_a_round(
    two_envoys: Deployment, plan_file: Path, times: int
) -> None:
    _, north, south = two_envoys.services
    # The director waits for what it has to send, so that the round stays open.
    south.process.send_signal(signal.SIGSTOP)
    with two_envoys.federation() as federation:
        experiment = federation.submit(plan_file)
        results = (event for event in experiment.events(follow=True) if event.kind == "result")
        assert {next(results).body["envoy"] for _ in range(3)} == {"north"}
        for nth, number in enumerate([signal.SIGKILL, signal.SIGTERM] * times, 1):
            two_envoys.director.end(number)
            # The agent's and the worker's.
            north.wait_for("trying again", times=2 * nth)
            listening = restart(two_envoys)
            assert_back(north, "connected to the director", listening, 1 + nth)
            assert_back(north, "federation.link: the director at .* is there", listening, 2 * nth)
        south.process.send_signal(signal.SIGCONT)
        assert experiment.watch(show=False).state == "finished"


def test_a_submission_and_a_watch_that_begin_while_the_director_is_down_go_on(
    deployment: Deployment, speech: Path, plan_file: Path
) -> None:
    deployment.start_director()
    deployment.start_envoy("north", shard_entry(speech, 0, 1))
    deployment.director.end(signal.SIGKILL)
    submission = workspace(deployment, "submit", str(plan_file), *ONE_ROUND)
    submission.wait_for("fed: .* does not answer .*nothing listens there; trying again")
    restart(deployment)
    assert submission.process.wait(DEADLINE) == 0

    deployment.director.end()
    watch = workspace(deployment, "watch", "tiny")
    watch.wait_for("fed: .* does not answer .*nothing listens there; trying again")
    restart(deployment)
    watch.wait_for("fed: the director at .* is there", BACK_SECONDS)
    assert watch.process.wait(DEADLINE) == 0, "the experiment has finished"


def test_a_refusal_ends_an_envoy_that_has_waited_for_its_director(
    deployment: Deployment, speech: Path
) -> None:
    deployment.address = f"localhost:{free_address().rpartition(':')[2]}"
    make_member(deployment.certificates, "spy", "workspace")
    settings = {"certificates": "certificates", "devices": "cpu", "state": "envoys"}
    shard = {"shard_descriptor": shard_entry(speech, 0, 1)}
    write_yaml(
        deployment.folder / "spy.yaml", {"name": "spy", "director": deployment.address} | settings | shard
    )
    spy = deployment.start("envoy", "start", "-c", "spy.yaml")
    spy.wait_for("trying again")
    restart(deployment)
    assert spy.process.wait(BACK_SECONDS) == 5
    spy.wait_for("this is for the role envoy")


def test_an_envoy_that_waits_for_its_director_stops_when_asked(deployment: Deployment, speech: Path) -> None:
    with black_hole() as address:
        deployment.address = address
        envoy = deployment.start_envoy("north", shard_entry(speech, 0, 1), wait=False)
        envoy.wait_for("north: speech_commands")
        assert envoy.end(deadline=BACK_SECONDS) == 0


def test_nobody_is_sent_to_a_proxy_for_a_director_on_this_machine(
    deployment: Deployment, speech: Path, plan_file: Path
) -> None:
    deployment.env |= dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), f"http://{free_address()}")
    deployment.start_director()
    deployment.start_envoy("north", shard_entry(speech, 0, 1))
    assert deployment.fed("submit", str(plan_file), "--watch", *ONE_ROUND).strip().endswith("tiny")


def test_a_proxy_before_another_host_is_named(deployment: Deployment) -> None:
    deployment.address = "director.example.org:50051"
    said = deployment.fed("list", code=4, env={"http_proxy": f"http://{free_address()}", "no_proxy": ""})
    assert "fed: error: the director at director.example.org:50051 does not answer" in said
    assert "http_proxy" in said
