"""The devices of a site. Torch is asked in a process of its own: the agent itself stays small and holds no CUDA context."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from federation.errors import InputError
from federation.protocol import federation_pb2 as pb

logger = logging.getLogger(__name__)

_ASK_TORCH = """
import json, torch
devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps([[f"cuda:{i}", d.name, d.total_memory] for i, d in enumerate(devices)]))
"""


def find_devices(wanted: str | Sequence[str]) -> list[pb.Device]:
    """Return the devices that a config asks for, one for each experiment that may run at a time.

    Parameters
    ----------
    wanted
        ``auto``, ``cpu``, ``cuda:N``, or a list of the latter two.

    Raises
    ------
    InputError
        If a GPU is asked for that is not there.
    """
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if names == ["cpu"] * len(names):
        return [_cpu()] * len(names)
    gpus = {gpu.name: gpu for gpu in _gpus()}
    if names == ["auto"]:
        if not gpus:
            logger.info("no GPU here: using the CPU")
        return list(gpus.values()) or [_cpu()]
    if missing := [name for name in names if name != "cpu" and name not in gpus]:
        there = ", ".join(gpus) or "no GPU"
        raise InputError(f"devices: {missing[0]} is not here ({there} is); use auto, cpu or one that is")
    return [_cpu() if name == "cpu" else gpus[name] for name in names]


def _gpus() -> list[pb.Device]:
    answer = subprocess.run(
        [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=300, check=False
    )
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(
            f"torch cannot be asked for GPUs ({last}); install the extra: pip install 'speech-federation[envoy]'"
        )
    return [
        pb.Device(name=name, model=model, memory=memory) for name, model, memory in json.loads(answer.stdout)
    ]


def _cpu() -> pb.Device:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return pb.Device(name="cpu", model=f"{model}, {os.cpu_count()} cores", memory=memory)
