"""Who is refused by a running federation, and with which words in the director's log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envoy.client import GrpcAggregatorClient
from envoy.connection import Connection
from federation.certificates import make_authority, make_member
from federation.engine.results import TaskOutput
from federation.errors import ExperimentFailed, Refused, Unreachable
from tests.deployment import Deployment, shard_entry, write_yaml
from workspace.client import Federation


def test_a_wrong_role_is_refused_with_a_reason_in_the_directors_log(
    deployment: Deployment, speech: Path
) -> None:
    director = deployment.start_director()
    make_member(deployment.certificates, "spy", "workspace")
    config = {
        "name": "spy",
        "director": deployment.address,
        "certificates": "certificates",
        "state": "envoys",
        "devices": "cpu",
        "shard_descriptor": shard_entry(speech, 0, 1),
    }
    write_yaml(deployment.folder / "spy.yaml", config)
    said = deployment.fed("envoy", "start", "-c", "spy.yaml", code=5)
    assert "this is for the role envoy" in said
    director.wait_for("workspace spy at .*: this is for the role envoy")

    make_member(deployment.certificates, "north", "envoy")
    with (
        Federation(deployment.address, deployment.certificates, "north") as federation,
        pytest.raises(Refused, match="this is for the role workspace"),
    ):
        federation.experiments()


def test_a_certificate_of_another_authority_is_refused_with_a_reason_in_the_directors_log(
    deployment: Deployment, tmp_path: Path
) -> None:
    director = deployment.start_director()
    other = tmp_path / "other"
    make_authority(other, "another")
    make_member(other, "workspace", "workspace")
    # It trusts our director, but brings a certificate that our authority has not signed.
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("workspace.crt", "workspace.key", "authority.crt"):
        shutil.copy(other / name, mixed / name)
    connection = Connection(deployment.address, "workspace", str(mixed), role="workspace")
    import grpc

    from federation.protocol import federation_pb2 as pb
    from federation.protocol import federation_pb2_grpc as rpc

    authority = (deployment.certificates / "authority.crt").read_bytes()
    key, certificate = (mixed / "workspace.key").read_bytes(), (mixed / "workspace.crt").read_bytes()
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(deployment.address, credentials) as channel, pytest.raises(grpc.RpcError):
        rpc.DirectorStub(channel).ListEnvoys(pb.Empty(), timeout=10)
    director.wait_for("refused a connection: .*not signed by this federation's authority")
    with connection.open() as channel, pytest.raises(grpc.RpcError):
        rpc.DirectorStub(channel).ListEnvoys(pb.Empty(), timeout=10)


def test_a_director_that_is_not_there_or_not_trusted_is_said_in_one_line(deployment: Deployment) -> None:
    deployment.address = "localhost:1"
    said = deployment.fed("list", code=4)
    assert "localhost:1" in said
    assert len([line for line in said.splitlines() if line.startswith("fed: error")]) == 1


def test_insecure_is_for_the_loopback_address_only(deployment: Deployment) -> None:
    write_yaml(deployment.folder / "open.yaml", {"listen": "0.0.0.0:0", "state": "open"})
    said = deployment.fed("director", "start", "-c", "open.yaml", "--insecure", code=3)
    assert "without certificates only 127.0.0.1" in said
    write_yaml(deployment.folder / "closed.yaml", {"listen": "127.0.0.1:0", "state": "closed"})
    running = deployment.start("director", "start", "-c", "closed.yaml", "--insecure")
    address = running.wait_for(r"listening on (\S+)")[1]
    with Federation(address, insecure=True) as federation:
        assert federation.experiments() == []


def test_without_certificates_the_role_of_an_operator_is_what_the_config_says(deployment: Deployment) -> None:
    write_yaml(deployment.folder / "closed.yaml", {"listen": "127.0.0.1:0", "state": "closed"})
    running = deployment.start("director", "start", "-c", "closed.yaml", "--insecure")
    address = running.wait_for(r"listening on (\S+)")[1]
    config, there = {"name": "olga"}, {"FED_DIRECTOR": address}
    asked = ("audit", "-c", "olga.yaml", "--insecure", "--json")
    write_yaml(deployment.folder / "olga.yaml", config)
    assert "this is for the role operator" in deployment.fed(*asked, code=5, env=there)
    write_yaml(deployment.folder / "olga.yaml", config | {"role": "operator"})
    (refused,) = map(json.loads, deployment.fed(*asked, env=there).splitlines())
    assert (refused["what"], refused["member"], refused["role"]) == ("refused", "olga", "workspace")


def test_two_directors_share_neither_a_port_nor_a_state_folder(deployment: Deployment) -> None:
    deployment.start_director()
    port = deployment.address.rpartition(":")[2]
    taken = {"listen": f"127.0.0.1:{port}", "certificates": "certificates", "state": "other"}
    write_yaml(deployment.folder / "taken.yaml", taken)
    assert "in use already" in deployment.fed("director", "start", "-c", "taken.yaml", code=3)
    write_yaml(deployment.folder / "taken.yaml", taken | {"listen": "127.0.0.1:0", "state": "state"})
    assert "another director is using" in deployment.fed("director", "start", "-c", "taken.yaml", code=3)


@pytest.fixture
def hostile(deployment: Deployment, tiny_plan: dict[str, Any], tmp_path: Path, speech: Path) -> Any:
    """An experiment with one honest envoy and one whose place we take ourselves."""
    deployment.start_director()
    honest = deployment.start_envoy("honest", shard_entry(speech, 0, 2))
    double = deployment.start_envoy("hostile", shard_entry(speech, 1, 2))
    plan = write_yaml(tmp_path / "plan.yaml", tiny_plan)
    federation = deployment.federation()
    # Stopped, not ended: the director still sees it online and waits for its results.
    import signal

    double.process.send_signal(signal.SIGSTOP)
    experiment = federation.submit(plan, ["aggregator.settings.rounds_to_train=1"])
    link = Connection(deployment.address, "hostile", str(deployment.certificates)).link()
    yield experiment, GrpcAggregatorClient(link, experiment.name), honest
    link.close()
    federation.close()
    double.process.send_signal(signal.SIGCONT)


def test_a_bad_update_is_refused_and_reported_as_that_envoys_failure(hostile: Any) -> None:
    experiment, client, _ = hostile
    tasks, number, _, _ = client.get_tasks()
    assert "train" in tasks
    model = client.get_model(number)
    poisoned = {name: np.full_like(value, np.nan) for name, value in model.items()}
    sums = {
        "confusion": np.eye(4, dtype=np.int64),
        "loss_sum": np.asarray(1.0),
        "samples": np.asarray(4, np.int64),
    }
    with pytest.raises(Refused, match="NaN or infinity"):
        client.send_local_task_results(number, "train", 4, TaskOutput(poisoned, sums))
    with pytest.raises(ExperimentFailed, match=r"hostile failed: its result was refused.*NaN or infinity"):
        experiment.watch(show=False)
    assert not [e for e in experiment.events() if e.kind == "result" and e.body["envoy"] == "hostile"]
    assert client.get_tasks()[3], "it is told to quit"


def test_an_oversized_upload_is_refused_before_it_is_read(hostile: Any) -> None:
    experiment, client, _ = hostile
    _, number, _, _ = client.get_tasks()
    sums = {
        "confusion": np.eye(4, dtype=np.int64),
        "loss_sum": np.asarray(1.0),
        "samples": np.asarray(4, np.int64),
    }
    large = {"a": np.zeros(30 << 20, np.float32)}
    with pytest.raises((Refused, Unreachable)):
        client.send_local_task_results(number, "train", 4, TaskOutput(large, sums))
    with pytest.raises(ExperimentFailed, match=r"an update of .* bytes"):
        experiment.watch(show=False)


def test_another_envoys_experiment_cannot_be_touched(hostile: Any, deployment: Deployment) -> None:
    experiment, _, _ = hostile
    make_member(deployment.certificates, "stranger", "envoy")
    with Connection(deployment.address, "stranger", str(deployment.certificates)).link() as link:
        client = GrpcAggregatorClient(link, experiment.name)
        assert client.get_tasks()[3], "nothing to do for it here"
        with pytest.raises(Refused, match="not in the cohort"):
            client.get_model(0)
        with pytest.raises(Refused, match="not in the cohort"):
            client.send_local_task_results(0, "train", 4, TaskOutput({}, {}))
