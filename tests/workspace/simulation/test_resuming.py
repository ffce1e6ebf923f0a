"""A simulation that is killed or interrupted goes on with `--resume`, and comes to the bits of one that was left alone."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.checkout import ROOT
from tests.deployment import write_yaml
from tests.faults.federation import PLAN
from tests.faults.points import Point
from tests.faults.processes import Forked, until
from tests.image_data import make_image_folder, shard_entry

DEADLINE = 60.0
# It draws two of three envoys for a round, and each has layers of its own.
SETS = {
    "aggregator": {"settings": {"rounds_to_train": 3}},
    "federation": {"settings": PLAN["federation"]["settings"] | {"envoys": 2, "cohort": 2}},
}


class Machine:
    """Somebody's machine: data of three envoys, a plan, and `fed` started in milliseconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        images = make_image_folder(folder / "images", count=10)
        entries = {
            name: {"shard_descriptor": shard_entry(images, rank, 3)}
            for rank, name in enumerate(("east", "north", "south"))
        }
        self.federation = write_yaml(folder / "federation.yaml", {"envoys": entries, "test": entries["east"]})
        self.plan = write_yaml(folder / "tiny.yaml", PLAN | SETS)
        self._numbers = itertools.count(1)
        self._socket = folder / "zygote"
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", str(self._socket)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._zygote.stdout is not None
        assert self._zygote.stdout.readline() == "ready\n"
        self.alone = self.new()
        assert self.simulate(self.alone) == 0, self.said(self.alone)

    def close(self) -> None:
        self._zygote.kill()
        self._zygote.wait()

    def new(self) -> Path:
        """Return a folder for a run, in one of its own for what is said of it."""
        folder = self.folder / f"{next(self._numbers)}" / "run"
        folder.parent.mkdir()
        return folder

    def start(
        self, output: Path, *options: str, point: Point | None = None, command: str = "simulate"
    ) -> Forked:
        arguments = [
            command,
            str(self.plan),
            "--federation",
            str(self.federation),
            "-o",
            str(output),
            *options,
        ]
        request = {
            "program": "fed",
            "name": "fed",
            "folder": str(output.parent),
            "arguments": arguments,
            "point": asdict(point) if point else None,
        }
        return Forked(self._socket, request)

    def simulate(self, output: Path, *options: str, point: Point | None = None) -> int:
        return self.start(output, *options, point=point).wait(DEADLINE)

    def said(self, output: Path) -> str:
        return (output.parent / "fed.log").read_text()

    def has_the_bits_of_one_left_alone(self, output: Path) -> None:
        """Hold a folder to that of the undisturbed run: all files, but times and memory, and nothing else."""
        files = {path.relative_to(self.alone) for path in self.alone.rglob("*")}
        assert {path.relative_to(output) for path in output.rglob("*")} == files
        for name in files:
            if (self.alone / name).is_file() and name.name != "summary.json":
                assert (output / name).read_bytes() == (self.alone / name).read_bytes(), name
        assert comparable(output) == comparable(self.alone)


def state(output: Path) -> str | None:
    """Return how far a run says it is; None if it has not begun."""
    run = output / "run.json"
    return str(json.loads(run.read_text())["state"]) if run.exists() else None


def comparable(output: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in ("seconds", "peak_memory_mb")}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    running = Machine(tmp_path_factory.mktemp("machine"))
    yield running
    running.close()


def resumed_after(machine: Machine, point: Point) -> bool:
    """Disturb a run at a point and go on with it; say whether it got there."""
    output = machine.new()
    ended = machine.simulate(output, point=point)
    assert ended in (0, -getattr(signal, point.what), 130), machine.said(output)
    if ended == 130 and state(output) == "interrupted":
        assert comparable(output)["state"] == "interrupted"
    assert machine.simulate(output, "--resume") == 0, f"{point}: {machine.said(output)}"
    machine.has_the_bits_of_one_left_alone(output)
    return (output.parent / "reached").exists()


def until_none_is_left(machine: Machine, kind: str, when: str, what: str = "SIGKILL") -> int:
    return sum(
        1
        for _ in itertools.takewhile(
            lambda number: resumed_after(machine, Point(kind, number, when, what)), itertools.count(1)
        )
    )


@pytest.mark.parametrize("number", [1, 9, 14])
def test_killed_before_some_of_its_renames(machine: Machine, number: int) -> None:
    assert resumed_after(machine, Point("rename", number))


def test_interrupted_as_it_writes(machine: Machine) -> None:
    assert resumed_after(machine, Point("fsync", 13, "after", "SIGINT"))


def test_commands_say_in_a_line_what_a_folder_holds_and_how_to_go_on(machine: Machine) -> None:
    output = machine.new()
    assert machine.simulate(output, point=Point("fsync", 17, "after", "SIGINT")) == 130
    assert f"fed: interrupted; what was reached is in {output}; the same command with --resume goes on\n" in (
        machine.said(output)
    )
    for command in ("simulate", "central"):
        assert machine.start(output, command=command).wait(DEADLINE) == 3
    assert machine.said(output).count("that was interrupted; name another folder, --resume") == 2
    assert machine.simulate(output, "--force", "--resume") == 2
    before = (output / "metrics.jsonl").read_bytes()
    assert machine.simulate(output, "--resume", "--set", "federation.settings.seed=8") == 3
    assert "the plan has changed: federation.settings.seed is 8, was 7" in machine.said(output)
    assert (output / "metrics.jsonl").read_bytes() == before
    assert machine.simulate(output, "--force") == 0
    machine.has_the_bits_of_one_left_alone(output)


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ["SIGKILL", "SIGINT"])
@pytest.mark.parametrize(
    ("kind", "when"),
    # Of what is removed in case that it is there, there is no afterwards.
    [
        *((kind, when) for kind in ("rename", "fsync", "create") for when in ("before", "after")),
        ("unlink", "before"),
    ],
)
def test_disturbed_at_all_that_it_does_with_files(machine: Machine, kind: str, when: str, what: str) -> None:
    assert until_none_is_left(machine, kind, when, what) >= 2


def test_killed_again_and_again(machine: Machine) -> None:
    output = machine.new()
    assert machine.simulate(output, point=Point("rename", 7)) == -signal.SIGKILL
    assert machine.simulate(output, "--resume", point=Point("rename", 3)) == -signal.SIGKILL
    assert machine.simulate(output, "--resume") == 0, machine.said(output)
    machine.has_the_bits_of_one_left_alone(output)
    before = (output / "summary.json").read_text()
    assert machine.simulate(output, "--resume") == 0
    assert (output / "summary.json").read_text() == before, "one that has finished is told again, and not run"


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("what", "code"), [("SIGKILL", -signal.SIGKILL), ("SIGINT", 130)])
def test_workers_end_with_their_run_and_the_number_of_processes_may_change(
    machine: Machine, what: str, code: int
) -> None:
    output = machine.new()
    running = machine.start(output, "--processes", "2", point=Point("rename", 9, what=what))
    workers = {}

    def look() -> bool:
        with suppress(psutil.NoSuchProcess):
            workers.update({one.pid: one for one in psutil.Process(running.pid).children(recursive=True)})
        return running.poll() is not None

    assert until(look, DEADLINE)
    assert running.returncode == code, machine.said(output)
    assert len(workers) >= 2
    assert until(lambda: not any(one.is_running() for one in workers.values()), DEADLINE)
    assert machine.simulate(output, "--resume") == 0, machine.said(output)
    assert comparable(output)["exchanged_sha256"] == comparable(machine.alone)["exchanged_sha256"]
