"""Which envoys an experiment can be run with, and why another cannot."""

from __future__ import annotations

from federation.plan import CheckedPlan
from federation.protocol import federation_pb2 as pb


def mismatch(plan: CheckedPlan, code_hash: str, version: str, announcement: pb.Announcement) -> str | None:
    """Say what keeps an envoy from an experiment; None if nothing does.

    Parameters
    ----------
    plan
        What is asked for.
    code_hash
        Of the submitting workspace's learning code.
    version
        Of this project, at the director.
    announcement
        What the envoy said of itself.
    """
    wanted = plan.federation
    if announcement.version != version:
        return f"runs version {announcement.version} of the project, the director {version}: install the same"
    if announcement.code_hash != code_hash:
        return (
            f"has other experiment code ({announcement.code_hash[:12]}) than the workspace ({code_hash[:12]}): "
            "install the same version at both"
        )
    if announcement.dataset != wanted.dataset:
        return f"holds {announcement.dataset}, the plan asks for {wanted.dataset}"
    if list(announcement.classes) != list(wanted.classes):
        return f"holds {len(announcement.classes)} classes that are not the plan's {len(wanted.classes)}, or in another order"
    experiment = plan.config["task_runner"]["settings"]["experiment"]
    if experiment not in announcement.experiments:
        return f"does not permit the experiment {experiment} (its site policy)"
    return None
