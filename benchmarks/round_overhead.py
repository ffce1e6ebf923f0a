"""What a round costs beside training: a director and two envoys over mTLS on the loopback address, without learning.

Two envoys, each a process with the real collaborator, client and certificates, download the round's model, add one to it and
upload it. The director, started by ``fed director start``, checks, journals, aggregates and stores. The baseline is measured in
the same run: as many bytes, down and up, as bare gRPC streams between a server process and two client processes, with the same
chunk size and certificates; nothing is checked, hashed, summed or stored.

    python benchmarks/round_overhead.py
    python benchmarks/round_overhead.py --parameters 94600000 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from experiment_without_learning import CLASSES, EXPERIMENT, submit

from envoy.client import GrpcAggregatorClient
from federation.certificates import make_authority, make_member
from federation.code import code_hash, project_version
from federation.identity import Credentials, Identity
from federation.link import Link
from federation.plan import plan_from_json
from federation.protocol import federation_pb2 as pb
from federation.statistics import classification
from federation.tensors import Tensors, chunks
from workspace.client import Federation

ENVOYS = ("north", "south")
OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)]
DEADLINE = 600.0
spawn = multiprocessing.get_context("spawn")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--parameters", type=int, default=5_000_000, help="float32 parameters (default 5000000)"
    )
    parser.add_argument("--tensors", type=int, default=215, help="how many tensors hold them (default 215)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="measured rounds, after a first one (default 5)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    tensors = random_tensors(arguments.parameters, arguments.tensors)
    with tempfile.TemporaryDirectory(prefix="round-overhead-") as name:
        folder = Path(name)
        make_authority(folder)
        make_member(folder, "director", "director", ["localhost"])
        make_member(folder, "workspace", "workspace")
        for envoy in ENVOYS:
            make_member(folder, envoy, "envoy")
        streams = time_streams(folder, [len(piece) for piece in chunks(tensors)], arguments.rounds)
        rounds, memory = time_rounds(folder, tensors, arguments.rounds)
    outcome = {
        "parameters": arguments.parameters,
        "tensors": len(tensors),
        "round_seconds": round(statistics.median(rounds), 4),
        "stream_seconds": round(statistics.median(streams), 4),
        "ratio": round(statistics.median(rounds) / statistics.median(streams), 2),
        "director_peak_gib": memory,
    }
    if arguments.json:
        print(json.dumps(outcome, indent=2))
        return
    print(f"{arguments.parameters:,} float32 parameters in {len(tensors)} tensors, two envoys")
    for what, seconds in (("a round", rounds), ("bare streams", streams)):
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{what:13} {middle:7.3f} s  ({low:.3f} to {high:.3f})")
    print(f"ratio         {outcome['ratio']:7.2f}")
    if memory is not None:
        print(f"director      {memory:7.2f} GiB at its peak")


def random_tensors(parameters: int, count: int) -> dict[str, Any]:
    """Divide the parameters evenly; what is left over goes to the last tensor."""
    draw = np.random.default_rng(0).standard_normal
    sizes = [parameters // count] * (count - 1)
    sizes.append(parameters - sum(sizes))
    return {f"layer.{i:04d}.weight": draw(size, dtype=np.float32) for i, size in enumerate(sizes)}


def time_rounds(folder: Path, tensors: Tensors, rounds: int) -> tuple[list[float], float | None]:
    """Return the seconds from the end of each round to the end of the next, and the director's peak memory in GiB."""
    config = {"listen": "127.0.0.1:0", "certificates": ".", "state": "state"}
    (folder / "director.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [str(Path(sys.executable).with_name("fed")), "director", "start", "-c", "director.yaml"]
    director = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    workers: list[Any] = []
    try:
        address = _listening(director)
        for name in ENVOYS:
            workers.append(spawn.Process(target=collaborate, args=(folder, name, address, list(tensors))))
            workers[-1].start()
        with Federation(address, folder) as federation:
            events = submit(federation, "overhead", tensors, len(ENVOYS), rounds + 1, DEADLINE).events(
                follow=True
            )
            times = [event.time for event in events if event.kind == "round_closed"]
        for worker in workers:
            worker.join(DEADLINE)
        memory = _peak_gib(director.pid)
    finally:
        for worker in workers:
            worker.kill()
        director.terminate()
        director.wait(DEADLINE)
    return list(np.diff(times)), memory


def collaborate(folder: Path, name: str, address: str, tensors: Sequence[str]) -> None:
    """Be an envoy: announce, wait for the order, run the collaborator with a task runner that learns nothing."""
    from federation.engine.collaborator import Collaborator

    announcement = pb.Announcement(
        version=project_version(),
        dataset="none",
        classes=CLASSES,
        experiments=[EXPERIMENT],
        code_hashes={EXPERIMENT: code_hash(EXPERIMENT)},
        samples={"train": 1, "validation": 1},
    )
    with Link(address, Identity(name, "envoy"), folder) as link:
        orders = link.stream(lambda stub: stub.Connect(announcement))
        start = next(order.start for order in orders if order.HasField("start"))
        tasks = plan_from_json(start.plan, start.experiment).config["tasks"]
        client = GrpcAggregatorClient(link, start.experiment)
        Collaborator(name, "aggregator", start.experiment, client, AddOne(tensors), tasks).run()
        orders.close()


class AddOne:
    """A task runner whose training adds one to every parameter."""

    def __init__(self, tensors: Sequence[str]) -> None:
        from openfl.utilities import TensorKey

        self._key = TensorKey
        self._tensors = tensors

    def set_optimizer_treatment(self, treatment: str) -> None:
        """Do nothing: there is no optimizer."""

    def get_required_tensorkeys_for_function(self, function: str, **kwargs: Any) -> list[Any]:
        """Ask for the aggregate."""
        return [self._key(name, "GLOBAL", 0, False, ("model",)) for name in self._tensors]

    def train_task(
        self, col_name: str, round_num: int, input_tensor_dict: Tensors, **kwargs: Any
    ) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Return each tensor with one added, and the sums of one sample."""
        label = np.zeros(1, np.int64)
        sums = classification(label, label, np.ones(1), len(CLASSES))
        trained = {name: value + np.float32(1) for name, value in input_tensor_dict.items()}
        sent = {self._key(n, col_name, round_num, False, ("trained",)): v for n, v in trained.items()}
        return sent | {self._key(n, col_name, round_num, False, ("metric",)): v for n, v in sums.items()}, {}


def time_streams(folder: Path, sizes: Sequence[int], rounds: int) -> list[float]:
    """Return the seconds in which both clients get all chunks and have sent them back, time by time."""
    answers = spawn.Queue()
    turn = spawn.Barrier(len(ENVOYS) + 1)
    server = spawn.Process(target=serve_streams, args=(folder, sizes, answers))
    server.start()
    clients: list[Any] = []
    try:
        address = f"localhost:{answers.get(timeout=DEADLINE)}"
        for name in ENVOYS:
            arguments = (folder, name, address, sizes, rounds + 1, turn)
            clients.append(spawn.Process(target=use_streams, args=arguments))
            clients[-1].start()
        times = []
        for _ in range(rounds + 2):
            turn.wait(DEADLINE)
            times.append(time.monotonic())
    finally:
        for process in (*clients, server):
            process.kill()
            process.join()
    return list(np.diff(times)[1:])


def serve_streams(folder: Path, sizes: Sequence[int], answers: Any) -> None:
    """Serve chunks down and count those that come up."""

    def down(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        return (bytes(size) for size in sizes)

    def up(pieces: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        assert sum(len(piece) for piece in pieces) == sum(sizes)
        return b""

    handlers = {
        "down": grpc.unary_stream_rpc_method_handler(down),
        "up": grpc.stream_unary_rpc_method_handler(up),
    }
    server = grpc.server(ThreadPoolExecutor(4), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", handlers),))
    credentials = Credentials(folder, "director").server_credentials()
    answers.put(server.add_secure_port("127.0.0.1:0", credentials))
    server.start()
    server.wait_for_termination()


def use_streams(folder: Path, name: str, address: str, sizes: Sequence[int], rounds: int, turn: Any) -> None:
    """Take all chunks and send as many back, in each round as soon as all clients are ready."""
    with Credentials(folder, name).channel(address, OPTIONS) as channel:
        down, up = channel.unary_stream("/bare/down"), channel.stream_unary("/bare/up")
        turn.wait(DEADLINE)
        for _ in range(rounds):
            assert sum(len(piece) for piece in down(b"")) == sum(sizes)
            up(bytes(size) for size in sizes)
            turn.wait(DEADLINE)


def _listening(director: subprocess.Popen[str]) -> str:
    """Return the director's address as soon as it says it; and go on reading, so that it need not wait for us."""
    assert director.stderr is not None
    for line in director.stderr:
        if match := re.search(r"director listening on .*:(\d+)", line):
            threading.Thread(target=director.stderr.read, daemon=True).start()
            return f"localhost:{match[1]}"
    raise SystemExit("the director has not started; try: fed director start")


def _peak_gib(pid: int) -> float | None:
    """Read a process's peak resident memory where the system tells it (Linux)."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return round(int(found[1]) / 2**20, 2) if found else None


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
