"""Sentiment from end to end: the CPU plan simulated, its model put to use, and a plan deployed with the same bits."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from federation.federation_file import load_federation
from federation.main import fed
from federation.plan import load_plan
from tests.checkout import PLANS
from tests.deployment import Deployment, write_yaml
from tests.sentiment_data import CLASSES, make_sentences, shard_entry, small_plan
from workspace.simulation.run import simulate


def federation_file(path: Path, root: Path, names: tuple[str, ...], **settings: object) -> Path:
    """Envoys that divide a folder, and the sentences that none of them holds."""
    entries = {
        name: {"shard_descriptor": shard_entry(root, rank, len(names), **settings)}
        for rank, name in enumerate(names)
    }
    return write_yaml(path, {"envoys": entries, "test": entries[names[0]]})


def run(*arguments: object) -> str:
    """Run a `fed` command as the documentation gives it."""
    result = CliRunner().invoke(fed, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_cpu_plan_from_counted_words_to_a_model_that_answers(tmp_path: Path) -> None:
    root = make_sentences(tmp_path / "sentences", 60)
    envoys = ("north", "south", "west")
    federation = federation_file(tmp_path / "federation.yaml", root, envoys, partition="source")

    counts = [tmp_path / f"{name}.json" for name in envoys]
    for name, file in zip(envoys, counts, strict=True):
        run("data", "words", "--federation", federation, "--envoy", name, "-o", file)
    words = tmp_path / "words.txt"
    run("data", "vocabulary", *counts, "--minimum-sites", 2, "-o", words)
    known = words.read_text().split()
    assert {"good", "awful"} <= set(known)
    assert "soup" not in known  # one site's alone

    sets = ["task_runner.settings.batch_size=8", f"task_runner.settings.vocabulary_file={words}"]
    plan = load_plan(PLANS / "sentiment_tiny.yaml", sets)
    assert plan.task_runner.vocabulary == known
    summary = simulate(plan, load_federation(federation), tmp_path / "out", device="cpu")
    assert summary.test_accuracy is not None
    assert summary.test_accuracy > 0.8

    model = tmp_path / "out" / "model"
    measured = json.loads(run("evaluate", model, "--on", federation, "--json"))
    assert abs(measured["accuracy"] - summary.test_accuracy) < 1e-9
    assert measured["classes"] == CLASSES
    told = run(
        "predict",
        model,
        "What a great film, so good.",
        "The waiter is awful.",
        "--attention",
        tmp_path / "maps",
        "--json",
    )
    answers = [json.loads(line) for line in told.splitlines()]
    assert [answer["output"] for answer in answers] == ["positive", "negative"]
    for number in range(2):
        with Image.open(tmp_path / "maps" / f"{number}.png") as image:
            assert image.size[0] > image.size[1] > 100  # four heads side by side


def test_a_deployed_run_has_the_bits_of_a_simulated_one(deployment: Deployment, tmp_path: Path) -> None:
    root = make_sentences(tmp_path / "sentences")
    plan_file = write_yaml(tmp_path / "small.yaml", small_plan())
    deployment.start_director()
    names = ("north", "south")
    waiting = [
        deployment.start_envoy(name, shard_entry(root, rank, 2), wait=False)
        for rank, name in enumerate(names)
    ]
    for envoy in waiting:
        envoy.wait_for("connected to the director")
    with deployment.federation() as connected:
        experiment = connected.submit(plan_file)
        deployed = experiment.watch(show=False)
        experiment.model(tmp_path / "model", "best")
    envoys = load_federation(federation_file(tmp_path / "federation.yaml", root, names))
    simulated = simulate(load_plan(plan_file), envoys, tmp_path / "out", device="cpu")
    assert simulated.exchanged_sha256 == deployed.exchanged_sha256
    written = [folder / "model.safetensors" for folder in (tmp_path / "model", tmp_path / "out" / "model")]
    assert written[0].read_bytes() == written[1].read_bytes()
