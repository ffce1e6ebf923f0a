"""The audit log of a director that runs: what it has before it answers, and who may read it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from federation import certificates, identity
from federation.certificates import make_member
from federation.errors import Refused
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import EXPERIMENT_KEY
from tests.deployment import DEADLINE, Deployment, Service, write_yaml
from tests.hostile.test_quotas import Member
from workspace.commands.audit import audit

ROLES = (*(role for role in certificates.ROLES if role != "operator"), "operator")
# A director to which there are operators.
PROGRAM = f"""
import federation.certificates, federation.identity
federation.certificates.ROLES = federation.identity.ROLES = {ROLES!r}
from federation.main import main
raise SystemExit(main())
"""


@pytest.fixture
def audited(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A director, and the certificates of an operator."""
    monkeypatch.setattr(certificates, "ROLES", ROLES)
    monkeypatch.setattr(identity, "ROLES", ROLES)
    make_member(deployment.certificates, "boss", "operator")  # type: ignore[arg-type]
    config = {"listen": "127.0.0.1:0", "certificates": "certificates", "state": "state"}
    write_yaml(deployment.folder / "director_config.yaml", config)
    deployment.director = Service(
        ["director", "start", "-c", "director_config.yaml"],
        deployment.folder,
        deployment.env,
        [sys.executable, "-c", PROGRAM],
    )
    deployment.services.append(deployment.director)
    deployment.address = f"localhost:{deployment.director.wait_for(r'listening on .*:([0-9]+)')[1]}"
    return deployment


def read(deployment: Deployment, *options: str, name: str = "boss") -> list[dict[str, Any]]:
    """Give ``fed audit``, as it is installed with the package."""
    connection = ["--director", deployment.address, "--certificates", str(deployment.certificates)]
    done = CliRunner().invoke(audit, [*connection, "--name", name, "--json", *options])
    if done.exception is not None:
        raise done.exception
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_was_done_is_on_disk_before_it_is_answered(deployment: Deployment) -> None:
    director = deployment.start_director()
    workspace = Member(deployment, "workspace")
    about = {"metadata": [(EXPERIMENT_KEY, "words")], "timeout": DEADLINE}
    workspace.submit("words")
    workspace.stub.Stop(pb.Empty(), **about)
    workspace.stub.Resume(pb.ResumeRequest(), **about)
    workspace.stub.Stop(pb.Empty(), **about)
    workspace.stub.Remove(pb.Empty(), **about)
    director.end(signal.SIGKILL)
    workspace.channel.close()
    lines = (deployment.folder / "state" / "audit.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["what"] for entry in entries] == ["submit", "stop", "resume", "stop", "remove"]
    assert {entry["experiment"] for entry in entries} == {"words"}
    assert {entry["member"] for entry in entries} == {"workspace"}
    assert all(entry["address"].startswith("127.0.0.1:") for entry in entries)


def test_an_operator_reads_and_filters_it_over_the_wire(audited: Deployment, tmp_path: Path) -> None:
    workspace = Member(audited, "workspace")
    workspace.submit("words")
    about = [(EXPERIMENT_KEY, "words")]
    assert next(workspace.stub.GetModel(pb.ModelRequest(kept="last"), metadata=about)).info.blob.size
    with pytest.raises(grpc.RpcError):
        next(workspace.stub.Connect(pb.Announcement()))
    workspace.stub.Stop(pb.Empty(), metadata=about)
    with grpc.insecure_channel(audited.address) as stranger, pytest.raises(grpc.RpcError):
        rpc.DirectorStub(stranger).ListEnvoys(pb.Empty(), timeout=DEADLINE)
    audited.director.wait_for("refused a connection")

    mine = read(audited, "--member", "workspace")
    assert [entry["what"] for entry in mine] == ["submit", "model", "refused", "stop"]
    assert "this is for the role envoy" in mine[2]["outcome"]
    assert [entry["what"] for entry in read(audited, "--member", "workspace", "--last", "1")] == ["stop"]
    assert [entry["member"] for entry in read(audited, "--what", "submit", "--since", "1h")] == ["workspace"]
    assert read(audited, "--what", "submit", "--since", "2999-01-01") == []
    workspace.channel.close()


def test_nobody_else_reads_it_and_whoever_tries_is_in_it(audited: Deployment) -> None:
    with pytest.raises(Refused, match="this is for the role operator"):
        read(audited, name="workspace")
    [entry] = read(audited, "--what", "refused")
    assert entry["member"] == "workspace"
    assert "Audit" in entry["outcome"]


def test_failed_handshakes_are_in_it_by_their_reason(deployment: Deployment) -> None:
    director = deployment.start_director()
    for _ in range(5):
        with grpc.insecure_channel(deployment.address) as stranger, pytest.raises(grpc.RpcError):
            rpc.DirectorStub(stranger).ListEnvoys(pb.Empty(), timeout=DEADLINE)
    director.wait_for("refused a connection: it does not speak TLS")
    assert director.end() == 0
    entries = [json.loads(line) for line in (deployment.folder / "state" / "audit.jsonl").open()]
    assert {entry["what"] for entry in entries} == {"handshake"}
    assert len(entries) <= 2
    assert "it does not speak TLS" in entries[0]["outcome"]
