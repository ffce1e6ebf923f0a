"""What a site permits. It belongs to the site: the director cannot override it.

Code is never shipped: a plan names templates of the table, which are installed here, or it is refused before this is asked.
"""

from __future__ import annotations

from envoy.config import SitePolicy
from federation.experiments import usable_experiments
from federation.plan import CheckedPlan
from federation.protocol import federation_pb2 as pb


def permitted_experiments(policy: SitePolicy) -> list[str]:
    """Return the experiments that may run here: those that are installed and can be used, and that the policy lists."""
    return [name for name in usable_experiments() if policy.experiments is None or name in policy.experiments]


def announced(policy: SitePolicy) -> pb.SitePolicy:
    """Return what a director is told of a policy, so that it asks for nothing that is not permitted."""
    return pb.SitePolicy(
        limits_workspaces=policy.workspaces is not None,
        workspaces=policy.workspaces or (),
        unsigned=policy.unsigned,
    )


def refusal(policy: SitePolicy, plan: CheckedPlan) -> str | None:
    """Say why a plan may not run here; None if it may."""
    if plan.experiment not in permitted_experiments(policy):
        return f"the site's policy does not permit the experiment {plan.experiment}"
    return None
