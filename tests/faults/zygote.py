"""A process that has imported director, envoy and learning code, and forks what a test asks for.

Started by ``python -m tests.faults.zygote SOCKET``. It has one thread and opens no channel and no server, so that its children
begin with a gRPC of their own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.faults import points, processes
from tests.faults.points import Point

IMPORTED = (
    "director.server",
    "envoy.agent",
    "envoy.cli",
    "envoy.worker",
    "federation.engine.build",
    "workspace.experiments.image_classification.recipe",
    "workspace.initial_exchange",
)
CHUNK = 4 << 10  # so that a tiny model is several


def serve(path: Path) -> None:
    """Fork and reap until nobody listens any more; a request is a line of JSON, and so is its answer."""
    import_everything()
    # What is there now is there for good: to look through it would only copy it into every child.
    gc.freeze()
    children: dict[int, str] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                data, descriptors, *_ = socket.recv_fds(connection, 1 << 20, 2)
                request = json.loads(data)
                if "reap" in request:
                    children.pop(request["reap"])
                    answer: Any = os.waitstatus_to_exitcode(os.waitpid(request["reap"], 0)[1])
                elif "alive" in request:
                    answer = [
                        pid for pid, run in children.items() if run == request["alive"] and is_alive(pid)
                    ]
                else:
                    answer = os.fork()
                    if answer == 0:
                        listener.close()
                        connection.close()
                        begin(path, request, descriptors)
                    children[answer] = request["folder"]
                for descriptor in descriptors:
                    os.close(descriptor)
                connection.sendall(json.dumps(answer).encode() + b"\n")


def is_alive(pid: int) -> bool:
    """Say whether a child runs still."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def import_everything() -> None:
    """Import what the children run, and let their chunks be small."""
    import torch

    for name in IMPORTED:
        importlib.import_module(name)

    import envoy.run
    from director.blobs import BlobStore
    from federation.link import Backoff
    from federation.templates import known_templates
    from federation.tensors import chunks

    known_templates()
    # Who is away for an instant is not waited for longer than that.
    envoy.run.FIRST_PAUSE = 0.1
    Backoff.__init__.__defaults__ = (0.1, 0.5)
    torch.set_num_threads(1)
    chunks.__defaults__ = (CHUNK,)
    BlobStore.stream.__defaults__ = (CHUNK,)


def begin(zygote: Path, request: dict[str, Any], descriptors: list[int]) -> None:
    """Be the child: run what the request says, and end as a process of its own would."""
    code = 1
    try:
        folder = Path(request["folder"])
        log = os.open(folder / f"{request['name']}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if descriptors:
            for theirs, number in zip(descriptors, (0, 1), strict=True):
                os.dup2(theirs, number)
                os.close(theirs)
            sys.stdin = os.fdopen(0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        if request.get("keepalive"):
            quick_keepalive(request["keepalive"])
        if request["program"] == "worker":
            from envoy.worker import main as work

            disturb(request)
            code = work()
        else:
            from federation.main import main

            workers_are_forked(zygote, request)
            disturb(request)
            code = main(request["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def disturb(request: dict[str, Any]) -> None:
    """Install the point of a request, if it has one."""
    if request.get("point"):
        points.install(Point(**request["point"]), Path(request["folder"]) / "reached")


def workers_are_forked(zygote: Path, request: dict[str, Any]) -> None:
    """Let an agent's workers be children of the zygote; the first has the point that is meant for it."""
    start, ours = subprocess.Popen, [request.get("worker_point")]

    def forked(arguments: Any, *others: Any, **keywords: Any) -> Any:
        if list(arguments[1:]) != ["-m", "envoy.worker"]:
            return start(arguments, *others, **keywords)
        order = {
            "program": "worker",
            "name": f"{request['name']}-worker",
            "folder": request["folder"],
            "point": ours.pop() if ours else None,
            "keepalive": request.get("keepalive"),
        }
        return processes.Forked(zygote, order, piped=True)

    subprocess.Popen = forked  # type: ignore[assignment, misc]


def quick_keepalive(milliseconds: int) -> None:
    """Notice sooner that nobody is at the other end, so that a test need not wait for it."""
    from federation import link

    times = ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
    link.OPTIONS[:] = [(key, milliseconds if key in times else value) for key, value in link.OPTIONS]


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
