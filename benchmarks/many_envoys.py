"""How many envoys a director bears: idle ones, which only keep a connection, and working ones, which learn nothing.

    python benchmarks/many_envoys.py idle [--envoys 1000] [--watched 60]
    python benchmarks/many_envoys.py working [--envoys 200] [--rounds 10] [--parameters 60000]

Envoys are bare gRPC clients over mTLS, each with a certificate and a connection of its own, many to a process. The director is
started by ``fed director start``. Beside it, in the same run, the same clients use a bare ``grpc.aio`` server that has the same
calls, options and certificates, and checks, hashes, writes and sums nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from bare_director import DEADLINE, bare, raise_descriptor_limit, spawn
from experiment_without_learning import CLASSES, EXPERIMENT, submit

from federation.certificates import make_authority, make_member
from federation.code import code_hash, project_version
from federation.link import OPTIONS as CLIENT_OPTIONS
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from federation.statistics import classification
from federation.tensors import Tensors, chunks, digest, pack, unpack
from workspace.client import Federation

CLIENTS = 2  # processes
CONNECTING = 16  # at once, in each of them


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("idle", "working"))
    parser.add_argument("--envoys", type=int, help="1000 idle or 200 working ones")
    parser.add_argument("--watched", type=float, default=60.0, help="seconds for which idle ones are watched")
    parser.add_argument("--rounds", type=int, default=10, help="measured rounds, after a first one")
    parser.add_argument("--parameters", type=int, default=60_000, help="float32 parameters of the model")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    idle = arguments.part == "idle"
    names = [f"envoy-{number}" for number in range(arguments.envoys or (1000 if idle else 200))]
    raise_descriptor_limit()
    found: dict[str, Any] = {"envoys": len(names)}
    with tempfile.TemporaryDirectory(prefix="many-envoys-") as name:
        folder = Path(name)
        make_authority(folder)
        make_member(folder, "director", "director", ["localhost"])
        make_member(folder, "workspace", "workspace")
        for envoy in names:
            make_member(folder, envoy, "envoy")
        if idle:
            found |= compare_idle(folder, names, arguments.watched)
        else:
            found |= compare_working(folder, names, random_model(arguments.parameters), arguments.rounds + 1)
    found["load_average"] = os.getloadavg()[0]
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        for what, value in found.items():
            print(f"{what:28} {value:.4g}")


def random_model(parameters: int, count: int = 20) -> Tensors:
    """Divide the parameters evenly over some tensors."""
    draw = np.random.default_rng(0).standard_normal
    return {f"layer.{i:02d}.weight": draw(parameters // count, dtype=np.float32) for i in range(count)}


# The servers.


@contextmanager
def director(folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Be a director; yield its process and address."""
    config = {"listen": "127.0.0.1:0", "certificates": ".", "state": "state"}
    (folder / "director.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [str(Path(sys.executable).with_name("fed")), "director", "start", "-c", "director.yaml"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "connections at once" in line:
                print(line.strip(), file=sys.stderr)
            if match := re.search(r"director listening on .*:(\d+)", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield psutil.Process(process.pid), f"localhost:{match[1]}"
                return
        raise SystemExit("the director has not started; try: fed director start")
    finally:
        process.terminate()
        process.wait(DEADLINE)


# The envoys.


@contextmanager
def clients(folder: Path, names: Sequence[str], address: str, works: bool) -> Iterator[None]:
    """Be so many envoys, in a few processes; all are connected when the context begins."""
    connected = spawn.Queue()
    processes = [
        spawn.Process(target=be_envoys, args=(folder, names[number::CLIENTS], address, works, connected))
        for number in range(CLIENTS)
    ]
    for process in processes:
        process.start()
    try:
        for _ in processes:
            connected.get(timeout=DEADLINE)
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def be_envoys(folder: Path, names: Sequence[str], address: str, works: bool, connected: Any) -> None:
    """Be some of the envoys, until killed."""
    announcement = pb.Announcement(
        version=project_version(),
        dataset="none",
        classes=CLASSES,
        experiments=[EXPERIMENT],
        code_hashes={EXPERIMENT: code_hash(EXPERIMENT)},
        samples={"train": 1, "validation": 1},
    )
    left = set(names)

    async def envoy(name: str, connecting: asyncio.Semaphore) -> None:
        files = ((folder / file).read_bytes() for file in ("authority.crt", f"{name}.key", f"{name}.crt"))
        credentials = grpc.ssl_channel_credentials(*files)
        async with grpc.aio.secure_channel(address, credentials, CLIENT_OPTIONS) as channel:
            stub = rpc.DirectorStub(channel)
            await connecting.acquire()
            async for order in stub.Connect(announcement, wait_for_ready=True):
                if order.HasField("connected"):
                    connecting.release()
                    left.discard(name)
                    if not left:
                        connected.put(len(names))
                if works and order.HasField("start"):
                    await work(stub, order.start.experiment)

    async def run() -> None:
        connecting = asyncio.Semaphore(CONNECTING)
        await asyncio.gather(*(envoy(name, connecting) for name in names))

    raise_descriptor_limit()
    asyncio.run(run())


async def work(stub: Any, experiment: str) -> None:
    """Take the model of each round, add something to it and send it."""
    metadata = [(EXPERIMENT_KEY, experiment)]
    label = np.zeros(1, np.int64)
    sums = pack(classification(label, label, np.ones(1), len(CLASSES)))
    number = np.float32(np.random.default_rng().random())
    while not (tasks := await stub.GetTasks(pb.TasksRequest(wait=30.0), metadata=metadata)).quit:
        if not tasks.tasks:
            continue
        request = pb.ModelRequest(round=tasks.round)
        pieces = [chunk.data async for chunk in stub.GetModel(request, metadata=metadata)]
        trained = {name: value + number for name, value in unpack(b"".join(pieces)).items()}
        sent = list(chunks(trained))
        info = pb.ResultInfo(
            round=tasks.round,
            task=tasks.tasks[0],
            data_size=1,
            statistics=sums,
            blob=pb.Blob(sha256=digest(trained), size=sum(len(piece) for piece in sent)),
        )
        messages = [pb.ResultChunk(info=info), *(pb.ResultChunk(data=piece) for piece in sent)]
        receipt = await stub.SendTaskResults(iter(messages), metadata=metadata)
        assert receipt.counted, receipt.reason


# What is measured.


def compare_idle(folder: Path, names: Sequence[str], watched: float) -> dict[str, float]:
    """Weigh idle envoys at a bare server, then at a director."""
    with bare(folder, 0, [], 0) as (server, address, _):
        plain = weigh(folder, names, server, address, watched)
    with director(folder) as (server, address):
        ours = weigh(folder, names, server, address, watched, answering)
    return _beside(plain, ours, "kib_each", "cpu_percent")


def compare_working(folder: Path, names: Sequence[str], model: Tensors, rounds: int) -> dict[str, float]:
    """Time rounds at a bare server, then at a director."""
    pieces = list(chunks(model))
    with bare(folder, len(names), pieces, rounds) as (server, address, turns):
        before = _cpu(server)
        with clients(folder, names, address, works=True):
            times = [turns.get(timeout=DEADLINE) for _ in range(rounds)]
            plain = summary(times, server, before)
    with director(folder) as (server, address):
        before = _cpu(server)
        with clients(folder, names, address, works=True):
            times = run_experiment(folder, address, model, len(names), rounds)
            ours = summary(times, server, before)
    size = sum(map(len, pieces))
    return {"model_bytes": size} | _beside(plain, ours, "round_seconds", "round_cpu")


def weigh(
    folder: Path,
    names: Sequence[str],
    server: psutil.Process,
    address: str,
    watched: float,
    ask: Callable[[Path, str], dict[str, float]] = lambda folder, address: {},
) -> dict[str, float]:
    """Return what idle envoys cost a server, and what it answers when it is asked then."""
    with clients(folder, names[:CLIENTS], address, works=False):
        pass  # what a first connection brings into memory belongs to none of them
    before = server.memory_info().rss
    with clients(folder, names, address, works=False):
        time.sleep(min(5.0, watched))  # the handshakes are over
        cpu, began = _cpu(server), time.monotonic()
        time.sleep(watched)
        spent = _cpu(server) - cpu
        costs = {
            "kib_each": (server.memory_info().rss - before) / 1024 / len(names),
            "cpu_percent": 100 * spent / (time.monotonic() - began),
            "threads": server.num_threads(),
            "descriptors": server.num_fds(),
        }
        return costs | ask(folder, address)


def answering(folder: Path, address: str, times: int = 50) -> dict[str, float]:
    """Return the median and the longest seconds in which a director lists its experiments and its envoys."""
    found: dict[str, float] = {}
    with Federation(address, folder) as federation:
        federation.experiments()
        for what, ask in (("list", federation.experiments), ("envoys", federation.envoys)):
            seconds = []
            for _ in range(times):
                began = time.perf_counter()
                ask()
                seconds.append(time.perf_counter() - began)
            found |= {f"{what}_median": statistics.median(seconds), f"{what}_max": max(seconds)}
    return found


def summary(times: Sequence[float], server: psutil.Process, cpu: float) -> dict[str, float]:
    """Return how long rounds took that closed at these times, and what each took of the server's processor time."""
    seconds = [after - before for before, after in pairwise(times)]
    return {
        "round_seconds": statistics.median(seconds),
        "round_max": max(seconds),
        "round_cpu": (_cpu(server) - cpu) / len(times),
        "mib": server.memory_info().rss / 2**20,
    }


def run_experiment(folder: Path, address: str, model: Tensors, envoys: int, rounds: int) -> list[float]:
    """Run an experiment that only trains; return when its rounds closed."""
    with Federation(address, folder) as federation:
        events = submit(federation, "many", model, envoys, rounds, DEADLINE).events(follow=True)
        return [event.time for event in events if event.kind == "round_closed"]


def _cpu(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


def _beside(plain: dict[str, float], ours: dict[str, float], *compared: str) -> dict[str, float]:
    ratios = {f"{what}_ratio": ours[what] / plain[what] for what in compared if plain[what]}
    return ours | {f"bare_{what}": value for what, value in plain.items()} | ratios


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["GRPC_VERBOSITY"] = "ERROR"
    main()
