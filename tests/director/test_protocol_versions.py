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


def test_the_process_of_an_envoy_or_a_workspace_that_is_too_new_ends_with_code_5_and_one_line(
    deployment: Deployment, speech: Path, plan_file: Path
) -> None:
    deployment.start_director()
    make_member(deployment.certificates, "north", "envoy")
    config = {
        "name": "north",
        "director": deployment.address,
        "certificates": "certificates",
        "devices": "cpu",
        "state": "envoys",
        "shard_descriptor": shard_entry(speech, 0, 2),
    }
    write_yaml(deployment.folder / "north.yaml", config)
    later = "import sys, federation.protocol as p; p.VERSION += 2; from federation.main import main; sys.exit(main())"
    ours = {"FED_DIRECTOR": deployment.address, "FED_CERTIFICATES": str(deployment.certificates)}
    for who, arguments in (
        ("the envoy north", ["envoy", "start", "-c", "north.yaml"]),
        ("the workspace", ["submit", str(plan_file)]),
    ):
        member = Service(
            arguments, deployment.folder, deployment.env | ours, program=[sys.executable, "-c", later]
        )
        deployment.services.append(member)
        assert member.process.wait(DEADLINE) == 5
        said = f"{who} speaks protocol {VERSION + 2}, the director {VERSION}: upgrade the director"
        member.wait_for(re.escape(said))
        assert member.count(r"error: ") == 1


def test_the_version_of_each_envoy_is_listed(two_envoys: Deployment) -> None:
    listed = json.loads(two_envoys.fed("envoys", "--json"))
    assert {envoy["name"]: envoy["version"] for envoy in listed} == {
        "north": project_version(),
        "south": project_version(),
    }
