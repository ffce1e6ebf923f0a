"""A director's experiments and a model of one of them, told the same; the disk may fill and the director end meanwhile."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from federation.engine.aggregator import Aggregator
from federation.engine.results import TaskOutput
from federation.errors import Refused
from tests.director.experiment_model import Model
from tests.director.filling_disk import filling_disk
from tests.director.in_process import TRAIN, Director
from tests.director.known_work import samples, sums, update

NAMES = ("east", "north", "south", "west")
GRACE, LIMIT = 600.0, 400.0


def announced(name: str, as_it_was: bool) -> dict[str, Any]:
    """What an envoy says of itself when it comes, as it was or with other classes."""
    held = {"train": samples(name), "validation": samples(name)}
    return {"fingerprint": "f" * 64, "samples": held} | ({} if as_it_was else {"classes": ["no", "yes"]})


class DirectorAndModel(RuleBasedStateMachine):
    """Both, and which envoys have an order to work; rules are its subclasses'."""

    model: Model

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stack = ExitStack()
        self.stack.callback(shutil.rmtree, self.folder)
        self.disk = self.stack.enter_context(filling_disk())
        self.alive = Director(self.folder)
        self.ordered: set[str] = set()
        self.asked: float | None = None  # since when the director has had something to wait with

    def do(
        self, operation: Callable[[], object], predict: Callable[[], object], may_crash: bool = True
    ) -> None:
        """Tell the director and the model. It is told again if there was no room to write, perhaps after another start."""
        fired, may_crash = self.disk.fired, may_crash and self.can_crash()
        fits = dict(self.model.fits)
        try:
            operation()
            told = True
        except OSError:
            told = False
        crashes = may_crash and self.disk.crash and self.disk.fired > fired
        if not told:
            if crashes:
                self.kill()
                self.come_back(fits)
            operation()
        predict()
        self.model.look()
        if told and crashes and self.model.state == "running":
            fits = dict(self.model.fits)
            self.kill()
            self.come_back(fits)
        self.attend()

    def can_crash(self) -> bool:
        """Say whether a restart in the middle changes nothing but who is connected: no clock is due, and none is full."""
        return self.model.state == "running" and self.model.now < min(GRACE, LIMIT) and not self.model.full

    def attend(self) -> None:
        """Do what the director's thread does, until there is nothing left to do."""
        experiments = self.alive.experiments
        self.model.look()
        if self.asked is None and self.model.state == "running":
            self.asked = self.model.now
        for _ in range(20):
            fired = self.disk.fired
            experiments.attention.clear()
            due = experiments.attend()
            if due > 0 and not experiments.attention.is_set() and self.disk.fired == fired:
                break
        else:
            raise AssertionError("the director has always something to do")
        for name, envoy in self.alive.connections.items():
            while not envoy.orders.empty():  # type: ignore[attr-defined]
                order = envoy.orders.get()  # type: ignore[attr-defined]
                if order is not None and order.HasField("start"):
                    self.ordered.add(name)
                elif order is not None and order.HasField("stop"):
                    self.ordered.discard(name)

    def finds_room(self, name: str) -> None:
        self.do(lambda: self.alive.experiments.works("rows", name), lambda: self.model.full.discard(name))

    def result(self, name: str, number: int, task: str) -> None:
        """Hand in a result as the service does."""
        answers, expected = [], []

        def send() -> None:
            blob = ""
            try:
                with ExitStack() as stack:
                    tensors = update(name, number) if task == TRAIN else {}
                    blob = stack.enter_context(self.alive.blobs.stored(tensors)) if tensors else ""
                    output = TaskOutput(tensors, sums(name, number), blob or None)
                    live = self.running()
                    answers.append(live.send_local_task_results(name, number, task, samples(name), output))
            except Refused:
                answers.append("refused")
            finally:
                self.alive.experiments.discard(blob)

        def predict() -> None:
            expected.append(self.model.result(name, number, task))

        self.do(send, predict)
        assert answers == expected

    def kill(self) -> None:
        self.alive.journal.close()
        self.alive = Director(self.folder)
        if self.model.state == "running" and self.live() is None:
            # It found no room to go on, and has said that it must be started again.
            self.alive.journal.close()
            self.alive = Director(self.folder)
        self.ordered, self.asked = set(), None
        self.model.restart()
        self.attend()

    def come_back(self, fits: dict[str, bool]) -> None:
        for name, as_it_was in fits.items():
            self.model.fits[name] = as_it_was
            self.alive.connect_as(name, **announced(name, as_it_was))
            self.attend()

    def live(self) -> Aggregator | None:
        return self.alive.experiments.live("rows")

    def running(self) -> Aggregator:
        live = self.live()
        assert live is not None
        return live

    def workers(self) -> list[str]:
        return [name for name in NAMES if self.model.open_tasks(name) and name in self.ordered]

    def given(self, name: str) -> list[str]:
        live = self.live()
        return (live.get_tasks(name)[0] or []) if live is not None else []

    def durable(self) -> Any:
        journal = self.alive.journal
        row = vars(self.alive.experiments.experiment("rows")) | {"reason": ""}
        return row, journal.members("rows"), journal.opened("rows"), journal.results("rows")
