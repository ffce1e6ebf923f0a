"""What a director takes of what is signed: it refuses what its sites would refuse, and passes the rest on as it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from director.blobs import BlobStore
from director.experiments import Experiments
from director.journal import Journal
from director.uploads import Uploads
from federation.certificates import make_authority, make_member
from federation.errors import FederationError, InputError, Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.signing import sign, text_of_amendment, text_of_submission
from federation.tensors import chunks, measure
from tests.deployment import TINY_PLAN
from tests.director.in_process import HASH, announcement
from tests.reissue import DAY, reissued

MODEL = {"weight": np.ones((2, 3), np.float32)}
ROUNDS = "aggregator.settings.rounds_to_train"
POLICY = pb.SitePolicy()


class Federation:
    """A director's experiments, and the keys of its members."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_authority(folder)
        make_member(folder, "director", "director", ["localhost"])
        make_member(folder, "north", "envoy")
        for name in ("alice", "bob"):
            make_member(folder, name, "workspace")
        self.journal = Journal(folder / "journal.sqlite")
        blobs = BlobStore(folder / "blobs")
        self.experiments = Experiments(
            self.journal,
            blobs,
            Uploads(folder / "uploads", blobs),
            1 << 20,
            credentials=self.member("director"),
        )

    def member(self, name: str) -> Credentials:
        return Credentials(self.folder, name)

    def submission(self, signed_by: str | None = "alice", **changes: Any) -> pb.Submission:
        plan = json.loads(json.dumps(TINY_PLAN))
        plan["federation"]["settings"]["envoys"] = 1
        plan["task_runner"]["settings"] = {"experiment": "tabular"}
        sha256, size = measure(MODEL)
        told: dict[str, Any] = {
            "name": "rows",
            "id": "submission-1",
            "plan": json.dumps(plan, indent=1),
            "code_hash": HASH,
            "blob": pb.Blob(sha256=sha256, size=size),
            "director": "director",
        }
        submission = pb.Submission(**(told | changes))
        if signed_by:
            submission.signature.CopyFrom(sign(self.member(signed_by), text_of_submission(submission)))
        return submission

    def submit(self, submission: pb.Submission, by: str = "alice") -> str:
        name: str = self.experiments.submit(submission, chunks(MODEL), by).name
        self.experiments.attend()
        return name

    def connect(self, policy: pb.SitePolicy = POLICY) -> SimpleQueue[Any]:
        orders: SimpleQueue[Any] = SimpleQueue()
        said = announcement()
        said.policy.CopyFrom(policy)
        self.experiments.connect("north", said, orders)
        self.experiments.attend()
        return orders

    def amendment(self, by: str = "alice", number: int = 1, **changes: Any) -> pb.Amendment:
        settings = {ROUNDS: "5"} | changes
        text = text_of_amendment("director", "submission-1", number, settings)
        return pb.Amendment(settings=settings, number=number, signature=sign(self.member(by), text))

    def resume(self, amendment: pb.Amendment | None, by: str = "alice") -> None:
        self.experiments.resume("rows", {ROUNDS: "5"}, False, by, amendment)
        self.experiments.attend()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    alive = Federation(tmp_path)
    yield alive
    alive.journal.close()


def start_among(orders: SimpleQueue[Any]) -> pb.Start:
    found = []
    while not orders.empty():
        found.append(orders.get())
    [start] = [order.start for order in found if order is not None and order.HasField("start")]
    return start


def test_a_signed_submission_is_passed_on_as_it_came(federation: Federation) -> None:
    submission = federation.submission()
    federation.submit(submission)
    start = start_among(federation.connect())
    assert start.submitted == submission, "to the byte, with the plan as it was written"
    assert start.plan != submission.plan
    assert not start.amendments


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"signed_by": "bob"}, "signed by workspace bob, and sent by alice"),
        ({"signed_by": "north"}, "this is for the role workspace"),
        ({"director": "elsewhere"}, "meant for the director 'elsewhere', this is director"),
    ],
)
def test_what_is_signed_otherwise_is_refused_and_nothing_of_it_is_kept(
    federation: Federation, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        federation.submit(federation.submission(**changes))
    assert federation.experiments.experiments() == []
    assert not [file for file in (federation.folder / "blobs").rglob("*") if file.is_file()]


def test_what_was_altered_or_is_signed_with_an_expired_certificate_is_refused(federation: Federation) -> None:
    altered = federation.submission()
    altered.code_hash = "d" * 64
    with pytest.raises(Refused, match="workspace alice has not signed this"):
        federation.submit(altered)
    expired = federation.submission()
    expired.signature.certificate = reissued(federation.member("alice"), ends_in=-DAY)
    with pytest.raises(Refused, match="the certificate of workspace alice"):
        federation.submit(expired)


def test_nobody_has_an_experiment_by_anothers_id(federation: Federation) -> None:
    assert federation.submit(federation.submission()) == "rows"
    assert federation.submit(federation.submission()) == "rows", "sent twice it is one experiment"
    with pytest.raises(Refused, match="another member has handed in a submission of this id"):
        federation.submit(federation.submission(signed_by="bob"), by="bob")


@pytest.mark.parametrize(
    ("policy", "signed_by", "said"),
    [
        (POLICY, None, "the envoy north needs a signed submission (its site policy: unsigned)"),
        (
            pb.SitePolicy(limits_workspaces=True, workspaces=["alice"]),
            None,
            "the envoy north needs a signed submission (its site policy: workspaces)",
        ),
        (
            pb.SitePolicy(limits_workspaces=True, workspaces=["bob"]),
            "alice",
            "the envoy north takes no submissions of alice (its site policy: workspaces)",
        ),
        (pb.SitePolicy(unsigned=True), None, ""),
        (pb.SitePolicy(limits_workspaces=True, workspaces=["alice"]), "alice", ""),
    ],
)
def test_what_a_site_would_not_take_waits_and_says_by_which_rule(
    federation: Federation, policy: pb.SitePolicy, signed_by: str | None, said: str
) -> None:
    federation.submit(federation.submission(signed_by=signed_by))
    orders = federation.connect(policy)
    row = federation.experiments.experiment("rows")
    assert (row.state, said in row.reason) == ("queued" if said else "running", True)
    assert bool(said) or start_among(orders).experiment == "rows"


def test_an_earlier_envoy_announces_no_policy_and_is_asked_as_before(federation: Federation) -> None:
    federation.submit(federation.submission(signed_by=None))
    federation.experiments.connect("north", announcement(), SimpleQueue())
    federation.experiments.attend()
    assert federation.experiments.experiment("rows").state == "running"


def test_changes_are_passed_on_in_order_as_their_owner_signed_them(federation: Federation) -> None:
    federation.submit(federation.submission())
    changes = [federation.amendment(), federation.amendment(number=2)]
    for change in changes:
        federation.experiments.stop("rows")
        federation.resume(change)
    start = start_among(federation.connect())
    assert list(start.amendments) == changes
    assert json.loads(start.plan)["aggregator"]["settings"]["rounds_to_train"] == 5
    numbers = [e.body["amendment"] for e in federation.journal.events("rows") if e.kind == "resumed"]
    assert numbers == [1, 2], "the next one is known"


def test_a_change_that_sites_would_refuse_changes_nothing(federation: Federation) -> None:
    federation.submit(federation.submission())
    federation.experiments.stop("rows")
    unsigned = federation.amendment()
    unsigned.ClearField("signature")
    told_otherwise = federation.amendment(**{ROUNDS: "500"})
    refused: list[tuple[pb.Amendment | None, str, type[FederationError], str]] = [
        (None, "alice", Refused, "experiment rows was signed, so its changes must be"),
        (unsigned, "alice", Refused, "experiment rows was signed, so its changes must be"),
        (federation.amendment(by="bob"), "bob", Refused, "experiment rows is alice's"),
        (federation.amendment(by="alice"), "bob", Refused, "signed by workspace alice, and sent by bob"),
        (told_otherwise, "alice", Refused, "another change than the one that is asked for"),
        (federation.amendment(number=2), "alice", InputError, "was changed meanwhile"),
    ]
    for change, by, error, said in refused:
        with pytest.raises(error, match=said):
            federation.resume(change, by)
    assert federation.experiments.experiment("rows").state == "stopped"
    assert federation.journal.read("SELECT COUNT(*) FROM amendments") == [(0,)]


def test_an_experiment_is_not_changed_without_end(federation: Federation) -> None:
    federation.submit(federation.submission())
    federation.experiments.stop("rows")
    with federation.journal.transaction() as journal:
        for number in range(1, 1001):
            change = pb.Amendment(number=number).SerializeToString()
            journal.execute("INSERT INTO amendments VALUES ('rows', ?, ?)", (number, change))
    with pytest.raises(InputError, match="was changed 1000 times: submit it again"):
        federation.resume(federation.amendment(number=1001))


def test_an_operator_changes_what_others_have_submitted(federation: Federation) -> None:
    federation.submit(federation.submission())
    federation.experiments.stop("rows")
    change = federation.amendment(by="bob")
    change.signature.certificate = reissued(federation.member("bob"), role="operator")
    federation.resume(change, by="bob")
    assert federation.experiments.experiment("rows").rounds == 5


def test_a_change_that_makes_no_plan_leaves_no_signature(federation: Federation) -> None:
    federation.submit(federation.submission())
    federation.experiments.stop("rows")
    change = federation.amendment(**{ROUNDS: "0"})
    with pytest.raises(InputError, match="rounds_to_train"):
        federation.experiments.resume("rows", {ROUNDS: "0"}, False, "alice", change)
    federation.resume(federation.amendment())
    assert federation.experiments.experiment("rows").rounds == 5


def test_with_an_experiment_goes_what_was_signed_of_it(federation: Federation) -> None:
    federation.submit(federation.submission())
    federation.experiments.stop("rows")
    federation.resume(federation.amendment())
    federation.experiments.stop("rows")
    federation.experiments.remove("rows", "alice")
    for table in ("signed", "amendments"):
        assert federation.journal.read(f"SELECT COUNT(*) FROM {table}") == [(0,)]


def test_other_code_is_accepted_by_a_signature_too(federation: Federation) -> None:
    federation.submit(federation.submission(code_hash="d" * 64))
    orders = federation.connect()
    with pytest.raises(Refused, match="so its changes must be"):
        federation.experiments.resume("rows", {}, True, "alice")
    assert federation.experiments.experiment("rows").code_hash == "d" * 64
    text = text_of_amendment("director", "submission-1", 1, {"accept_code": "true"})
    signature = sign(federation.member("alice"), text)
    change = pb.Amendment(settings={"accept_code": "true"}, number=1, signature=signature)
    federation.experiments.resume("rows", {}, True, "alice", change)
    federation.experiments.attend()
    start = start_among(orders)
    assert (start.code_hash, start.submitted.code_hash, list(start.amendments)) == (HASH, "d" * 64, [change])
