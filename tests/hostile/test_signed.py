"""A site believes no director: it takes what a workspace has signed, and nothing else.

The site's policy permits no experiment, which it asks last: so an order that it takes for signed is refused by the policy, and
nothing is ever built.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envoy.client import GrpcAggregatorClient
from federation.certificates import make_authority, make_member
from federation.errors import Refused
from federation.identity import Credentials, Identity
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.signing import sign, text_of_submission
from federation.tensors import chunks, measure
from tests.federation.fake_director import FakeDirector, serving
from tests.hostile.site import DEADLINE, Site, change_plan, listening
from tests.reissue import DAY, reissued

TAKEN = "does not permit the experiment keyword_spotting"
ROUNDS = "aggregator.settings.rounds_to_train"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    policy = {"experiments": [], "workspaces": ["alice", "bob"]}
    with listening(tmp_path_factory.mktemp("federation"), policy) as running:
        yield running


def test_what_a_workspace_has_signed_is_taken(site: Site) -> None:
    assert TAKEN in site.director.orders_and_hears(site.start())


def test_what_the_policy_says_of_submissions_is_announced(site: Site) -> None:
    site.director.orders.put(None)  # it connects again
    said = [site.director.announced.get(timeout=DEADLINE) for _ in range(2)][-1].policy
    assert (said.unsigned, said.limits_workspaces, list(said.workspaces)) == (False, True, ["alice", "bob"])


def alter_plan(start: pb.Start) -> None:
    change_plan(start, "task_runner.settings.learning_rate", 10.0)


def alter_rounds(start: pb.Start) -> None:
    change_plan(start, ROUNDS, 1000)


def alter_submitted_plan(start: pb.Start) -> None:
    alter_rounds(start)
    start.submitted.plan = start.plan


def alter_model(start: pb.Start) -> None:
    start.submitted.blob.sha256 = "b" * 64


def alter_size(start: pb.Start) -> None:
    start.submitted.blob.size = 1 << 40


def alter_code(start: pb.Start) -> None:
    start.code_hash = "d" * 64


def alter_frozen_part(start: pb.Start) -> None:
    start.frozen_fingerprint = "e" * 64


def add_frozen(start: pb.Start) -> None:
    start.frozen.CopyFrom(pb.Blob(sha256="f" * 64, size=1000))


def add_submitted_frozen(start: pb.Start) -> None:
    add_frozen(start)
    start.submitted.frozen.CopyFrom(start.frozen)


def alter_id(start: pb.Start) -> None:
    start.submitted.id = "another-submission"


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (alter_plan, "the order's plan is not the one that alice has signed"),
        (alter_rounds, "the order's plan is not the one that alice has signed"),
        (alter_code, "the order's code is not the one that alice has signed"),
        (alter_frozen_part, "the order's frozen part is not the one that alice has signed"),
        (alter_submitted_plan, "workspace alice has not signed this"),
        (alter_model, "workspace alice has not signed this"),
        (alter_size, "workspace alice has not signed this"),
        (alter_id, "workspace alice has not signed this"),
        (add_frozen, "what is frozen by value is not what alice has signed"),
        (add_submitted_frozen, "workspace alice has not signed this"),
    ],
)
def test_a_director_that_alters_what_was_signed_is_refused(
    site: Site, alter: Callable[[pb.Start], None], said: str
) -> None:
    start = site.start()
    alter(start)
    assert said in site.director.orders_and_hears(start)


def test_a_submission_runs_under_one_name_only(site: Site) -> None:
    start = site.start()
    assert TAKEN in site.director.orders_and_hears(start)
    again = copy.deepcopy(start)
    again.experiment = "another-name"
    said = site.director.orders_and_hears(again)
    assert f"was taken as the experiment {start.experiment}, and runs under no other name" in said
    site.director.orders.put(pb.Order(forget=start.experiment))
    assert "under no other name" in site.director.orders_and_hears(again), "nor when it is done with"
    assert TAKEN in site.director.orders_and_hears(start), "it goes on under its own"


def test_a_name_that_is_given_to_another_submission_brings_nothing_of_the_first(site: Site) -> None:
    """A director that has another plan measure, or send home, what a site keeps of the first: its personal layers."""
    first = site.start()
    assert TAKEN in site.director.orders_and_hears(first)
    layers = site.folder / "state" / "north" / "experiments" / first.experiment / "0.safetensors"
    layers.parent.mkdir(parents=True)
    layers.write_bytes(b"personal")
    assert TAKEN in site.director.orders_and_hears(first)
    assert layers.exists(), "the same one goes on with what it has"
    second = site.start()
    second.experiment = first.experiment
    assert TAKEN in site.director.orders_and_hears(second)
    assert not layers.exists()


def test_a_second_submission_of_the_same_id_is_refused(site: Site) -> None:
    start = site.start(site.submission(id="chosen-twice"))
    assert TAKEN in site.director.orders_and_hears(start)
    other = site.start(site.submission(id="chosen-twice", version="2", frozen_fingerprint="9" * 64))
    other.experiment = start.experiment
    assert "another submission of the same id" in site.director.orders_and_hears(other)


def test_what_nobody_has_signed_is_refused_with_the_rules_name(site: Site) -> None:
    start = site.start()
    start.ClearField("submitted")
    assert "(policy: workspaces)" in site.director.orders_and_hears(start)


def test_a_workspace_that_the_policy_does_not_name_is_refused(site: Site) -> None:
    start = site.start(site.submission(by="mallory"))
    said = site.director.orders_and_hears(start)
    assert "does not permit submissions of mallory (policy: workspaces)" in said


@pytest.mark.parametrize("name", ["north", "director"])
def test_another_role_signs_nothing(site: Site, name: str) -> None:
    """A director that signs itself, or with an envoy's key."""
    said = site.director.orders_and_hears(site.start(site.submission(by=name)))
    assert f"it is signed by {site.member(name).identity()}; this is for the role workspace" in said


def test_a_submission_that_is_meant_for_another_director_is_refused(site: Site) -> None:
    said = site.director.orders_and_hears(site.start(site.submission(director="elsewhere")))
    assert "meant for the director 'elsewhere', not for director" in said


def test_a_certificate_of_another_authority_is_refused(site: Site, tmp_path: Path) -> None:
    make_authority(tmp_path)
    make_member(tmp_path, "alice", "workspace")
    start = site.start()
    text = text_of_submission(start.submitted)
    start.submitted.signature.CopyFrom(sign(Credentials(tmp_path, "alice"), text))
    assert "a certificate of another authority" in site.director.orders_and_hears(start)


def test_what_is_no_certificate_is_refused(site: Site) -> None:
    start = site.start()
    start.submitted.signature.certificate = b"none"
    assert "cannot be read" in site.director.orders_and_hears(start)


def test_a_certificate_must_be_valid_when_an_experiment_is_first_taken_and_not_later(site: Site) -> None:
    expired = reissued(site.member("alice"), ends_in=-DAY)
    first = site.start()
    first.submitted.signature.certificate = expired
    assert "the certificate of workspace alice" in site.director.orders_and_hears(first)

    taken = site.start()
    assert TAKEN in site.director.orders_and_hears(taken)
    taken.submitted.signature.certificate = expired
    assert TAKEN in site.director.orders_and_hears(taken)


def test_rounds_may_change_by_what_the_owner_or_an_operator_has_signed(site: Site) -> None:
    start = site.start()
    site.amend(start, aggregator__settings__rounds_to_train="7")
    signature = site.amend(start, by="bob", aggregator__settings__rounds_to_train="9")
    said = site.director.orders_and_hears(start)
    assert "change 2 is signed by workspace bob, the submission by alice" in said
    signature.certificate = reissued(site.member("bob"), role="operator")
    assert TAKEN in site.director.orders_and_hears(start)


def test_a_change_of_anything_else_is_refused_whoever_has_signed_it(site: Site) -> None:
    start = site.start()
    site.amend(start, task_runner__settings__learning_rate="10.0")
    said = site.director.orders_and_hears(start)
    assert "task_runner.settings.learning_rate cannot be changed by a resume" in said


def test_a_change_that_is_left_out_put_twice_or_taken_from_another_experiment_is_refused(site: Site) -> None:
    start = site.start()
    site.amend(start, aggregator__settings__rounds_to_train="7")
    site.amend(start, aggregator__settings__rounds_to_train="9")

    for numbers in ([1], [1, 0], [0, 0]):
        other = copy.deepcopy(start)
        del other.amendments[:]
        other.amendments.extend(start.amendments[number] for number in numbers)
        assert "of the experiment is missing, or comes twice" in site.director.orders_and_hears(other)

    elsewhere = site.start()
    elsewhere.amendments.extend(start.amendments)
    assert "change 1 is not signed as it must be" in site.director.orders_and_hears(elsewhere)


def test_other_code_is_gone_on_with_only_if_that_was_signed(site: Site) -> None:
    start = site.start()
    alter_code(start)
    site.amend(start, aggregator__settings__rounds_to_train="7")
    assert "the order's code is not the one" in site.director.orders_and_hears(start)
    site.amend(start, accept_code="true")
    assert TAKEN in site.director.orders_and_hears(start)


def test_a_change_must_be_signed_in_time_when_it_is_first_seen(site: Site) -> None:
    start = site.start()
    signature = site.amend(start, aggregator__settings__rounds_to_train="7")
    valid, expired = signature.certificate, reissued(site.member("alice"), ends_in=-DAY)
    signature.certificate = expired
    assert "the certificate of workspace alice" in site.director.orders_and_hears(start)
    signature.certificate = valid
    assert TAKEN in site.director.orders_and_hears(start)
    signature.certificate = expired
    assert TAKEN in site.director.orders_and_hears(start)


def test_while_a_sites_certificates_are_being_replaced_an_order_waits(site: Site) -> None:
    authority, aside = site.folder / "authority.crt", site.folder / "authority.aside"
    start = site.start()
    authority.rename(aside)
    try:
        site.director.orders.put(pb.Order(start=start))
        failure = site.director.failures.get(timeout=DEADLINE)
        assert (failure.passing, "authority.crt: there is no such file" in failure.reason) == (True, True)
    finally:
        aside.rename(authority)
    assert TAKEN in site.director.failures.get(timeout=DEADLINE).reason


class OtherModel(FakeDirector):
    """Sends a sound model, which is not the one that was submitted."""

    def GetModel(self, request: Any, context: Any) -> Iterator[pb.ModelChunk]:
        model = {"weight": np.arange(6, dtype=np.float32)}
        sha256, size = measure(model)
        yield pb.ModelChunk(info=pb.ModelInfo(blob=pb.Blob(sha256=sha256, size=size)))
        for piece in chunks(model):
            yield pb.ModelChunk(data=piece)


def test_a_director_that_sends_another_initial_model_is_refused_by_the_worker() -> None:
    with serving(OtherModel()) as address, Link(address, Identity("north", "envoy"), None) as link:
        client = GrpcAggregatorClient(link, "words", signed=pb.Blob(sha256="a" * 64, size=1000))
        with pytest.raises(Refused, match="initial model is not the one that was signed"):
            client.get_model(0)
        assert client.get_model(1), "later models are the rounds'"
