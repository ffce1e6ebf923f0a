"""A tiny federation of forked processes, one of which is disturbed at a point: it must end as if nothing had been."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from federation.plan import load_plan
from tests.checkout import ROOT
from tests.deployment import write_yaml
from tests.faults.checks import check_state
from tests.faults.points import Point
from tests.faults.processes import Forked, ask, state_of, until
from tests.image_data import CLASSES, make_image_folder, shard_entry
from workspace.client import Federation

DEADLINE = 60.0
FROZEN_SECONDS = 1.0
AT_ONCE = 3
ENVOYS = ("north", "south")
PLAN: dict[str, Any] = {
    "aggregator": {"settings": {"rounds_to_train": 2}},
    "task_runner": {
        "settings": {
            "experiment": "image_classification",
            "learning_rate": 1e-2,
            "batch_size": 8,
            "image_size": 16,
            "batch_norm": "local",
            "model": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"},
        }
    },
    "federation": {
        "settings": {
            "envoys": 2,
            "dataset": "colours",
            "classes": list(CLASSES),
            "seed": 7,
            "torch_threads": 1,
        }
    },
}


@dataclass(frozen=True)
class Outcome:
    """What an experiment came to, and whether the point was reached on the way."""

    exchanged_sha256: str
    reached: bool


class Supervised:
    """A service that is started again, undisturbed, whenever it ends without having been asked to."""

    def __init__(self, zygote: Path, request: dict[str, Any]) -> None:
        self._zygote = zygote
        self._undisturbed = request | {"point": None, "worker_point": None}
        self._lock = threading.Lock()
        self._ending = False
        self.ends: list[int] = []
        self.process = Forked(zygote, request)
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        with self._lock:
            self._ending = True
            self.process.terminate()
        self._watching.join(DEADLINE)
        assert not self._watching.is_alive(), f"{self._undisturbed['name']} does not end"

    def kill(self) -> None:
        """End it at once."""
        with self._lock:
            self._ending = True
            self.process.kill()
        self._watching.join(DEADLINE)

    def _watch(self) -> None:
        while True:
            self.ends.append(self.process.wait())
            with self._lock:
                if self._ending or len(self.ends) > 5:
                    return
                self.process = Forked(self._zygote, self._undisturbed)


class Tiny:
    """What all runs share: the zygote, the data, the plan, and what comes out of an undisturbed run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = make_image_folder(folder / "images", count=10)
        self.plan = load_plan(write_yaml(folder / "tiny.yaml", PLAN))
        self.zygote = folder / "zygote"
        self._numbers = itertools.count(1)
        self._building = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", str(self.zygote)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self.undisturbed = self.run().exchanged_sha256

    def close(self) -> None:
        """End the zygote."""
        self._process.kill()
        self._process.wait()

    def run(
        self,
        who: str = "",
        point: Point | None = None,
        through: Callable[[str], Any] | None = None,
        keepalive: int = 0,
    ) -> Outcome:
        """Run the experiment with one process disturbed, and check what must be so at its end.

        Parameters
        ----------
        who
            ``director``, the name of an envoy, or that of an envoy with ``-worker``.
        point
            Where it is disturbed.
        through
            Makes a proxy to an address, by which the envoy north then reaches the director.
        keepalive
            Milliseconds after which an envoy finds that nobody is at the other end; as in the field if left out.
        """
        folder = self.folder / f"{next(self._numbers)}"
        folder.mkdir()
        run = _Run(self, folder, who, point, keepalive)
        gives_up = threading.Timer(DEADLINE, run.give_up)
        gives_up.start()
        try:
            outcome = run.to_its_end(through)
            if self.__dict__.get("undisturbed"):
                assert outcome.exchanged_sha256 == self.undisturbed, "other bits than undisturbed"
            return outcome
        except Exception as error:
            raise AssertionError(f"{who}: {point}: {error}\n{run.told()}") from error
        finally:
            gives_up.cancel()
            run.give_up()

    def submit(self, federation: Federation) -> Any:
        """Submit the plan; models are built one at a time, since torch's generator is one for all."""
        with self._building:
            return federation.submit(self.plan, name="tiny")

    def until_none_is_left(
        self, who: str, kind: str, when: str = "before", what: str = "SIGKILL", every: int = 1
    ) -> int:
        """Disturb a process at its first, second, ... call of a kind until it makes no more.

        Parameters
        ----------
        who, kind, when, what
            As in `run` and `Point`.
        every
            Leave out the calls between.

        Returns
        -------
        int
            At how many points it was disturbed.
        """
        reached = 0
        failures: list[str] = []

        def at(number: int) -> bool:
            try:
                return self.run(who, Point(kind, number, when, what)).reached
            except AssertionError as error:
                failures.append(str(error))
                return True

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for first in itertools.count(1, AT_ONCE * every):
                hit = sum(pool.map(at, range(first, first + AT_ONCE * every, every)))
                reached += hit
                if not hit or len(failures) >= AT_ONCE:
                    break
        assert not failures, "\n\n".join(failures)
        return reached


class _Run:
    """One federation in a folder of its own."""

    def __init__(self, tiny: Tiny, folder: Path, who: str, point: Point | None, keepalive: int) -> None:
        self._tiny, self._folder, self._who, self._point = tiny, folder, who, point
        self._keepalive = keepalive
        self._address = f"127.0.0.1:{_free_port()}"
        self._federation = Federation(self._address, insecure=True)
        self._services: dict[str, Supervised] = {}
        self._reached = folder / "reached"
        self._gave_up = False

    def to_its_end(self, through: Callable[[str], Any] | None) -> Outcome:
        write_yaml(self._folder / "director.yaml", {"listen": self._address, "state": "state"})
        self._start("director", "director", "start", "-c", "director.yaml", "--insecure")
        self._wait("the director listens", (self._folder / "state" / "address").exists)
        proxy = through(self._address) if through else None
        for rank, name in enumerate(ENVOYS):
            config = {
                "name": name,
                "director": proxy.address if proxy and name == ENVOYS[0] else self._address,
                "devices": "cpu",
                "state": "envoys",
                "policy": {"unsigned": True},
                "shard_descriptor": shard_entry(self._tiny.images, rank, len(ENVOYS)),
            }
            write_yaml(self._folder / f"{name}.yaml", config)
            self._start(name, "envoy", "start", "-c", f"{name}.yaml", "--insecure")
        if self._point and self._point.what == "SIGSTOP":
            threading.Thread(target=self._thaw, daemon=True).start()
        info = self._tiny.submit(self._federation).watch(show=False)
        self._wait("the workers end", lambda: len(self._alive()) == len(self._services))
        self._wait("nothing is kept at the sites", lambda: not self._kept())
        # A connection of ours that is idle would keep the director from going down at once.
        self._federation.close()
        for name in (*ENVOYS, "director"):
            self._services[name].end()
        if self._services["director"].ends[-1] == -signal.SIGKILL:
            # It was killed as it went down: what it left is the affair of its next start.
            self._start("director", "director", "start", "-c", "director.yaml", "--insecure", disturbed=False)
            self._wait("the director listens", (self._folder / "state" / "address").exists)
            self._services["director"].end()
        assert not self._alive(), "a process is left"
        self._check_ends()
        assert not self._gave_up, f"not at its end after {DEADLINE} s"
        check_state(self._folder)
        return Outcome(info.exchanged_sha256, self._reached.exists())

    def give_up(self) -> None:
        """Kill all that runs still, so that nobody waits any more."""
        self._gave_up = True
        self._federation.close()
        for service in self._services.values():
            service.kill()

    def told(self) -> str:
        """Return the ends of the logs, and the events."""
        said = [
            f"== {log.name}\n" + "\n".join(log.read_text().splitlines()[-25:])
            for log in sorted(self._folder.glob("*.log"))
        ]
        ends = {name: service.ends for name, service in self._services.items()}
        return "\n".join([str(ends), *said])

    def _start(self, name: str, *arguments: str, disturbed: bool = True) -> None:
        point = asdict(self._point) if self._point and disturbed else None
        request = {
            "program": "fed",
            "name": name,
            "folder": str(self._folder),
            "arguments": arguments,
            "point": point if self._who == name else None,
            "worker_point": point if self._who == f"{name}-worker" else None,
            "keepalive": self._keepalive if name in ENVOYS else 0,
        }
        self._services[name] = Supervised(self._tiny.zygote, request)

    def _thaw(self) -> None:
        """Let a process that has stopped itself go on after a while."""
        if until(lambda: self._reached.exists() and self._reached.read_text(), DEADLINE):
            pid = int(self._reached.read_text())
            until(lambda: state_of(pid) == "T", DEADLINE)
            threading.Event().wait(FROZEN_SECONDS)
            os.kill(pid, signal.SIGCONT)

    def _check_ends(self) -> None:
        """Hold the exit codes to what was done: nobody ends otherwise than when told to, or by the point."""
        told = (
            {-getattr(signal, self._point.what)} if self._point and self._point.what == "SIGKILL" else set()
        )
        for name, service in self._services.items():
            # Who is told to end before it can take note is ended by the system.
            codes = {*service.ends} - {0, -signal.SIGTERM} - (told if name == self._who else set())
            if not (self._point and not self._point.what.startswith("SIG") and name == self._who):
                assert not codes, f"{name} ended with {service.ends}"

    def _kept(self) -> list[Path]:
        return [path for name in ENVOYS for path in (self._folder / "envoys" / name).glob("experiments/*")]

    def _alive(self) -> list[int]:
        alive: list[int] = ask(self._tiny.zygote, {"alive": str(self._folder)})
        return alive

    def _wait(self, what: str, condition: Callable[[], Any]) -> None:
        held = until(lambda: self._gave_up or condition(), DEADLINE)
        assert held, f"waited {DEADLINE} s until {what}"
        assert not self._gave_up, f"not at its end after {DEADLINE} s"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def tiny_federation(folder: Path) -> Iterator[Tiny]:
    """Start a zygote, and end it."""
    tiny = Tiny(folder)
    try:
        yield tiny
    finally:
        tiny.close()
