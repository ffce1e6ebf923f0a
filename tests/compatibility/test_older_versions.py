"""What older versions left behind opens, runs and finishes: files, models, a director's state, bytes of calls.

Each folder ``written_by_*`` was made by `tests.compatibility.write` with that version.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.unknown_fields import UnknownFieldSet

from director.config import DirectorConfig
from envoy.config import EnvoyConfig
from federation import schema
from federation.code import code_hash, project_version
from federation.equal_code import EQUAL, VERSION, is_equal
from federation.federation_file import load_federation, open_shard
from federation.plan import load_plan
from tests.checkout import ROOT
from tests.compatibility.replay import MESSAGES, recorded
from tests.compatibility.write import EXPERIMENTS, make_data
from tests.deployment import Deployment, Service
from workspace.client import Experiment
from workspace.config import WorkspaceConfig
from workspace.model_evaluation import evaluate_model
from workspace.simulation.run import simulate

WRITTEN = sorted(Path(__file__).parent.glob("written_by_*"))
VERSIONS = pytest.mark.parametrize("written", WRITTEN, ids=lambda folder: folder.name)


def facts(written: Path) -> dict[str, Any]:
    return dict(json.loads((written / "facts.json").read_text()))


@pytest.fixture
def deployment_of_then(written: Path, tmp_path: Path) -> Iterator[Deployment]:
    """A director that has a state folder of then, and the data of its envoys."""
    shutil.copytree(written / "state", tmp_path / "state")
    make_data("keyword_spotting", tmp_path)
    with Deployment(tmp_path) as deployment:
        deployment.start_director(
            **yaml.safe_load((written / "configs" / "director_config.yaml").read_text())
        )
        yield deployment


def start_envoys(
    written: Path, deployment: Deployment, env: Mapping[str, str] | None = None
) -> list[Service]:
    """Start the envoys of then, by their configs of then."""
    started = []
    for name in ("north", "south"):
        shard = yaml.safe_load((written / "configs" / f"{name}.yaml").read_text())["shard_descriptor"]
        shard["settings"]["root"] = str(deployment.folder / shard["settings"]["root"])
        started.append(deployment.start_envoy(name, shard, env=env, policy={"unsigned": True}))
    return started


def at_work(written: Path, experiment: str, folder: Path) -> Path:
    """Copy an experiment's files to where a user has them, beside its data."""
    shutil.copytree(written / experiment, folder / experiment)
    make_data(experiment, folder / experiment)
    return folder / experiment


@cache
def same_bits_here(written: Path, folder: Path) -> bool:
    """Whether this kind of processor and these versions round as those did on which the folder was written."""
    here = at_work(written, "keyword_spotting", folder)
    done = simulate(load_plan(here / "plan.yaml"), load_federation(here / "federation.yaml"), here / "out")
    return bool(
        done.exchanged_sha256 == facts(written)["experiments"]["keyword_spotting"]["exchanged_sha256"]
    )


@VERSIONS
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_plan_of_then_is_the_same_plan_now(written: Path, experiment: str) -> None:
    assert (
        load_plan(written / experiment / "plan.yaml").hash
        == facts(written)["experiments"][experiment]["plan_hash"]
    )


@VERSIONS
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_plan_and_federation_file_of_then_run_and_their_model_measures_the_same(
    written: Path, experiment: str, tmp_path: Path
) -> None:
    here = at_work(written, experiment, tmp_path)
    plan, federation = load_plan(here / "plan.yaml"), load_federation(here / "federation.yaml")
    done = simulate(plan, federation, here / "out")
    known = facts(written)["experiments"][experiment]
    measured = evaluate_model(here / "model", str(here / "federation.yaml"))
    now = evaluate_model(here / "out" / "model", str(here / "federation.yaml"))
    assert measured.metrics.keys() == known["test"].keys() == now.metrics.keys()
    if done.exchanged_sha256 == known["exchanged_sha256"]:
        assert now.metrics == measured.metrics, "the same bits, so the same metrics"
    assert measured.metrics["loss"] == pytest.approx(known["test"]["loss"], rel=1e-3)
    assert now.metrics["loss"] == pytest.approx(known["test"]["loss"], rel=0.05), (
        "rounding may differ, no more"
    )


@VERSIONS
def test_the_log_says_once_what_a_template_of_then_is_called_now(
    written: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from federation import templates

    templates._met.clear()
    here = at_work(written, "sentiment", tmp_path)
    written_as = yaml.safe_load((here / "federation.yaml").read_text())["envoys"]["north"]
    was = written_as["shard_descriptor"]["template"]
    now = load_federation(here / "federation.yaml").envoys["north"].shard_descriptor.template
    assert now in templates.known_templates()
    said = [r.getMessage() for r in caplog.records if "is called" in r.getMessage()]
    assert said == ([f"{was} is called {now} now; the earlier name goes on working"] if was != now else [])


@VERSIONS
def test_configs_of_then_are_sound(written: Path, tmp_path: Path) -> None:
    configs = shutil.copytree(written / "configs", tmp_path / "configs")
    make_data("keyword_spotting", configs)
    assert schema.load(configs / "director_config.yaml", DirectorConfig).state == configs / "state"
    assert schema.load(configs / "workspace_config.yaml", WorkspaceConfig).name == "workspace"
    for name in ("north", "south"):
        config = schema.load(configs / f"{name}.yaml", EnvoyConfig)
        assert len(open_shard(config.shard_descriptor).split("train"))


@VERSIONS
def test_a_state_folder_of_then_is_gone_on_with(
    written: Path, deployment_of_then: Deployment, tmp_path_factory: Any
) -> None:
    """One experiment was finished, one ran and had results of its open round, one was queued when its director was killed."""
    known = facts(written)["state"]
    with deployment_of_then.federation() as federation:
        first, second, third = (federation.experiment(name) for name in ("first", "second", "third"))
        states = [experiment.info().state for experiment in (first, second, third)]
        assert states == ["finished", "running", "queued"]
        assert first.info().exchanged_sha256 == known["exchanged_sha256"]
        first.model(deployment_of_then.folder / "model")
        assert [event.id for event in first.events()] == list(range(1, 1 + len([*first.events()])))
        envoys = start_envoys(written, deployment_of_then)
        if not is_equal(facts(written)["code_hash"], code_hash("keyword_spotting")):
            assert_they_wait(second, third)
            return
        ended = [experiment.watch(show=False) for experiment in (second, third)]
    assert [info.state for info in ended] == ["finished", "finished"]
    if same_bits_here(written, tmp_path_factory.mktemp("again")):
        assert {info.exchanged_sha256 for info in ended} == {known["exchanged_sha256"]}, (
            "as if nothing had been"
        )
    assert all(envoy.count(r"is called .* now") <= 1 for envoy in envoys), "an earlier name is told once"


@VERSIONS
def test_with_code_that_does_not_count_as_equal_they_wait(
    written: Path, deployment_of_then: Deployment, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    for package in ("federation", "envoy", "workspace", "shard_descriptors"):
        shutil.copytree(ROOT / package, later / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (later / "workspace" / "learning" / "training.py").open("a") as file:
        file.write("# another way to train\n")
    start_envoys(written, deployment_of_then, env={"PYTHONPATH": str(later)})
    with deployment_of_then.federation() as federation:
        experiments = [federation.experiment(name) for name in ("second", "third")]
        assert_they_wait(*experiments)
        assert [experiment.stop().state for experiment in experiments] == ["stopped", "stopped"]


def assert_they_wait(*experiments: Experiment) -> None:
    """Another version's code would make another model: they wait, and say with which command that ends."""
    for experiment in experiments:
        waiting = (event for event in experiment.events(follow=True) if event.kind == "waiting")
        reason = next(e.body["reason"] for e in waiting if "other code" in e.body["reason"])
        assert f"`fed stop {experiment.name}`" in reason


def test_the_code_of_this_version_counts_as_equal_or_has_another_number() -> None:
    """Sites of one version run one code: who changes a bit raises the version, who changes none enters the new hash."""
    if project_version() != VERSION:
        assert project_version() > VERSION, "federation/equal_code.py names a version that is yet to come"
        return
    now = code_hash("keyword_spotting")
    assert EQUAL[-1][-1] == now, (
        f"hashed code has changed. If no bit of any model has, write {now} in the place of the last hash of "
        "federation/equal_code.py; else raise the version in pyproject.toml"
    )


@VERSIONS
def test_the_messages_of_then_are_understood(written: Path) -> None:
    seen = set()
    for call in recorded(written):
        method = call.method.rpartition("/")[2]
        asked, answered = MESSAGES[method]
        seen.add(method)
        for kind, messages in ((asked, call.requests), (answered, call.responses)):
            for data in messages:
                message = kind.FromString(data)
                assert len(UnknownFieldSet(message)) == 0
                assert message.ByteSize() == len(data), "nothing of it is lost"
    assert seen <= MESSAGES.keys(), "no call of then is gone"
    assert len(seen) >= 10, "every call that there was then was recorded"
