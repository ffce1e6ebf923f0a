"""``make demo``: a whole federation on this machine, from spoken words that it makes itself to a measured model.

One director and three envoys run as separate processes over mTLS on the loopback address, exactly as operators start them; the
experiment is submitted as a data scientist submits it. The baselines are trained beside each other, then all is stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from federation.certificates import make_authority, make_member
from federation.errors import FederationError
from federation.federation_file import load_federation
from federation.plan import CheckedPlan, load_plan
from workspace.client import Experiment, Federation
from workspace.demo.services import fed_command, fed_environment, service, wait_for
from workspace.quiet import quiet_libraries
from workspace.simulation.run_folder import SUMMARY, RunFolder, write_json

ENVOYS = ("north", "south", "west")
PLAN = Path("plans/keyword_spotting_tiny.yaml")
SHARD = "shard_descriptors.speech.speech_commands.SpeechCommandsShard"
FILES = (SUMMARY, "federation.yaml", "director_config.yaml", *(f"{name}.yaml" for name in ENVOYS))
FOLDERS = ("data", "certificates", "logs", "director", "envoys", "central", "local")
"""What a demo writes, beside its model."""
SPEAKERS, TAKES, SEED = 48, 5, 1
console = Console(highlight=False, soft_wrap=True)


@click.command()
@click.option("--output", default="demo", type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--force", is_flag=True, help="Replace what another demo has left in the folder.")
@click.option("--plan", default=str(PLAN), show_default=True, help="The plan to submit.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the plan."
)
@click.option("--speakers", default=SPEAKERS, show_default=True, help="Synthesised speakers.")
@click.option("--takes", default=TAKES, show_default=True, help="Takes of each word by each speaker.")
def demo(output: Path, force: bool, plan: str, overrides: tuple[str, ...], speakers: int, takes: int) -> None:
    """Synthesise speech, federate it over three envoys, and compare with the baselines."""
    checked = load_plan(plan, overrides)
    with RunFolder(output, FILES, FOLDERS, ("demo",)).held() as own:
        own.require_free(force)
        own.begin({"command": "demo", "plan": checked.name})
        with own.ended():
            _demo(
                output,
                checked,
                [plan, *(one for item in overrides for one in ("--set", item))],
                speakers,
                takes,
            )
        own.end("finished")


def _demo(output: Path, checked: CheckedPlan, arguments: Sequence[str], speakers: int, takes: int) -> None:
    began = time.monotonic()
    quiet_libraries()
    home = output.resolve()

    console.rule("1. Spoken keywords from synthetic voices")
    speech = home / "data"
    _fed("data", "synthesise", "-o", speech, "--speakers", speakers, "--takes", takes, "--seed", SEED)
    federation_file = home / "federation.yaml"
    entries = {
        name: _shard(speech, list(checked.federation.classes), rank) for rank, name in enumerate(ENVOYS)
    }
    content = {"envoys": entries, "test": entries[ENVOYS[0]]}
    federation_file.write_text(yaml.safe_dump(content, sort_keys=False))
    _fed("data", "describe", "--federation", federation_file)

    with ExitStack() as running:
        console.rule("2. A director and three envoys, over mTLS")
        federation = running.enter_context(_deployment(home, entries, running))
        for envoy in federation.envoys():
            console.print(f"  {envoy.name} is online: {envoy.samples}, {envoy.devices[0]['model']}")

        console.rule("3. The experiment")
        experiment = federation.submit(checked)
        info = experiment.watch()
        console.print(f"  {info.rounds} rounds, {time.monotonic() - began:.0f} s since the start")
        experiment.model(home / "model")
        rounds = _accuracy_by_round(experiment)
    console.print("  director and envoys have stopped")

    console.rule("4. The baselines: all data in one place, and each envoy alone")
    federated, central, local = _measure(home, checked, arguments, federation_file)

    _show(rounds, federated, central, local)
    summary = {
        "federated": federated,
        "central": central,
        "local": local,
        "rounds": info.rounds,
        "seconds": round(time.monotonic() - began, 1),
        "exchanged_sha256": info.exchanged_sha256,
        "accuracy_by_round": rounds,
    }
    write_json(home / SUMMARY, summary)
    console.print(
        f"\n{summary['seconds']:.0f} s in all; the model is in {output}/model, the numbers in {output}/summary.json"
    )


def _shard(speech: Path, classes: list[str], rank: int) -> dict[str, Any]:
    settings = {
        "root": str(speech),
        "classes": classes,
        "split": "speaker",
        "partition": "speaker",
        "rank": rank,
        "worldsize": len(ENVOYS),
        "seed": SEED,
    }
    return {"shard_descriptor": {"template": SHARD, "settings": settings}}


@contextmanager
def _deployment(home: Path, entries: dict[str, Any], running: ExitStack) -> Iterator[Federation]:
    """Make certificates, start the services, and wait until every envoy is online."""
    certificates = home / "certificates"
    make_authority(certificates)
    make_member(certificates, "director", "director", ["localhost", "127.0.0.1"])
    make_member(certificates, "workspace", "workspace")
    (home / "logs").mkdir()
    config = {"listen": "127.0.0.1:0", "certificates": "certificates", "state": "director"}
    (home / "director_config.yaml").write_text(yaml.safe_dump(config))
    start = ("director", "start", "-c", "director_config.yaml")
    wait_for(running.enter_context(service(home, "director", "director listening", *start)), home, "director")
    address = f"localhost:{(home / 'director' / 'address').read_text().strip().rpartition(':')[2]}"
    connected = {}
    for name, entry in entries.items():
        make_member(certificates, name, "envoy")
        config = {
            "name": name,
            "director": address,
            "certificates": "certificates",
            "state": "envoys",
            **entry,
        }
        (home / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        start = ("envoy", "start", "-c", f"{name}.yaml")
        connected[name] = running.enter_context(service(home, name, "connected to the director", *start))
    for name, ready in connected.items():
        wait_for(ready, home, name)
    with Federation(address, certificates) as federation:
        yield federation


def _measure(
    home: Path, plan: CheckedPlan, central_arguments: Sequence[str], federation_file: Path
) -> tuple[float, float, dict[str, float]]:
    """Measure the federated model, and train the baselines: the central one, which is half of the work, beside all others."""
    command = [fed_command(), "central", *central_arguments, "--federation", str(federation_file), "--quiet"]
    central = subprocess.Popen(
        [*command, "-o", str(home / "central")], stdout=subprocess.DEVNULL, env=fed_environment(home)
    )
    try:
        # What they bring takes seconds to import, and nothing before needs it.
        from workspace.model_evaluation import evaluate_model
        from workspace.simulation.baseline import run_baseline

        federated = evaluate_model(home / "model", str(federation_file)).metrics["accuracy"]
        for name in ENVOYS:
            with console.status(f"training on the data of {name} alone, and on all of it"):
                run_baseline(plan, load_federation(federation_file), home / "local" / name, name)
        with console.status("training on all data in one place"):
            if central.wait() != 0:
                raise FederationError("fed central has failed; its message is above")
    finally:
        central.kill()
        central.wait()
    local = {name: _test_accuracy(home / "local" / name) for name in ENVOYS}
    return federated, _test_accuracy(home / "central"), local


def _test_accuracy(folder: Path) -> float:
    return float(json.loads((folder / "summary.json").read_text())["test_accuracy"])


def _accuracy_by_round(experiment: Experiment) -> list[dict[str, float]]:
    metrics = experiment.metrics().query("metric == 'accuracy' and task == 'aggregated_model_validation'")
    table = metrics.pivot_table(index="round", columns="origin", values="value")
    return [{"round": int(number), **row.to_dict()} for number, row in table.iterrows()]


def _show(rounds: list[dict[str, float]], federated: float, central: float, local: dict[str, float]) -> None:
    table = Table("round", "all", *ENVOYS, box=box.SIMPLE, title="validation accuracy of the aggregate")
    for row in rounds:
        values = [row.get(origin) for origin in ("aggregator", *ENVOYS)]
        table.add_row(str(row["round"]), *("-" if value is None else f"{value:.3f}" for value in values))
    console.print(table)
    table = Table("trained on", "test accuracy", box=box.SIMPLE, title="on speakers that no envoy holds")
    table.add_row("federated", f"{federated:.3f}", style="bold")
    table.add_row("central: all data in one place", f"{central:.3f}")
    for name, accuracy in local.items():
        table.add_row(f"local: {name} alone", f"{accuracy:.3f}")
    console.print(table)


def _fed(*arguments: object) -> None:
    done = subprocess.run([fed_command(), *map(str, arguments)], check=False)
    if done.returncode != 0:
        raise FederationError(f"fed {arguments[0]} has failed ({done.returncode}); its message is above")


def main() -> None:
    """Run the demo; errors are one line and an exit code."""
    try:
        demo(standalone_mode=False)
    except FederationError as error:
        console.print(f"demo: error: {error}", style="red", markup=False)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
