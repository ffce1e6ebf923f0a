"""Write what the director of this version says to the one site of an experiment with personal layers, and what it is sent.

    python -m tests.compatibility.write_personal_layers FOLDER

makes ``FOLDER/calls_with_personal_layers.jsonl.xz``. For a version that is past, it is run in a worktree of its commit, as
`tests.compatibility.write` says, which has what it writes in ``written_by_0_2_0_protocol_0`` from ae80293.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests import image_data
from tests.compatibility.recording import Call, RecordingProxy
from tests.compatibility.write import make_data, plan_of
from tests.compatibility.write_deployment import pack_calls, start_insecure_envoy
from tests.deployment import Deployment, write_yaml
from workspace.client import Federation

FILE = "calls_with_personal_layers.jsonl.xz"
ANSWERED = ("Connect", "GetTasks", "GetModel", "SendTaskResults")


def plan() -> dict[str, Any]:
    """A plan of two rounds for one site, which keeps a BatchNorm of its own."""
    content = plan_of("image_classification")
    content["task_runner"]["settings"]["batch_norm"] = "local"
    content["task_runner"]["settings"]["model"] |= {"embedding_size": 2, "hidden_sizes": [2, 4]}
    content["federation"]["settings"]["envoys"] = 1
    return content


def shard(root: Path) -> dict[str, Any]:
    """The shard of that site."""
    return image_data.shard_entry(root, 0, 1)


def write(target: Path, work: Path) -> None:
    """Run the experiment through a proxy, and keep what the envoy asked and was told, in the order of the answers."""
    data = make_data("image_classification", work)
    with Deployment(work) as deployment:
        write_yaml(work / "director_config.yaml", {"listen": "127.0.0.1:0", "state": "state"})
        director = deployment.start("director", "start", "-c", "director_config.yaml", "--insecure")
        port = director.wait_for(r"director listening on .*:(\d+)")[1]
        proxy = RecordingProxy(f"127.0.0.1:{port}")
        start_insecure_envoy(deployment, "north", proxy.address, shard(data))
        with Federation(proxy.address, insecure=True) as federation:
            submitted = federation.submit(write_yaml(work / "plan.yaml", plan()), name="personal")
            submitted.watch(show=False)
        for service in reversed(deployment.services):
            service.end()
        proxy.close()
    kept = [call for call in proxy.answered if is_kept(call)]
    assert {call.method.rpartition("/")[2] for call in kept} == set(ANSWERED)
    (target / FILE).write_bytes(pack_calls(kept))


def is_kept(call: Call) -> bool:
    """Whether a call is the envoy's and was answered."""
    return call.method.rpartition("/")[2] in ANSWERED and bool(call.responses)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(Path(sys.argv[1]), Path(folder))
