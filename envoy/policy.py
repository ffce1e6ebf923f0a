"""What a site permits. It belongs to the site: the director cannot override it.

Code is never shipped: a plan names templates of the table, which are installed here, or it is refused before this is asked.
"""

from __future__ import annotations

from envoy.config import SitePolicy
from federation.plan import CheckedPlan
from federation.templates import known_templates


def permitted_experiments(policy: SitePolicy) -> list[str]:
    """Return the experiments that may run here."""
    installed = sorted(
        name
        for template in known_templates().values()
        if isinstance(template.settings, dict)
        for name in template.settings
    )
    return (
        installed
        if policy.experiments is None
        else [name for name in installed if name in policy.experiments]
    )


def refusal(policy: SitePolicy, plan: CheckedPlan) -> str | None:
    """Say why a plan may not run here; None if it may."""
    experiment = plan.config["task_runner"]["settings"]["experiment"]
    if experiment not in permitted_experiments(policy):
        return f"the site's policy does not permit the experiment {experiment}"
    return None
