"""An experiment starts from a part of an earlier one: the encoder, frozen, travels once; deployed and simulated alike."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest

from federation.errors import InputError
from tests.deployment import Deployment, Service, shard_entry, write_yaml
from workspace.client import Experiment, Federation
from workspace.infos import ExperimentInfo

ONE_ROUND = "aggregator.settings.rounds_to_train=1"
FROZEN = "task_runner.settings.freeze_feature_encoder=true"
TAKE = "federation.settings.start_from={experiment: first, which: last, take: [encoder]}"


def frozen_at(deployment: Deployment, envoy: str) -> list[Path]:
    """What an envoy has of frozen parts."""
    return sorted((deployment.folder / "envoys" / envoy / "frozen").glob("*"))


def run(federation: Federation, plan: Path, name: str, *settings: str) -> ExperimentInfo:
    return federation.submit(plan, [ONE_ROUND, *settings], name=name).watch(show=False)


def test_a_chain_has_the_same_bits_deployed_and_simulated(
    two_envoys: Deployment, plan_file: Path, speech: Path
) -> None:
    folder = two_envoys.folder
    with two_envoys.federation() as federation:
        run(federation, plan_file, "first")
        second = run(federation, plan_file, "second", FROZEN, TAKE)
        third = run(
            federation, plan_file, "third", FROZEN, "federation.settings.start_from={experiment: second}"
        )
        model = federation.experiment("third").model(folder / "model")
        with pytest.raises(InputError, match=r"start_from.take: nothing fits 'decoder'"):
            run(federation, plan_file, "none", TAKE.replace("encoder", "decoder"))
    assert (model / "config.json").is_file()

    shards = {
        name: {"shard_descriptor": shard_entry(speech, rank, 2)}
        for rank, name in enumerate(("north", "south"))
    }
    file = write_yaml(folder / "federation.yaml", {"envoys": shards})
    start = "federation.settings.start_from={experiment: second}"
    for name, settings in (("first", []), ("second", [FROZEN, TAKE]), ("third", [FROZEN, start])):
        sets = [part for setting in (ONE_ROUND, *settings) for part in ("--set", setting)]
        two_envoys.fed("simulate", str(plan_file), "--federation", str(file), "-o", f"runs/{name}", *sets)
    for name, deployed in (("second", second), ("third", third)):
        summary = json.loads((folder / "runs" / name / "summary.json").read_text())
        assert summary["exchanged_sha256"] == deployed.exchanged_sha256, name


def test_a_frozen_part_is_fetched_once_and_goes_with_the_last_that_needs_it(
    deployment: Deployment, plan_file: Path, speech: Path
) -> None:
    deployment.start_director()
    envoy = deployment.start_envoy("north", shard_entry(speech, 0, 1))
    alone = "federation.settings.envoys=1"
    long = ["aggregator.settings.rounds_to_train=1000", alone, FROZEN, TAKE]
    with deployment.federation() as federation:
        run(federation, plan_file, "first", alone)
        stopped = []
        for name in ("one", "two"):
            experiment = federation.submit(plan_file, long, name=name)
            next(event for event in experiment.events(follow=True) if event.kind == "round_closed")
            experiment.stop()
            envoy.wait_for(f"experiment {name}: has ended here")
            stopped.append(experiment)
        [part] = frozen_at(deployment, "north")
        assert hashlib.sha256(part.read_bytes()).hexdigest() == part.name
        inode = part.stat().st_ino

        envoy = restarted(deployment, envoy, speech)
        before = newest(stopped[0])
        stopped[0].resume()
        next(event for event in stopped[0].events(before, follow=True) if event.kind == "result")
        stopped[0].stop()
        envoy.wait_for("experiment one: has ended here")
        assert part.stat().st_ino == inode, "it is not fetched again"

        stopped[0].remove()
        envoy.wait_for("experiment one: nothing of it is kept here any more")
        assert part.exists(), "the other needs it"
        stopped[1].remove()
        envoy.wait_for(f"the frozen part {part.name[:12]} is needed no more")
        assert frozen_at(deployment, "north") == []


def newest(experiment: Experiment) -> int:
    """The number of the newest event."""
    return max(event.id for event in experiment.events())


def restarted(deployment: Deployment, envoy: Service, speech: Path) -> Service:
    """Kill an envoy and start it anew."""
    envoy.end(signal.SIGKILL)
    return deployment.start_envoy("north", shard_entry(speech, 0, 1))
