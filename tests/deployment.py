"""A real deployment for tests: director and envoys as processes on the loopback address, with certificates."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from federation.certificates import make_authority, make_member
from workspace.client import Federation

FED = [str(Path(sys.executable).with_name("fed"))]
DEADLINE = 120.0
SHARD = "shard_descriptors.speech.speech_commands.SpeechCommandsShard"
WORDS = ["yes", "no", "up", "down"]

TINY_PLAN: dict[str, Any] = {
    "aggregator": {"template": "federation.engine.aggregator.Aggregator", "settings": {"rounds_to_train": 2}},
    "collaborator": {"template": "federation.engine.collaborator.Collaborator"},
    "assigner": {
        "template": "federation.engine.assigner.CohortAssigner",
        "settings": {
            "task_groups": [
                {
                    "name": "learning",
                    "percentage": 1.0,
                    "tasks": ["aggregated_model_validation", "train", "locally_tuned_model_validation"],
                }
            ]
        },
    },
    "tasks": {
        "aggregated_model_validation": {"function": "validate_task", "kwargs": {"apply": "global"}},
        "train": {"function": "train_task"},
        "locally_tuned_model_validation": {"function": "validate_task", "kwargs": {"apply": "local"}},
    },
    "data_loader": {"template": "workspace.learning.data_loader.ShardDataLoader"},
    "task_runner": {
        "template": "workspace.learning.task_runner.FineTuning",
        "settings": {
            "experiment": "keyword_spotting",
            "learning_rate": 2e-3,
            "batch_size": 16,
            "model": {
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "conv_dim": [32, 32, 32],
                "conv_kernel": [64, 8, 5],
                "conv_stride": [16, 4, 5],
                "num_conv_pos_embeddings": 16,
                "num_conv_pos_embedding_groups": 4,
                "classifier_proj_size": 32,
            },
        },
    },
    "federation": {
        "settings": {
            "envoys": 2,
            "dataset": "speech_commands",
            "classes": WORDS,
            "seed": 7,
            "torch_threads": 1,
        }
    },
}


def write_yaml(path: Path, content: Any) -> Path:
    """Write a file as a user would have it."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def shard_entry(root: Path, rank: int, worldsize: int, **settings: Any) -> dict[str, Any]:
    """A shard descriptor over a folder, as configs and federation files have it."""
    base = {
        "root": str(root),
        "classes": WORDS,
        "split": "speaker",
        "partition": "speaker",
        "rank": rank,
        "worldsize": worldsize,
        "seed": 1,
    }
    return {"template": SHARD, "settings": base | settings}


class Service:
    """A process whose standard error is read line by line; waits are for a line or for its end, with a deadline."""

    def __init__(
        self, arguments: Sequence[str], cwd: Path, env: dict[str, str], program: Sequence[str] = FED
    ) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [*program, *arguments],
            cwd=cwd,
            env=env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str, deadline: float = DEADLINE, times: int = 1) -> re.Match[str]:
        """Return the first line that matches, or the one that does so after ``times``, as soon as it is there."""

        def found() -> re.Match[str] | None:
            matches = (m for line in self.lines if (m := re.search(pattern, line)))
            return next(itertools.islice(matches, times - 1, None), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._ended, deadline)
            match = found()
        assert match, f"no line {pattern!r} ({times}) in:\n" + "\n".join(self.lines)
        return match

    def count(self, pattern: str) -> int:
        """How many lines match."""
        return sum(bool(re.search(pattern, line)) for line in self.lines)

    def end(self, number: int = signal.SIGTERM, deadline: float = 30.0) -> int:
        """Signal the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(deadline)


class Deployment:
    """One director and any envoys in a folder; everything is ended when the context is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = folder / "certificates"
        self.env = os.environ | {"FED_STATE": str(folder / "fed-state"), "OMP_NUM_THREADS": "1"}
        make_authority(self.certificates)
        make_member(self.certificates, "director", "director", ["localhost", "127.0.0.1"])
        make_member(self.certificates, "workspace", "workspace")
        self.services: list[Service] = []
        self.address = ""
        self.director: Service

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self.services):
            if service.process.poll() is None:
                service.process.terminate()
        for service in self.services:
            try:
                service.process.wait(30)
            except subprocess.TimeoutExpired:
                service.process.kill()
            # Shown by pytest where a test has failed.
            print("\n".join(service.lines))

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> Service:
        """Start a `fed` command that goes on running; ``env`` goes beside the environment of the others."""
        service = Service(arguments, self.folder, self.env | dict(env or {}))
        self.services.append(service)
        return service

    def start_director(self, listen: str = "127.0.0.1:0", **settings: Any) -> Service:
        """Start the director and wait until it listens."""
        config = {"listen": listen, "certificates": "certificates", "state": "state", **settings}
        write_yaml(self.folder / "director_config.yaml", config)
        self.director = self.start("director", "start", "-c", "director_config.yaml")
        port = self.director.wait_for(r"director listening on .*:(\d+)")[1]
        self.address = f"localhost:{port}"
        return self.director

    def start_envoy(
        self,
        name: str,
        shard: dict[str, Any],
        wait: bool = True,
        env: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Service:
        """Start an envoy, with a certificate of its own, and wait until it is connected."""
        make_member(self.certificates, name, "envoy")
        config = {
            "name": name,
            "director": self.address,
            "certificates": "certificates",
            "devices": "cpu",
            "state": "envoys",
            "shard_descriptor": shard,
            **settings,
        }
        write_yaml(self.folder / f"{name}.yaml", config)
        envoy = self.start("envoy", "start", "-c", f"{name}.yaml", env=env)
        if wait:
            envoy.wait_for("connected to the director")
        return envoy

    def federation(self) -> Federation:
        """Connect as the workspace."""
        return Federation(self.address, self.certificates)

    def fed(self, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Run a `fed` command to its end and return what it printed."""
        ours = {"FED_DIRECTOR": self.address, "FED_CERTIFICATES": str(self.certificates)}
        env = self.env | ours | dict(env or {})
        done = subprocess.run(
            [*FED, *arguments],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == code, (
            f"fed {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout if code == 0 else done.stderr
