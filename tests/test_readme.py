"""README is run: every command block, in its order, as a reader would run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from federation.main import GROUP
from tests.checkout import ROOT
from tests.deployment import Service

README = (ROOT / "README.md").read_text()
DEADLINE = 120.0
# What a reader needs of the checkout; the packages themselves are installed.
FILES = [
    "director/director_config.yaml",
    "director/start_director.sh",
    "envoy/envoy_config.yaml",
    "envoy/start_envoy.sh",
    "workspace/workspace_config.yaml",
]
SERVICE = "# in a terminal of its own"
READY = {"director": r"director listening on .*:(\d+)", "envoy": "connected to the director at"}
# CI runs `make test` (this) and `make demo`; what they install is what we run in, and pip would need the network.
NOT_RUN = ("make ", "python3 -m venv", "source ", "pip install", "jupyter lab ")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line where it begins."""

    language: str
    text: str
    line: int

    @property
    def is_run(self) -> bool:
        return not any(line.startswith(NOT_RUN) for line in self.text.splitlines())


def blocks() -> list[Block]:
    found = re.finditer(r"^```(bash|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], README.count("\n", 0, match.start()) + 1) for match in found]


class Reader:
    """Somebody who follows README in a folder: runs blocks, starts services, edits the port in configs."""

    def __init__(self, top: Path) -> None:
        self.top = top
        home = top.parent / "home"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FED_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.env = kept | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"}
        self.services: list[Service] = []

    def run(self, block: Block) -> str:
        """Run a block to its end, each in the top folder, and return what it printed."""
        if block.language == "python":
            command, cwd = [sys.executable, "-c", block.text], self.top / "workspace"
        else:
            command, cwd = ["bash", "-euo", "pipefail", "-c", block.text], self.top
        done = subprocess.run(
            command, cwd=cwd, env=self.env, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert done.returncode == 0, (
            f"README.md:{block.line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def start(self, block: Block) -> None:
        """Start a service by its script and wait until it says that it is there."""
        _, command = block.text.strip().splitlines()
        service = Service([command], self.top, self.env, ["bash", "-c", 'exec "$0"'])
        self.services.append(service)
        is_director = command.startswith("director/")
        said = service.wait_for(READY["director" if is_director else "envoy"])
        if is_director:
            self.use_port(said[1])

    def use_port(self, port: str) -> None:
        """The director was given a port that is free here; tell the others, as one who has chosen another port."""
        for config in ("envoy/envoy_config.yaml", "workspace/workspace_config.yaml"):
            edit(self.top / config, "director: localhost:50051", f"director: localhost:{port}")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, f"{file}: no {old!r}"
    file.write_text(text.replace(old, new))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    top = tmp_path / "checkout"
    for file in FILES:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, top / file)
    shutil.copytree(ROOT / "plans", top / "plans")
    edit(top / "director/director_config.yaml", "listen: 127.0.0.1:50051", "listen: 127.0.0.1:0")
    following = Reader(top)
    yield following
    for service in following.services:
        service.process.kill()
        service.process.wait()


def test_every_command_of_the_readme_does_what_it_says(reader: Reader) -> None:
    printed: dict[str, str] = {}
    for block in blocks():
        if not block.is_run:
            continue
        if block.text.startswith(SERVICE):
            reader.start(block)
        else:
            printed[block.text] = reader.run(block)

    def said(command: str) -> str:
        return next(text for block, text in printed.items() if command in block)

    top = reader.top
    assert {"envoy_one", "envoy_two"} <= set(re.findall(r"envoy_\w+", said("fed envoys")))
    assert "first: finished after 2 rounds" in said("fed watch")
    assert re.search(r"first +keyword_spotting_tiny +finished +2/2", said("fed list"))
    assert re.search(r"second +keyword_spotting_tiny +queued", said("fed list"))
    assert "second: stopped" in said("fed stop")
    assert "second: removed" in said("fed rm")
    assert "trial: goes on without envoy_two" in said("fed exclude")
    assert "['envoy_one', 'envoy_two']" in said("import workspace")
    for model in ("models/first", "models/third", "runs/simulated/model"):
        assert (top / model / "model.safetensors").is_file(), model
    for baseline in ("simulated", "central", "north"):
        assert (top / "runs" / baseline / "summary.json").is_file()
    assert re.search(r"accuracy 0\.\d+ .*speakers", said("fed evaluate"))
    assert [service.end() for service in reversed(reader.services)] == [0, 0, 0], "each stops cleanly"


def test_only_what_installs_is_not_run() -> None:
    left_out = [block for block in blocks() if not block.is_run]
    for block in left_out:
        assert all(line.startswith(NOT_RUN) for line in block.text.splitlines()), f"README.md:{block.line}"
    assert {line.split("#")[0].strip() for line in left_out[0].text.splitlines()} == {
        "make demo",
        "make test",
    }


def test_the_readme_shows_every_command() -> None:
    run = "\n".join(block.text for block in blocks() if block.is_run)
    scripts = {"director", "envoy"}  # started by their scripts
    shown = set(re.findall(r"\bfed ([a-z]+)", run))
    assert {point.name for point in entry_points(group=GROUP)} - scripts == shown
