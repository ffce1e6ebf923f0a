"""Which form the director's server has: threads or asyncio, measured by what it does most.

    python benchmarks/server_forms.py [--megabytes 361] [--idle 1000]

Streams of 1 MiB, down and up, by two clients at once over mTLS, through a server of each form that does nothing with them; and
what an idle call costs that only waits, as an envoy's does for its orders: threads, memory, processor time.

- ``threads``: ``grpc.server``; each call holds a thread for as long as it lasts.
- ``asyncio``: ``grpc.aio.server``, every handler a coroutine.
- ``pool``: ``grpc.aio.server`` whose streaming handlers are ordinary generators in its pool of threads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import psutil

from federation.certificates import make_authority, make_member
from federation.identity import Credentials

FORMS = ("threads", "asyncio", "pool")
CHUNK = bytes(1 << 20)
OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)]
DEADLINE = 300
spawn = multiprocessing.get_context("spawn")


def down(request: bytes, context: Any) -> Iterator[bytes]:
    """Send as many chunks as are asked for."""
    for _ in range(int(request)):
        yield CHUNK


def up(requests: Iterator[bytes], context: Any) -> bytes:
    """Take chunks until there are no more."""
    return b"%d" % sum(len(chunk) for chunk in requests)


def idle(request: bytes, context: Any) -> Iterator[bytes]:
    """Answer once, then wait for the end of the call."""
    import threading

    ended = threading.Event()
    context.add_callback(ended.set)
    yield b"connected"
    ended.wait()


async def down_async(request: bytes, context: Any) -> AsyncIterator[bytes]:
    """As `down`."""
    for _ in range(int(request)):
        yield CHUNK


async def up_async(requests: AsyncIterator[bytes], context: Any) -> bytes:
    """As `up`."""
    return b"%d" % sum([len(chunk) async for chunk in requests])


async def idle_async(request: bytes, context: Any) -> AsyncIterator[bytes]:
    """As `idle`."""
    yield b"connected"
    await asyncio.Event().wait()


def handlers(form: str) -> Any:
    """The three calls, as a form of the server has them."""
    calls = {
        "threads": (down, up, idle),
        "asyncio": (down_async, up_async, idle_async),
        "pool": (down, up, idle_async),
    }[form]
    kinds = (
        grpc.unary_stream_rpc_method_handler,
        grpc.stream_unary_rpc_method_handler,
        grpc.unary_stream_rpc_method_handler,
    )
    named = {name: kind(call) for name, kind, call in zip(("down", "up", "idle"), kinds, calls, strict=True)}
    return grpc.method_handlers_generic_handler("forms", named)


def serve(form: str, folder: Path, calls: int, address: Any) -> None:
    """Be the server, until killed."""
    credentials = Credentials(folder, "director").server_credentials()
    pool = ThreadPoolExecutor(calls + 16 if form == "threads" else 16)
    if form == "threads":
        server = grpc.server(pool, handlers=[handlers(form)], options=OPTIONS)
        address.put(server.add_secure_port("127.0.0.1:0", credentials))
        server.start()
        server.wait_for_termination()
        return

    async def run() -> None:
        server = grpc.aio.server(migration_thread_pool=pool, handlers=[handlers(form)], options=OPTIONS)
        address.put(server.add_secure_port("127.0.0.1:0", credentials))
        await server.start()
        await server.wait_for_termination()

    asyncio.run(run())


def stream(folder: Path, name: str, port: int, chunks: int, turn: Any) -> None:
    """Be a client: at each turn take as many chunks, and send them back."""
    with Credentials(folder, name).channel(f"localhost:{port}", OPTIONS) as channel:
        take, give = channel.unary_stream("/forms/down"), channel.stream_unary("/forms/up")
        while True:
            turn.wait(DEADLINE)
            received = sum(len(chunk) for chunk in take(b"%d" % chunks))
            assert received == chunks * len(CHUNK)
            turn.wait(DEADLINE)
            assert int(give(iter([CHUNK] * chunks))) == received


def time_streams(form: str, folder: Path, chunks: int, times: int) -> dict[str, float]:
    """Return the median seconds in which two clients at once have taken all chunks, and have sent them."""
    port_of, turn = spawn.Queue(), spawn.Barrier(3)
    processes = [spawn.Process(target=serve, args=(form, folder, 16, port_of))]
    processes[0].start()
    try:
        port = port_of.get(timeout=DEADLINE)
        for name in ("north", "south"):
            processes.append(spawn.Process(target=stream, args=(folder, name, port, chunks, turn)))
            processes[-1].start()
        stamps = []
        for _ in range(2 * times + 3):
            turn.wait(DEADLINE)
            stamps.append(time.monotonic())
        server = psutil.Process(processes[0].pid)
        cpu, peak = sum(server.cpu_times()[:2]), server.memory_info().rss
    finally:
        for process in processes:
            process.kill()
            process.join()
    seconds = [after - before for before, after in pairwise(stamps)][2:]
    return {
        "down": statistics.median(seconds[0::2]),
        "up": statistics.median(seconds[1::2]),
        "server_cpu": cpu / (times + 1),
        "server_mib": peak / 2**20,
    }


def hold(folder: Path, port: int, calls: int, ready: Any) -> None:
    """Be many idle envoys: each has a connection of its own."""

    async def run() -> None:
        files = ((folder / name).read_bytes() for name in ("authority.crt", "north.key", "north.crt"))
        credentials = grpc.ssl_channel_credentials(*files)
        waiting = []
        for number in range(calls):
            options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("number", number)]
            channel = grpc.aio.secure_channel(f"localhost:{port}", credentials, options)
            call = channel.unary_stream("/forms/idle")(b"", timeout=DEADLINE, wait_for_ready=True)
            assert await call.read() == b"connected"
            waiting.append((channel, call))
        ready.put(len(waiting))
        await asyncio.Event().wait()

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(run())


def weigh_idle(form: str, folder: Path, calls: int, watched: float) -> dict[str, float]:
    """Return what idle calls cost a server: threads, KiB for each, and the share of a core while nothing happens."""
    port_of, ready = spawn.Queue(), spawn.Queue()
    server = spawn.Process(target=serve, args=(form, folder, calls, port_of))
    server.start()
    clients: list[Any] = []
    try:
        port = port_of.get(timeout=DEADLINE)
        known = psutil.Process(server.pid)
        before = known.memory_info().rss
        for _ in range(2):
            clients.append(spawn.Process(target=hold, args=(folder, port, calls // 2, ready)))
            clients[-1].start()
        held = sum(ready.get(timeout=DEADLINE) for _ in clients)
        cpu = sum(known.cpu_times()[:2])
        clients[0].join(watched)  # they never end: this is the time that is watched
        return {
            "idle_calls": held,
            "idle_threads": known.num_threads(),
            "idle_kib_each": (known.memory_info().rss - before) / 1024 / held,
            "idle_cpu": (sum(known.cpu_times()[:2]) - cpu) / watched,
        }
    finally:
        for process in (*clients, server):
            process.kill()
            process.join()


def main() -> None:
    """Measure every form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=361, help="down and up, for each client")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--idle", type=int, default=1000, help="calls that wait")
    parser.add_argument("--watched", type=float, default=20.0, help="seconds for which they are watched")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["GRPC_VERBOSITY"] = "ERROR"
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_authority(folder)
        make_member(folder, "director", "director", ["localhost"])
        for envoy in ("north", "south"):
            make_member(folder, envoy, "envoy")
        for form in FORMS:
            found[form] = time_streams(form, folder, options.megabytes, options.times)
            if options.idle:
                found[form] |= weigh_idle(form, folder, options.idle, options.watched)
            if not options.json:
                print(form, " ".join(f"{key}={value:.3g}" for key, value in found[form].items()), flush=True)
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
