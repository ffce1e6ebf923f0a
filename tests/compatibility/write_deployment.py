"""What director, envoys and workspace of this version leave behind and say: a state folder, and the bytes of their calls."""

from __future__ import annotations

import json
import lzma
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import yaml

from envoy.client import GrpcAggregatorClient
from envoy.connection import Connection
from envoy.worker import WorkOrder, _collaborate
from federation.link import KNOCK, Link
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from federation.tensors import Tensors, digest, measure, open_mapped, pack
from tests.compatibility.recording import Call, RecordingProxy
from tests.deployment import Deployment, Service, shard_entry, write_yaml
from workspace.client import Federation

ENVOYS = ("north", "south")


class BrokenOff(Exception):  # noqa: N818
    """The upload has been broken off, as was wanted."""


class BreaksOff(GrpcAggregatorClient):
    """An envoy's client that in round 1 keeps its validation to itself, sends half of what it has trained, and ends."""

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: Any
    ) -> bool:
        """Send a result; of round 1 half of one."""
        if round_number == 1 and task_name != "train":
            return True
        return super().send_local_task_results(round_number, task_name, data_size, named_tensors)

    def _upload(self, stub: Any, info: pb.ResultInfo, tensors: Tensors, have: int) -> pb.Receipt:
        if info.round == 0:
            return super()._upload(stub, info, tensors, have)
        upload_half(stub, info, pack(tensors), self._metadata)
        raise BrokenOff


def upload_half(stub: Any, info: pb.ResultInfo, data: bytes, metadata: tuple[tuple[str, str], ...]) -> None:
    """Send half of what was announced."""
    pieces = (pb.ResultChunk(info=info), pb.ResultChunk(data=data[: len(data) // 2]))
    with suppress(grpc.RpcError):
        stub.SendTaskResults(iter(pieces), metadata=metadata, timeout=60)
        raise AssertionError("half of a result was taken")


def write_state(
    plan: Path, target: Path, work: Path, make_data: Callable[[str, Path], Path]
) -> dict[str, Any]:
    """Kill a director with experiments finished, stopped, failed, queued, and one in the middle of its last round.

    Of that round (the second of two) each result of north is recorded; of what south has trained half lies in ``uploads/``, and
    nothing else of south is there.
    """
    speech = make_data("keyword_spotting", work)
    shards = {name: shard_entry(speech, rank, len(ENVOYS)) for rank, name in enumerate(ENVOYS)}
    with Deployment(work) as deployment:
        deployment.start_director()
        envoys = {name: deployment.start_envoy(name, shard) for name, shard in shards.items()}
        with deployment.federation() as federation:
            first = federation.submit(plan, name="first")
            sha256 = first.watch(show=False).exchanged_sha256
            federation.submit(plan, ["federation.settings.envoys=3"], name="stopped").stop()
            failed = federation.submit(plan, ["aggregator.settings.rounds_to_train=200"], name="failed")
            next(e for e in failed.events(follow=True) if e.kind == "round_started")
            with Connection(deployment.address, "north", str(work / "certificates")).link() as link:
                GrpcAggregatorClient(link, "failed").report_failure("the data have gone", "Traceback\n  ...")
            second = federation.submit(plan, name="second")
            federation.submit(plan, name="third")
            next(e for e in second.events(follow=True) if e.kind == "round_started")
            envoys["south"].end(signal.SIGKILL)
            break_off(deployment, "second", shards["south"])
            for event in second.events(follow=True):
                if event.kind == "result" and (event.body["round"], event.body["task"]) == (
                    1,
                    "locally_tuned_model_validation",
                ):
                    break
            deployment.director.end(signal.SIGKILL)
        assert digest(open_mapped(work / "state" / "blobs" / sha256)) == sha256
    state = work / "state"
    with sqlite3.connect(state / "journal.sqlite") as journal:
        journal.execute("PRAGMA journal_mode=DELETE")
        states = dict(journal.execute("SELECT name, state FROM experiments").fetchall())
        results = journal.execute(
            "SELECT experiment, round, envoy, task FROM results ORDER BY task"
        ).fetchall()
    journal.close()
    others = {"stopped": "stopped", "failed": "failed"}
    assert states == others | {"first": "finished", "second": "running", "third": "queued"}, states
    assert len(results) == 3 and {result[:3] for result in results} == {("second", 1, "north")}, results
    (partial,) = (state / "uploads").glob("*/*.partial")
    target.mkdir()
    shutil.copy(state / "journal.sqlite", target)
    for folder in ("blobs", "uploads"):
        shutil.copytree(state / folder, target / folder, ignore=shutil.ignore_patterns("*.part"))
    return {
        "exchanged_sha256": sha256,
        "results_of_the_open_round": len(results),
        "partial": partial.relative_to(state).as_posix(),
        "partial_bytes": partial.stat().st_size,
    }


def break_off(deployment: Deployment, experiment: str, shard: dict[str, Any]) -> None:
    """Do the work of south in this process, until half of what it trains in round 1 is at the director."""
    with sqlite3.connect(deployment.folder / "state" / "journal.sqlite") as journal:
        told = "SELECT plan, frozen_fingerprint, code_hash FROM experiments WHERE name = ?"
        plan, fingerprint, code = journal.execute(told, (experiment,)).fetchone()
    journal.close()
    certificates = str(deployment.certificates)
    connection = {"director": deployment.address, "name": "south", "certificates": certificates}
    order = WorkOrder(
        experiment=experiment,
        plan=plan,
        frozen_fingerprint=fingerprint,
        code_hash=code,
        device="cpu",
        connection=connection,
        shard_descriptor=shard,
        checkpoints={},
        log_level="info",
        state=str(deployment.folder / "south"),
        downloads=str(deployment.folder),
    )
    with Connection(**connection).link() as link, suppress(BrokenOff):
        _collaborate(order, "south", BreaksOff(link, experiment))
        raise AssertionError("it did not break off")


def write_calls(plan: Path, target: Path, work: Path, make_data: Callable[[str, Path], Path]) -> None:
    """Run an experiment of one round through a proxy, and make by hand the calls that it has no need of.

    All calls of that experiment are kept, in the order of their first answers; of the others each once.
    """
    speech = make_data("keyword_spotting", work)
    with Deployment(work) as deployment:
        write_yaml(work / "director_config.yaml", {"listen": "127.0.0.1:0", "state": "state"})
        director = deployment.start("director", "start", "-c", "director_config.yaml", "--insecure")
        port = director.wait_for(r"director listening on .*:(\d+)")[1]
        proxy = RecordingProxy(f"127.0.0.1:{port}")
        for rank, name in enumerate(ENVOYS):
            start_insecure_envoy(deployment, name, proxy.address, shard_entry(speech, rank, 2))
        with Federation(proxy.address, insecure=True) as federation:
            federation.envoys()
            done = federation.submit(plan, ["aggregator.settings.rounds_to_train=1"], name="done")
            done.watch(show=False)
            done.tensors("best")
            broken = federation.submit(plan, ["aggregator.settings.rounds_to_train=200"], name="broken")
            next(e for e in broken.events(follow=True) if e.kind == "round_started")
            with Connection(proxy.address, "north", None).link() as link:
                offer_and_fail(link)
            federation.submit(plan, ["federation.settings.envoys=3"], name="waits").stop()
            federation.experiments()
        # A caller that does not say who it is.
        with grpc.insecure_channel(proxy.address) as channel, suppress(grpc.RpcError):
            rpc.DirectorStub(channel).ListEnvoys(pb.Empty(), timeout=30)
        for service in reversed(deployment.services):
            service.end()
        proxy.close()
    kept = [call for call in proxy.answered if is_kept(call)]
    methods = {call.method.rpartition("/")[2] for call in kept}
    service = pb.DESCRIPTOR.services_by_name["Director"]
    assert methods == {method.name for method in service.methods}, methods
    target.write_bytes(pack_calls(kept))


def pack_calls(calls: list[Call]) -> bytes:
    """Return calls as a file of them has them."""
    lines = "".join(json.dumps(call.to_json()) + "\n" for call in calls)
    return lzma.compress(lines.encode())  # the same model is in many of them


def is_kept(call: Call) -> bool:
    """Whether a call is one that is made again in the same order with the same answer."""
    if call.method == KNOCK or not call.requests:
        return False
    # What workers send to the experiment that is made to fail depends on how far they came.
    method = call.method.rpartition("/")[2]
    by_hand = method in ("OfferResult", "ReportFailure") or call.code == "UNAVAILABLE"
    worked = method in ("GetTasks", "GetModel", "SendTaskResults")
    return call.metadata.get(EXPERIMENT_KEY) != "broken" or by_hand or not worked


def offer_and_fail(link: Link) -> None:
    """Break an upload off, ask how much of it is there, and report a failure."""
    tensors: Tensors = {"weight": np.arange(256, dtype="<f4")}
    sha256, size = measure(tensors)
    info = pb.ResultInfo(round=0, task="train", data_size=8, statistics=pack({}))
    info.blob.CopyFrom(pb.Blob(sha256=sha256, size=size))
    metadata = ((EXPERIMENT_KEY, "broken"),)
    link.call(lambda stub: upload_half(stub, info, pack(tensors), metadata))
    offer = link.call(lambda stub: stub.OfferResult(info, metadata=metadata, timeout=30))
    assert offer.have == size // 2
    failure = "Traceback (most recent call last):\n  ..."
    GrpcAggregatorClient(link, "broken").report_failure("the disk is full", failure)


def start_insecure_envoy(deployment: Deployment, name: str, director: str, shard: dict[str, Any]) -> Service:
    """Start an envoy without certificates and wait until it is connected."""
    config = {
        "name": name,
        "director": director,
        "devices": "cpu",
        "state": "envoys",
        "shard_descriptor": shard,
        "policy": {"unsigned": True},
    }
    (deployment.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    envoy = deployment.start("envoy", "start", "-c", f"{name}.yaml", "--insecure")
    envoy.wait_for("connected to the director")
    return envoy
