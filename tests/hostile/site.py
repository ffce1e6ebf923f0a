"""A real envoy's agent that listens to a hostile director over mTLS, and what the members of their federation sign."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc

from envoy.agent import Agent
from envoy.config import EnvoyConfig
from federation.certificates import make_authority, make_member
from federation.identity import Credentials
from federation.introduction import answer
from federation.plan import plan_from_json
from federation.protocol import federation_pb2 as pb
from federation.schema import load
from federation.signing import sign, text_of_amendment, text_of_submission
from tests.deployment import TINY_PLAN, write_yaml
from tests.federation.fake_director import FakeDirector, serving
from tests.image_data import make_image_folder, shard_entry

DEADLINE = 60.0
NUMBERS = itertools.count(1)


class Hostile(FakeDirector):
    """Sends the orders that a test makes up, and hears what the site says of them."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self.credentials = credentials
        self.orders: SimpleQueue[pb.Order | None] = SimpleQueue()
        self.failures: SimpleQueue[pb.Failure] = SimpleQueue()
        self.announced: SimpleQueue[pb.Announcement] = SimpleQueue()

    def Introduce(self, request: pb.Challenge, context: grpc.ServicerContext) -> pb.Introduction:
        return answer(request, self.credentials)

    def Connect(self, request: pb.Announcement, context: grpc.ServicerContext) -> Iterator[pb.Order]:
        self.announced.put(request)
        yield pb.Order(connected=pb.Empty())
        while (order := self.orders.get()) is not None:
            yield order

    def ReportFailure(self, request: pb.Failure, context: grpc.ServicerContext) -> pb.Receipt:
        self.failures.put(request)
        return pb.Receipt(counted=True)

    def orders_and_hears(self, start: pb.Start) -> str:
        """Order an experiment, and return why the site does not run it."""
        self.orders.put(pb.Order(stop=start.experiment))  # what was said of it before is told no more
        self.orders.put(pb.Order(start=start))
        return str(self.failures.get(timeout=DEADLINE).reason)


@dataclass
class Site:
    """A federation's certificates, a hostile director, and the folder of the envoy that listens to it."""

    folder: Path
    director: Hostile

    def member(self, name: str) -> Credentials:
        return Credentials(self.folder, name)

    def submission(self, by: str = "alice", **changes: Any) -> pb.Submission:
        """What a workspace hands in, signed."""
        plan = json.dumps(TINY_PLAN)
        submission = pb.Submission(
            name="words",
            id=f"submission-{next(NUMBERS)}",
            plan=plan_from_json(plan, "words").to_json(),
            code_hash="c" * 64,
            frozen_fingerprint="f" * 64,
            blob=pb.Blob(sha256="a" * 64, size=1000),
            director="director",
        )
        submission.MergeFrom(pb.Submission(**changes))
        submission.signature.CopyFrom(sign(self.member(by), text_of_submission(submission)))
        return submission

    def start(self, submission: pb.Submission | None = None) -> pb.Start:
        """What an honest director makes of it, under a name of its own."""
        submission = submission or self.submission()
        return pb.Start(
            experiment=f"words-{next(NUMBERS)}",
            plan=plan_from_json(submission.plan, "words").to_json(),
            frozen_fingerprint=submission.frozen_fingerprint,
            code_hash=submission.code_hash,
            submitted=submission,
        )

    def amend(
        self, start: pb.Start, by: str = "alice", number: int | None = None, **changes: str
    ) -> pb.Signature:
        """Add a signed change to an order, and do as it says."""
        number = number or len(start.amendments) + 1
        settings = {key.replace("__", "."): value for key, value in changes.items()}
        text = text_of_amendment(start.submitted.director, start.submitted.id, number, settings)
        signature = sign(self.member(by), text)
        start.amendments.add(settings=settings, number=number, signature=signature)
        for key, value in settings.items():
            if key != "accept_code":
                change_plan(start, key, json.loads(value))
        return start.amendments[-1].signature


def change_plan(start: pb.Start, key: str, value: Any) -> None:
    """Let an order's plan differ from what was submitted."""
    plan = json.loads(start.plan)
    section, _, name = key.split(".")
    plan[section]["settings"][name] = value
    start.plan = plan_from_json(json.dumps(plan), "words").to_json()


@contextmanager
def listening(folder: Path, policy: dict[str, Any]) -> Iterator[Site]:
    """Run a site of some policy."""
    make_authority(folder)
    make_member(folder, "director", "director", ["127.0.0.1", "localhost"])
    make_member(folder, "north", "envoy")
    for name in ("alice", "bob", "mallory"):
        make_member(folder, name, "workspace")
    director = Hostile(Credentials(folder, "director"))
    with serving(director, credentials=director.credentials) as address:
        content = {
            "name": "north",
            "director": address,
            "certificates": str(folder),
            "state": str(folder / "state"),
            "shard_descriptor": shard_entry(make_image_folder(folder / "images", count=4), 0, 1),
            "policy": policy,
        }
        config = load(write_yaml(folder / "envoy_config.yaml", content), EnvoyConfig)
        agent = Agent(config, [pb.Device(name="cpu")])
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            yield Site(folder, director)
        finally:
            director.orders.put(None)
            agent.stop()
            thread.join(DEADLINE)
            assert not thread.is_alive()
