"""Translation from the counts of words at each site to a picture of the attention: what docs/translation.md says, run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from federation.errors import InputError
from federation.federation_file import load_federation, open_shard
from federation.main import fed
from federation.plan import load_plan
from shard_descriptors.text.words import count_words, merge_counts
from tests.checkout import PLANS
from tests.deployment import Deployment, write_yaml
from tests.translation_data import pairs_entry, write_pairs
from workspace.simulation.run import simulate

PLAN = PLANS / "translation_tiny.yaml"
ENVOYS = ("north", "south", "west")
SMALL = [
    "task_runner.settings.model.embedding_size=24",
    "task_runner.settings.model.hidden_size=32",
    "task_runner.settings.model.dropout=0.0",
    "task_runner.settings.batch_size=16",
]


def run(*words: object) -> Result:
    return CliRunner().invoke(fed, [str(word) for word in words], catch_exceptions=False)


def told(*words: object) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation file over sentence pairs, and the CPU plan with the vocabularies of this federation."""
    folder = tmp_path_factory.mktemp("translation")
    pairs = write_pairs(folder / "pairs.txt")
    entries: dict[str, Any] = {
        name: {"shard_descriptor": pairs_entry(pairs, rank, len(ENVOYS))} for rank, name in enumerate(ENVOYS)
    }
    federation = write_yaml(folder / "federation.yaml", {"envoys": entries, "test": entries["north"]})
    (folder / "vocabulary").mkdir()
    for field, language in (("source", "english"), ("target", "french")):
        counts = []
        for name in ENVOYS:
            counts.append(folder / f"{name}-{field}.json")
            options = ("--federation", federation, "--envoy", name, "--field", field, "-o", counts[-1])
            assert run("data", "words", *options).exit_code == 0
        output = folder / "vocabulary" / f"{language}_short.txt"
        options = ("--size", 1000, "--minimum-sites", 2, "-o", output)
        assert run("data", "vocabulary", *counts, *options).exit_code == 0
    (folder / PLAN.name).write_bytes(PLAN.read_bytes())
    return folder


@pytest.fixture(scope="module")
def simulated(folder: Path) -> Path:
    plan = load_plan(folder / PLAN.name, [*SMALL, "task_runner.settings.epochs=3"])
    simulate(plan, load_federation(folder / "federation.yaml"), folder / "out")
    return folder / "out"


def test_the_vocabulary_is_that_of_the_pooled_training_sentences_but_for_rare_words(folder: Path) -> None:
    counts = [json.loads((folder / f"{name}-target.json").read_text("utf-8")) for name in ENVOYS]
    written = (folder / "vocabulary" / "french_short.txt").read_text("utf-8").split()
    assert written == merge_counts(counts, 1000, 2)
    assert {"je", "l'", "clé", "maintenant", "!"} <= set(written)
    shard = open_shard(load_federation(folder / "federation.yaml").envoys["north"].shard_descriptor)
    assert counts[0] == count_words(shard.split("train"), "target", 2)


def test_the_plan_says_all_of_it_in_plain_data(folder: Path) -> None:
    shown = run("plan", "show", folder / PLAN.name)
    settings = yaml.safe_load(shown.output)["task_runner"]["settings"]
    assert settings["source_vocabulary"][0]
    assert "source_vocabulary_file" not in settings
    assert run("plan", "check", folder / PLAN.name).exit_code == 0


def test_a_plan_without_its_vocabulary_or_with_another_metric_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / PLAN.name).write_bytes(PLAN.read_bytes())
    result = run("plan", "check", tmp_path / PLAN.name)
    assert result.exit_code == 3
    assert "source_vocabulary_file" in result.stderr
    assert "english_short.txt: there is no such file" in result.stderr
    result = run("plan", "check", folder / PLAN.name, "--set", "aggregator.settings.best_metric=accuracy")
    assert result.exit_code == 3
    assert "there is no metric 'accuracy'" in result.stderr


def test_the_cpu_plan_learns_in_a_simulation_and_is_measured_by_bleu(simulated: Path) -> None:
    summary = json.loads((simulated / "summary.json").read_text())
    assert summary["test"]["bleu"] > 40
    assert summary["test_accuracy"] is None
    rows = [json.loads(line) for line in (simulated / "metrics.jsonl").read_text().splitlines()]
    curve = [
        row["value"]
        for row in rows
        if (row["origin"], row["task"], row["metric"])
        == ("aggregator", "aggregated_model_validation", "bleu")
    ]
    assert len(curve) == summary["rounds"] + 1
    assert curve.index(max(curve)) == summary["best_round"]
    assert {row["metric"] for row in rows if row["task"] == "train"} == {
        "loss",
        "perplexity",
        "update_norm",
    }


def test_the_model_is_evaluated_with_an_interval(folder: Path, simulated: Path) -> None:
    measured = told("evaluate", simulated / "model", "--on", folder / "federation.yaml")
    summary = json.loads((simulated / "summary.json").read_text())
    assert measured["metric"] == "bleu"
    assert measured["score"] == pytest.approx(summary["test"]["bleu"])
    assert measured["low"] <= measured["score"] <= measured["high"]
    text = run("evaluate", simulated / "model", "--on", folder / "federation.yaml")
    assert text.stdout.startswith("bleu ")


def test_a_text_is_translated_and_its_attention_drawn(simulated: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    options = ("--option", "decoding=beam", "--option", "beam_size=3", "--attention", pictures)
    result = run("predict", simulated / "model", "I see the cat.", "We want a pen.", *options)
    assert result.exit_code == 0, result.output
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        "I see the cat.",
        "We want a pen.",
    ]
    assert sorted(file.name for file in pictures.iterdir()) == ["0.png", "1.png"]
    assert (pictures / "0.png").read_bytes().startswith(b"\x89PNG")
    drawn = [
        run("predict", simulated / "model", "I see.", "--option", "decoding=nucleus", "--option", "seed=3")
        for _ in range(2)
    ]
    assert drawn[0].stdout == drawn[1].stdout
    with pytest.raises(InputError, match=r"--option decoding: .*'nucleus'.*options are: decoding, beam_size"):
        run("predict", simulated / "model", "I see.", "--option", "decoding=best")


def test_baselines_have_the_same_metrics(folder: Path, tmp_path: Path) -> None:
    sets = [
        argument for one in [*SMALL, "aggregator.settings.rounds_to_train=1"] for argument in ("--set", one)
    ]
    on = ("--federation", folder / "federation.yaml", "--quiet")
    central = told("central", folder / PLAN.name, *sets, *on, "-o", tmp_path / "central")
    local = told("local", folder / PLAN.name, *sets, *on, "--envoy", "south", "-o", tmp_path / "local")
    assert set(central["test"]) == set(local["test"]) == {"bleu", "loss", "perplexity"}
    assert central["samples"] > 2 * local["samples"]
    assert central["validation_accuracy"] is None


def test_shards_without_classes_are_described(folder: Path) -> None:
    described = told("data", "describe", "--federation", folder / "federation.yaml")
    assert described["classes"] == []
    assert described["total"]["train"]["samples"] == sum(
        described["shards"][name]["train"]["samples"] for name in ENVOYS
    )
    assert "all samples" in run("data", "describe", "--federation", folder / "federation.yaml").stdout


@pytest.fixture
def two_sites(deployment: Deployment, folder: Path) -> Iterator[Deployment]:
    """A director and two envoys with sentence pairs."""
    deployment.start_director()
    waiting = [
        deployment.start_envoy(name, pairs_entry(folder / "pairs.txt", rank, 2), wait=False)
        for rank, name in enumerate(ENVOYS[:2])
    ]
    for envoy in waiting:
        envoy.wait_for("connected to the director")
    yield deployment


def test_a_deployed_run_has_the_bits_of_a_simulated_one(
    two_sites: Deployment, folder: Path, tmp_path: Path
) -> None:
    sets = [
        *SMALL[:2],
        "aggregator.settings.rounds_to_train=2",
        "federation.settings.envoys=2",
        "task_runner.settings.model.attention=dot_product",
        "task_runner.settings.model.dropout=0.2",
    ]
    with two_sites.federation() as federation:
        announced = federation.envoys()
        deployed = federation.submit(folder / PLAN.name, sets).watch(show=False)
    assert [(envoy.dataset, list(envoy.classes)) for envoy in announced] == [("sentence_pairs_en_fr", [])] * 2
    assert deployed.state == "finished", deployed.reason

    envoys = {
        name: {"shard_descriptor": pairs_entry(folder / "pairs.txt", rank, 2)}
        for rank, name in enumerate(ENVOYS[:2])
    }
    file = write_yaml(tmp_path / "federation.yaml", {"envoys": envoys})
    summary = simulate(load_plan(folder / PLAN.name, sets), load_federation(file), tmp_path / "out")
    assert summary.exchanged_sha256 == deployed.exchanged_sha256
