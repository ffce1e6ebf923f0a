"""Collaborators of a simulation in processes of their own, which reach the aggregator over pipes.

A message is a JSON header and tensors in the safetensors layout; nothing is pickled.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from federation.engine.aggregator import Aggregator
from federation.engine.client import StaleRound, rounds_to
from federation.engine.results import TaskOutput
from federation.errors import FederationError, Refused
from federation.tensors import Tensors, pack, unpack

logger = logging.getLogger(__name__)


class PipeLink:
    """A worker's end of its pipe: one question, one answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(
        self, what: str, tensors: Tensors | None = None, statistics: Tensors | None = None, **header: Any
    ) -> Any:
        """Ask the parent; tensors in an answer come back as such.

        Raises
        ------
        StaleRound, Refused
            As the aggregator raised it.
        """
        _send(self._connection, {"what": what, **header}, tensors or {}, statistics or {})
        answer, model, _ = _receive(self._connection)
        if "stale" in answer:
            raise StaleRound(answer["stale"])
        if "refused" in answer:
            raise Refused(answer["refused"])
        return model if what == "get_model" else answer.get("value")


class PipeClient:
    """The `federation.engine.client.AggregatorClient` of one collaborator in a worker."""

    def __init__(self, link: PipeLink, name: str) -> None:
        self._link = link
        self._name = name
        self._counted: int | None = None

    def get_tasks(self) -> tuple[list[str] | None, int, int, bool]:
        """Ask for tasks without waiting."""
        (tasks, round_number, sleep, time_to_quit), self._counted = self._link.ask(
            "get_tasks", name=self._name
        )
        return tasks, round_number, sleep, time_to_quit

    def counted(self) -> int | None:
        """Return what came with the last tasks."""
        return self._counted

    def get_model(self, round_number: int) -> Tensors:
        """Ask for the round's model."""
        model: Tensors = self._link.ask("get_model", round=round_number)
        return model

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        """Send a task's output."""
        header = {"name": self._name, "round": round_number, "task": task_name, "data_size": data_size}
        return bool(self._link.ask("send", named_tensors.tensors, named_tensors.statistics, **header))


def run_workers(
    aggregator: Aggregator, orders: Mapping[str, Any], envoys: Sequence[Sequence[str]], target: Any
) -> None:
    """Run worker processes until all have ended.

    Parameters
    ----------
    aggregator
        Answers the workers' questions.
    orders
        Plain data that every worker is given.
    envoys
        The names that each worker runs.
    target
        A module-level function ``target(connection, orders_as_json, names)`` that a worker runs.
    """
    context = get_context("spawn")
    threads, processes = [], []
    for names in envoys:
        parent, child = context.Pipe()
        process = context.Process(
            target=target, args=(child, json.dumps(dict(orders)), list(names)), daemon=True
        )
        with _deaf_to_interrupts():
            process.start()
        child.close()
        thread = threading.Thread(target=_serve, args=(aggregator, parent, names), daemon=True)
        thread.start()
        processes.append(process)
        threads.append(thread)
    try:
        for thread in threads:
            thread.join()
        aggregator.stop()
        for process in processes:
            process.join(30)
    finally:
        # Whoever interrupts does not wait for what is being trained.
        aggregator.stop()
        for process in processes:
            if process.is_alive():
                process.kill()


def end_with_parent() -> None:
    """Let this worker end when its parent is gone: it must not write to the folder of a run that has been gone on with."""
    if (parent := parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let what is started here leave Ctrl-C, which comes to all processes of a terminal, to its parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(aggregator: Aggregator, connection: Connection, names: Sequence[str]) -> None:
    try:
        while True:
            header, tensors, statistics = _receive(connection)
            try:
                value, model = _answer(aggregator, header, TaskOutput(tensors, statistics))
                _send(connection, {"value": value}, model, {})
            except StaleRound as error:
                _send(connection, {"stale": str(error)}, {}, {})
            except FederationError as error:
                _send(connection, {"refused": str(error)}, {}, {})
    except (EOFError, OSError):
        for name in names:
            aggregator.fail(name, "its process died")
    except Exception as error:
        logger.exception("a worker's question could not be answered")
        aggregator.abort(f"{type(error).__name__}: {error}")


def _answer(aggregator: Aggregator, header: Mapping[str, Any], output: TaskOutput) -> tuple[Any, Tensors]:
    what = header["what"]
    if what == "get_tasks":
        tasks = aggregator.get_tasks(header["name"])
        return (tasks, rounds_to(aggregator.counted_of(header["name"]))), {}
    if what == "get_model":
        return None, aggregator.get_model(header["round"])
    if what == "wait_for_work":
        aggregator.wait_for_work(header["names"])
        return None, {}
    if what == "fail":
        aggregator.fail(header["name"], header["reason"], header["traceback"], header["kind"])
        return None, {}
    name = header["name"]
    try:
        return aggregator.send_local_task_results(
            name, header["round"], header["task"], header["data_size"], output
        ), {}
    except Refused as error:
        aggregator.fail(name, f"its result was refused: {error}")
        raise


def _send(connection: Connection, header: Mapping[str, Any], tensors: Tensors, statistics: Tensors) -> None:
    connection.send_bytes(json.dumps(header).encode())
    connection.send_bytes(pack(tensors))
    connection.send_bytes(pack(statistics))


def _receive(connection: Connection) -> tuple[dict[str, Any], Tensors, Tensors]:
    header = json.loads(connection.recv_bytes())
    return header, unpack(connection.recv_bytes()), unpack(connection.recv_bytes())
