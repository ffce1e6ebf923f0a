"""Which envoys an experiment can be run with, and why another cannot."""

from __future__ import annotations

import json

from director.envoys import OnlineEnvoy
from director.needs import Needs
from federation.equal_code import is_equal
from federation.protocol import federation_pb2 as pb
from federation.site_policy import objection


def mismatch(needs: Needs, code_hash: str, envoy: OnlineEnvoy, signer: str = "") -> str | None:
    """Say what keeps an envoy from an experiment, as a clause about it; None if nothing does.

    Parameters
    ----------
    needs
        What is asked for.
    code_hash
        Of the code of the plan's experiment at the submitting workspace.
    envoy
        With what it said of itself.
    signer
        Who has signed the submission; empty if nobody has.
    """
    announcement = envoy.announcement
    if (other := other_code(needs, code_hash, announcement)) is not None:
        return other
    if announcement.dataset != needs.dataset:
        return f"holds {announcement.dataset}, the plan asks for {needs.dataset}"
    if envoy.classes_sha256 != needs.classes_sha256:
        return f"holds {len(announcement.classes)} classes that are not the plan's {needs.classes}, or in another order"
    if needs.experiment not in announcement.experiments:
        return f"does not permit the experiment {needs.experiment} (its site policy)"
    policy = announcement.policy
    if announcement.HasField("policy") and (reason := not_permitted(policy, signer)) is not None:
        return reason  # an earlier version has no such rules
    return objection(policy, json.loads(needs.asked)) if policy.limits_checkpoints or policy.bounds else None


def not_permitted(policy: pb.SitePolicy, signer: str) -> str | None:
    """Say that a site does not take the submissions of somebody; None if it does."""
    if not signer and not policy.unsigned:
        rule = "workspaces" if policy.limits_workspaces else "unsigned"
        return f"needs a signed submission (its site policy: {rule})"
    if signer and policy.limits_workspaces and signer not in policy.workspaces:
        return f"takes no submissions of {signer} (its site policy: workspaces)"
    return None


def other_code(needs: Needs, code_hash: str, announcement: pb.Announcement) -> str | None:
    """Say that an envoy lacks the code of an experiment, or has another one; None if it has the same or an equal one."""
    found = announcement.code_hashes.get(needs.experiment)
    if found is None and announcement.code_hash:
        return "runs version 0.1.0, which does not say its code of each experiment: upgrade it"
    if found is None:
        return f"has no experiment {needs.experiment}: install the package that brings it there"
    if not is_equal(found, code_hash):
        return (
            f"has other code of the experiment {needs.experiment} ({found[:12]}) than it was submitted with "
            f"({code_hash[:12]}): install the same, or give it up with `fed stop {needs.name}` and submit it again"
        )
    return None
