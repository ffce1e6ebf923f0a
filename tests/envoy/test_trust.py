"""What a site takes from its director, by its policy and by what it has noted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from envoy.config import EnvoyConfig, SitePolicy
from envoy.kept import Kept
from envoy.policy import announced
from envoy.trust import Trust
from federation.certificates import make_authority, make_member, subject_of
from federation.errors import Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.schema import Problems, load
from tests.deployment import shard_entry, write_yaml
from tests.hostile.site import Hostile, Site
from tests.reissue import DAY, reissued

ANYBODY = SitePolicy()
UNSIGNED = SitePolicy(unsigned=True)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    make_authority(tmp_path)
    for name, role in (("director", "director"), ("north", "envoy"), ("alice", "workspace")):
        make_member(tmp_path, name, role)
    return Site(tmp_path, Hostile(Credentials(tmp_path, "director")))


def test_unsigned_submissions_are_taken_only_where_the_policy_says_so(site: Site, tmp_path: Path) -> None:
    north = site.member("north")
    unsigned = pb.Start(experiment="words")
    for credentials in (north, None):
        with pytest.raises(Refused, match=r"does not permit unsigned submissions \(policy: unsigned\)"):
            Trust(credentials, ANYBODY, tmp_path / "taken").take(unsigned, "director")
        Trust(credentials, UNSIGNED, tmp_path / "taken").take(unsigned, "director")
    # Without certificates nothing that is signed can be checked.
    with pytest.raises(Refused, match="policy: unsigned"):
        Trust(None, ANYBODY, tmp_path / "taken").take(site.start(), "")


def test_what_is_signed_is_checked_where_unsigned_ones_are_taken_too(site: Site, tmp_path: Path) -> None:
    start = site.start()
    start.code_hash = "d" * 64
    with pytest.raises(Refused, match="the order's code is not the one"):
        Trust(site.member("north"), UNSIGNED, tmp_path / "taken").take(start, "director")


def test_what_was_taken_is_known_after_a_restart_and_never_again_first(site: Site, tmp_path: Path) -> None:
    start = site.start()
    Trust(site.member("north"), ANYBODY, tmp_path / "taken").take(start, "director")
    start.submitted.signature.certificate = reissued(site.member("alice"), ends_in=-DAY)
    Trust(site.member("north"), ANYBODY, tmp_path / "taken").take(start, "director")
    start.experiment = "another"
    with pytest.raises(Refused, match="runs under no other name"):
        Trust(site.member("north"), ANYBODY, tmp_path / "taken").take(start, "director")


def test_what_is_kept_under_a_name_does_not_come_into_another_submission_of_that_name(
    site: Site, tmp_path: Path
) -> None:
    """The first was removed while the site was away, or the director lies: both look the same from here."""
    trust, kept = Trust(site.member("north"), ANYBODY, tmp_path / "taken"), Kept(tmp_path / "experiments")
    earlier, later = site.start(), site.start(site.submission(id="later"))
    later.experiment = earlier.experiment
    layers = kept.folder_of(earlier.experiment) / "personal.safetensors"
    trust.take(earlier, "director", partial(kept.clear, earlier.experiment))
    layers.parent.mkdir(parents=True)
    layers.write_bytes(b"of the earlier")
    trust.take(earlier, "director", partial(kept.clear, earlier.experiment))
    assert layers.exists(), "the same one goes on with what it has"
    trust.take(later, "director", partial(kept.clear, later.experiment))
    assert not layers.exists()


def test_where_what_is_kept_cannot_be_removed_the_other_submission_is_not_taken(
    site: Site, tmp_path: Path
) -> None:
    trust, start = Trust(site.member("north"), ANYBODY, tmp_path / "taken"), site.start()

    def fails() -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        trust.take(start, "director", fails)
    asked: list[str] = []
    trust.take(start, "director", lambda: asked.append("again"))
    assert asked == ["again"]


def test_what_is_refused_is_not_noted_as_taken(site: Site, tmp_path: Path) -> None:
    trust = Trust(site.member("north"), ANYBODY, tmp_path / "taken")
    start = site.start()
    altered = pb.Start.FromString(start.SerializeToString())
    altered.experiment, altered.code_hash = "another", "d" * 64
    with pytest.raises(Refused):
        trust.take(altered, "director")
    trust.take(start, "director")


def test_a_note_that_is_damaged_is_named(site: Site, tmp_path: Path) -> None:
    trust, start = Trust(site.member("north"), ANYBODY, tmp_path / "taken"), site.start()
    trust.take(start, "director")
    [note] = (tmp_path / "taken").iterdir()
    note.write_text("{")
    with pytest.raises(Refused, match=f"{note.name} is damaged: remove it"):
        trust.take(start, "director")


def test_whom_the_site_knows_as_revoked_is_refused_though_taken_before(site: Site, tmp_path: Path) -> None:
    start = site.start()
    Trust(site.member("north"), ANYBODY, tmp_path / "taken").take(start, "director")

    def is_revoked(certificate: x509.Certificate) -> str:
        return "was revoked: her laptop was stolen" if subject_of(certificate)[0] == "alice" else ""

    trust = Trust(site.member("north"), ANYBODY, tmp_path / "taken", is_revoked)
    with pytest.raises(
        Refused, match="workspace alice, whose certificate was revoked: her laptop was stolen"
    ):
        trust.take(start, "director")


def test_a_policy_takes_signed_submissions_by_default_and_cannot_want_two_things(tmp_path: Path) -> None:
    content = {
        "name": "north",
        "director": "localhost:50051",
        "shard_descriptor": shard_entry(tmp_path, 0, 1),
    }
    policy = load(write_yaml(tmp_path / "envoy.yaml", content), EnvoyConfig).policy
    assert announced(policy) == pb.SitePolicy()
    content["policy"] = {"unsigned": True, "workspaces": ["alice"]}
    with pytest.raises(Problems, match="unsigned and workspaces exclude each other"):
        load(write_yaml(tmp_path / "envoy.yaml", content), EnvoyConfig)
