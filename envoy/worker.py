"""One experiment at one site, in a process of its own: ``python -m envoy.worker``, its order a line of JSON on standard input.

A process for each experiment, because learning code draws on generators and thread counts that are global, and because what it
does (run out of memory, crash) must not harm the agent nor another experiment.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Any

from envoy.client import GrpcAggregatorClient
from envoy.connection import Connection
from federation.code import code_hash
from federation.equal_code import is_equal
from federation.errors import FederationError, Refused
from federation.federation_file import open_shard
from federation.logs import configure
from federation.plan import plan_from_json
from federation.schema import Component

logger = logging.getLogger("envoy.worker")


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

    def to_json(self) -> str:
        """Write the order for the worker's standard input."""
        return json.dumps(dataclasses.asdict(self))


def work(order: WorkOrder) -> None:
    """Take part in an experiment until its aggregator says quit; what goes wrong is reported to the director."""
    connection = Connection(**order.connection)
    with connection.link() as link:
        client = GrpcAggregatorClient(link, order.experiment)
        try:
            _collaborate(order, connection.name, client)
        except Exception as error:
            reason = str(error) if isinstance(error, FederationError) else f"{type(error).__name__}: {error}"
            logger.exception("experiment %s: %s", order.experiment, reason)
            client.report_failure(
                reason.splitlines()[0] if reason else type(error).__name__, traceback.format_exc()
            )
            raise


def _collaborate(order: WorkOrder, name: str, client: GrpcAggregatorClient) -> None:
    plan = plan_from_json(order.plan, order.experiment)
    # The code may have been replaced since the envoy announced what it has.
    if not is_equal(found := code_hash(plan.experiment), order.code_hash):
        raise Refused(
            f"{name}: the code of the experiment {plan.experiment} is another one ({found[:12]}) than it was submitted with "
            f"({order.code_hash[:12]}); install the same and restart the envoy"
        )
    # Threads must be fixed before torch is imported to hold for all of its pools.
    os.environ["OMP_NUM_THREADS"] = str(plan.federation.torch_threads)
    from federation.engine.build import Site, build_collaborator

    shard = open_shard(Component(**order.shard_descriptor))
    site = Site(name, order.device, order.checkpoints, order.frozen_fingerprint, order.state)
    build_collaborator(plan, shard, client, site).run()


def _end_with_the_agent() -> None:
    """Wait for the end of standard input, which the agent holds open, and end this process at once."""
    sys.stdin.read()
    os._exit(1)


def main() -> int:
    """Run the order on standard input; 0 when the experiment has ended, an error's exit code otherwise."""
    order = WorkOrder(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_the_agent, daemon=True).start()
    configure(order.log_level)
    try:
        work(order)
    except FederationError as error:
        return error.exit_code
    except Exception:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
