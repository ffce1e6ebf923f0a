"""Who speaks this protocol or the one before works with a director; another is told what to do."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import grpc
import pytest

from director.protocol_versions import incompatibility
from federation.certificates import make_member
from federation.code import project_version
from federation.identity import NAME_KEY, ROLE_KEY
from federation.protocol import VERSION
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import is_answer
from tests.deployment import DEADLINE, TINY_PLAN, Deployment, Service, shard_entry, write_yaml


@pytest.mark.parametrize("theirs", [4, 5, 6])
def test_a_version_speaks_with_itself_the_one_before_and_the_one_after(theirs: int) -> None:
    assert incompatibility("the envoy north", theirs, ours=5) is None


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (7, "the envoy north speaks protocol 7, the director 5: upgrade the director"),
        (3, "the envoy north speaks protocol 3, the director 5: upgrade the envoy north"),
        (0, "the envoy north speaks protocol 0, the director 5: upgrade the envoy north"),
    ],
)
def test_which_side_to_upgrade_is_said(theirs: int, said: str) -> None:
    assert incompatibility("the envoy north", theirs, ours=5) == said


def caller(name: str, role: str) -> tuple[tuple[str, str], ...]:
    return (NAME_KEY, name), (ROLE_KEY, role)


def test_a_member_with_a_later_protocol_is_refused_in_one_line(deployment: Deployment) -> None:
    (deployment.folder / "director_config.yaml").write_text("{listen: 127.0.0.1:0, state: state}")
    director = deployment.start("director", "start", "-c", "director_config.yaml", "--insecure")
    port = director.wait_for(r"director listening on .*:(\d+)")[1]
    later = VERSION + 2
    submission = pb.Submission(id="submission", name="tiny", plan=json.dumps(TINY_PLAN), protocol=later)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = rpc.DirectorStub(channel)
        with pytest.raises(grpc.RpcError) as of_envoy:
            next(stub.Connect(pb.Announcement(protocol=later), metadata=caller("north", "envoy"), timeout=30))
        with pytest.raises(grpc.RpcError) as of_workspace:
            stub.Submit(
                iter([pb.SubmitChunk(submission=submission)]),
                metadata=caller("anna", "workspace"),
                timeout=30,
            )
    for error, who in ((of_envoy.value, "the envoy north"), (of_workspace.value, "the workspace")):
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        assert is_answer(error), "so that its caller does not try for ever"
        assert (
            error.details() == f"{who} speaks protocol {later}, the director {VERSION}: upgrade the director"
        )


def speaking(protocol: int) -> list[str]:
    """The command `fed` of another version of the protocol."""
    version = f"import federation.protocol as p; p.VERSION = {protocol}"
    return [sys.executable, "-c", f"{version}; from federation.main import main; raise SystemExit(main())"]


@pytest.mark.parametrize(
    ("members", "director", "upgrade"),
    [(VERSION + 2, VERSION, "the director"), (VERSION, VERSION + 2, "")],
    ids=["members too new", "members too old"],
)
def test_an_envoy_and_a_submission_two_versions_away_end_with_code_5_and_one_line(
    deployment: Deployment, speech: Path, plan_file: Path, members: int, director: int, upgrade: str
) -> None:
    folder, authority = deployment.folder, deployment.certificates
    settings = {"listen": "127.0.0.1:0", "certificates": "certificates", "state": "state"}
    write_yaml(folder / "director_config.yaml", settings)
    make_member(authority, "north", "envoy")

    def start(protocol: int, *arguments: str) -> Service:
        service = Service(arguments, folder, deployment.env, program=speaking(protocol))
        deployment.services.append(service)
        return service

    started = start(director, "director", "start", "-c", "director_config.yaml")
    port = started.wait_for(r"director listening on .*:(\d+)")[1]
    there = {"director": f"localhost:{port}", "certificates": "certificates"}
    shard = shard_entry(speech, 0, 2)
    envoy = {**there, "name": "north", "devices": "cpu", "state": "envoys", "shard_descriptor": shard}
    write_yaml(folder / "north.yaml", envoy)
    write_yaml(folder / "workspace_config.yaml", there)
    refused = {
        "the envoy north": start(members, "envoy", "start", "-c", "north.yaml"),
        "the workspace": start(members, "submit", plan_file.name),
    }
    for who, service in refused.items():
        assert service.process.wait(DEADLINE) == 5
        said = f"{who} speaks protocol {members}, the director {director}: upgrade {upgrade or who}"
        service.wait_for(f"^fed: error: {re.escape(said)}$")
        assert service.count("error: ") == 1


def test_the_version_of_each_envoy_is_listed(two_envoys: Deployment) -> None:
    listed = json.loads(two_envoys.fed("envoys", "--json"))
    assert {envoy["name"]: envoy["version"] for envoy in listed} == {
        "north": project_version(),
        "south": project_version(),
    }
