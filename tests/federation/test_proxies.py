"""A proxy of the environment: never before a director on this machine, and named where a director does not answer."""

from __future__ import annotations

import grpc
import pytest

from federation.errors import Unreachable
from federation.identity import Identity
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.proxies import proxy_options, proxy_variable
from federation.rpc import translate
from tests.federation.fake_director import FakeDirector, free_address, serving

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")
PROXY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def reaches(address: str) -> bool:
    """Whether gRPC itself goes to an address directly; our options left out, it is what we have to agree with."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/any", None, None)(b"", timeout=10)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNIMPLEMENTED)
    raise AssertionError("there is no such call")


@pytest.mark.parametrize("name", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_a_director_on_this_machine_is_asked_directly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, PROXY)
    with serving(FakeDirector()) as address:
        assert not reaches(address), "gRPC would go to the proxy"
        with Link(address, Identity("north", "envoy"), None) as link:
            found = link.call(lambda stub: stub.ListExperiments(pb.Empty(), timeout=10), patience=0)
    assert found == pb.Experiments()


@pytest.mark.parametrize("address", ["localhost:5", "127.0.0.1:5", "127.8.9.1:5", "[::1]:5"])
def test_no_proxy_stands_before_a_loopback_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    assert proxy_options(address) == [("grpc.enable_http_proxy", 0)]
    assert proxy_variable(address) == ""


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, ""),
        ({"http_proxy": PROXY}, "http_proxy"),
        ({"http_proxy": PROXY, "https_proxy": PROXY, "grpc_proxy": PROXY}, "grpc_proxy"),
        ({"http_proxy": PROXY, "https_proxy": ""}, ""),
        ({"http_proxy": "https://127.0.0.1:1"}, ""),
        ({"HTTP_PROXY": PROXY}, ""),
    ],
)
def test_the_variable_is_named(
    variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_options("director.example.org:5") == []
    assert proxy_variable("director.example.org:5") == named


# Each on a loopback address as well, where gRPC is asked what it does.
@pytest.mark.parametrize(
    ("variables", "direct"),
    [
        ({"no_proxy": "{host}"}, True),
        ({"no_proxy": "example.com, {host}"}, True),
        ({"no_proxy": "{end}"}, True),
        ({"no_proxy": "{network}"}, True),
        ({"no_proxy": "{host}", "no_grpc_proxy": "example.com"}, False),
        ({"no_grpc_proxy": "{host}"}, True),
        ({"no_proxy": "{host}", "no_grpc_proxy": ""}, False),
        ({"no_proxy": "*"}, False),
        ({"no_proxy": "192.168.0.0/16"}, False),
        ({"no_proxy": ","}, False),
    ],
)
def test_exceptions_are_those_that_grpc_makes(
    variables: dict[str, str], direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", PROXY)

    def expect(host: str, end: str, network: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(host=host, end=end, network=network))

    expect("10.1.2.3", ".2.3", "10.1.0.0/16")
    assert proxy_variable("10.1.2.3:5") == ("" if direct else "http_proxy")
    expect("127.0.0.1", ".0.1", "127.0.0.0/8")
    with serving(FakeDirector()) as address:
        assert reaches(address) == direct


def test_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{free_address()}")
    with (
        grpc.insecure_channel("director.example.org:50051") as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary("/any", None, None)(b"", timeout=10)
    problem = translate(caught.value, "director.example.org:50051")
    assert isinstance(problem, Unreachable)
    assert "does not answer" in str(problem)
    assert "https_proxy" in str(problem)
