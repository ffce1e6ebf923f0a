"""One experiment at one site, in a process of its own: ``python -m envoy.worker``, its order a line of JSON on standard input.

A process for each experiment, because learning code draws on generators and thread counts that are global, and because what it
does (run out of memory, crash) must not harm the agent nor another experiment. It tells the agent, by lines on standard output,
that a result was taken, or why it has failed; the agent lives on to tell the director.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from envoy.client import GrpcAggregatorClient
from envoy.connection import Connection
from envoy.frozen import frozen_part
from envoy.hours import Hours, OutsideHours
from envoy.policy import refusal_of_model
from envoy.room import what_is_full, words_of
from federation.code import code_hash
from federation.equal_code import is_equal
from federation.errors import FederationError, Refused, kind_of
from federation.federation_file import open_shard
from federation.logs import configure
from federation.permissions import keep_private
from federation.plan import plan_from_json
from federation.protocol import federation_pb2 as pb
from federation.schema import Component
from federation.tensors import Tensors

logger = logging.getLogger("envoy.worker")

TAKEN, FAILED = "taken", "failed"


@dataclass(frozen=True)
class WorkOrder:
    """All that a worker needs to know; plain data."""

    experiment: str
    plan: str
    frozen_fingerprint: str
    code_hash: str
    device: str
    connection: dict[str, Any]
    shard_descriptor: dict[str, Any]
    checkpoints: dict[str, str]
    log_level: str
    state: str
    downloads: str
    hub: bool = True
    hours: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict)
    model_sha256: str = ""  # of the initial model, where somebody has signed it
    model_size: int = 0
    frozen: str = ""  # the folder of what is frozen by value; and what of it is needed, if anything is
    frozen_sha256: str = ""
    frozen_size: int = 0

    def to_json(self) -> str:
        """Write the order for the worker's standard input."""
        return json.dumps(dataclasses.asdict(self))


def work(order: WorkOrder, taken: Callable[[], None]) -> None:
    """Take part in an experiment until its aggregator says quit; ``taken`` is called for each result that it has taken."""
    connection = Connection(**order.connection)
    hours = Hours.parse(order.hours)
    signed = pb.Blob(sha256=order.model_sha256, size=order.model_size) if order.model_sha256 else None
    with connection.link() as link:
        client = GrpcAggregatorClient(
            link, order.experiment, taken, Path(order.downloads), hours.require, signed
        )
        _collaborate(order, connection.name, client)


def _collaborate(order: WorkOrder, name: str, client: GrpcAggregatorClient) -> None:
    plan = plan_from_json(order.plan, order.experiment)
    # The code may have been replaced since the envoy announced what it has.
    if not is_equal(found := code_hash(plan.experiment), order.code_hash):
        raise Refused(
            f"{name}: the code of the experiment {plan.experiment} is another one ({found[:12]}) than it was submitted with "
            f"({order.code_hash[:12]}); install the same and restart the envoy"
        )
    if not order.hub:
        os.environ["HF_HUB_OFFLINE"] = "1"
    # Threads must be fixed before torch is imported to hold for all of its pools.
    os.environ["OMP_NUM_THREADS"] = str(plan.federation.torch_threads)
    from federation.engine.build import Site, build_collaborator

    shard = open_shard(Component(**order.shard_descriptor))
    frozen = _frozen_part(order, client)
    site = Site(name, order.device, order.checkpoints, order.frozen_fingerprint, frozen, order.state)
    collaborator = build_collaborator(plan, shard, client, site)
    runner = collaborator.task_runner
    disk_bytes = runner.disk_bytes + order.frozen_size
    if (reason := refusal_of_model(order.bounds, runner.parameters, disk_bytes)) is not None:
        raise Refused(reason)
    client.most_bytes = runner.most_bytes
    collaborator.run()


def _frozen_part(order: WorkOrder, client: GrpcAggregatorClient) -> Tensors:
    """Return what the experiment has frozen by value: nothing, what is here, or what the director sends."""
    if not order.frozen_sha256:
        return {}
    if (reason := refusal_of_model(order.bounds, 0, order.frozen_size)) is not None:
        raise Refused(reason)
    announced = pb.Blob(sha256=order.frozen_sha256, size=order.frozen_size)
    return frozen_part(Path(order.frozen), order.frozen_sha256, partial(client.get_frozen, announced))


def _end_with_the_agent() -> None:
    """Wait for the end of standard input, which the agent holds open, and end this process at once."""
    sys.stdin.read()
    os._exit(1)


def _line_to_the_agent() -> TextIO:
    """Keep standard output for the agent; what learning code prints goes to standard error."""
    line = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return line


def _failure_of(error: Exception) -> dict[str, Any]:
    """Describe an error as the fields of the message that tells the director of it."""
    told = traceback.format_exc()
    if (full := what_is_full(error)) is not None:
        return {"reason": words_of(full), "traceback": told, "passing": True}
    if isinstance(error, OutsideHours):
        return {"reason": str(error), "passing": True}
    reason = str(error) if isinstance(error, FederationError) else f"{type(error).__name__}: {error}"
    line = reason.splitlines()[0] if reason else type(error).__name__
    return {"reason": line, "traceback": told, "kind": kind_of(error)}


def main() -> int:
    """Run the order on standard input; 0 when the experiment has ended, an error's exit code otherwise."""
    line = _line_to_the_agent()

    def say(*words: str) -> None:
        # Without an agent this process is about to end.
        with suppress(OSError):
            print(*words, file=line, flush=True)

    keep_private()
    order = WorkOrder(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_the_agent, daemon=True).start()
    configure(order.log_level)
    try:
        work(order, lambda: say(TAKEN))
    except Exception as error:
        failure = _failure_of(error)
        logger.exception("experiment %s: %s", order.experiment, failure["reason"])
        say(FAILED, json.dumps(failure))
        return error.exit_code if isinstance(error, FederationError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
