"""Which envoys an experiment can be run with, and why another cannot."""

from __future__ import annotations

from federation.equal_code import is_equal
from federation.plan import CheckedPlan
from federation.protocol import federation_pb2 as pb


def mismatch(plan: CheckedPlan, code_hash: str, version: str, announcement: pb.Announcement) -> str | None:
    """Say what keeps an envoy from an experiment, as a clause about it; None if nothing does.

    Parameters
    ----------
    plan
        What is asked for.
    code_hash
        Of the code of the plan's experiment at the submitting workspace.
    version
        Of this project, at the director.
    announcement
        What the envoy said of itself.
    """
    wanted = plan.federation
    if announcement.version != version:
        return f"runs version {announcement.version} of the project, the director {version}: install the same"
    if (other := other_code(plan, code_hash, announcement)) is not None:
        return other
    if announcement.dataset != wanted.dataset:
        return f"holds {announcement.dataset}, the plan asks for {wanted.dataset}"
    if list(announcement.classes) != list(wanted.classes):
        return f"holds {len(announcement.classes)} classes that are not the plan's {len(wanted.classes)}, or in another order"
    if plan.experiment not in announcement.experiments:
        return f"does not permit the experiment {plan.experiment} (its site policy)"
    return None


def other_code(plan: CheckedPlan, code_hash: str, announcement: pb.Announcement) -> str | None:
    """Say that an envoy lacks the code of an experiment, or has another one; None if it has the same or an equal one."""
    found = announcement.code_hashes.get(plan.experiment)
    if found is None:
        return f"has no experiment {plan.experiment}: install the package that brings it there"
    if not is_equal(found, code_hash):
        return (
            f"has other code of the experiment {plan.experiment} ({found[:12]}) than it was submitted with ({code_hash[:12]}): "
            f"install the same, or give it up with `fed stop {plan.name}` and submit it again"
        )
    return None
