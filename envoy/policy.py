"""What a site permits. It belongs to the site: the director cannot override it.

Code is never shipped: a plan names templates of the table, which are installed here, or it is refused before this is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from envoy.config import SitePolicy
from federation.errors import InputError
from federation.experiments import usable_experiments
from federation.plan import CheckedPlan
from federation.protocol import federation_pb2 as pb
from federation.site_policy import PARAMETERS, asked_by, objection


def permitted_experiments(policy: SitePolicy) -> list[str]:
    """Return the experiments that may run here: those that are installed and can be used, and that the policy lists."""
    return [name for name in usable_experiments() if policy.experiments is None or name in policy.experiments]


def permitted_devices(policy: SitePolicy, devices: Sequence[pb.Device]) -> list[pb.Device]:
    """Return those devices that the policy permits.

    Raises
    ------
    InputError
        If it permits none of them.
    """
    permitted = [device for device in devices if policy.devices is None or device.name in policy.devices]
    if devices and not permitted:
        there = ", ".join(device.name for device in devices)
        raise InputError(f"policy.devices: permits none of the devices that are here and set ({there})")
    return permitted


def permits_hub(policy: SitePolicy, folders: Collection[str]) -> bool:
    """Say whether checkpoints may come from the hub: by default where nothing says which there are."""
    return policy.hub if policy.hub is not None else not folders and policy.checkpoints is None


def bounds_of(policy: SitePolicy) -> dict[str, float]:
    """Return the upper bounds that the policy sets, by name."""
    return {name: value for name, value in asdict(policy.bounds).items() if value is not None}


def announced(policy: SitePolicy, folders: Collection[str] = ()) -> pb.SitePolicy:
    """Return what matching must know of a policy.

    Parameters
    ----------
    policy
        The site's.
    folders
        The ids of the checkpoints that lie at the site.
    """
    hub = permits_hub(policy, folders)
    checkpoints = folders if policy.checkpoints is None else policy.checkpoints
    return pb.SitePolicy(
        limits_checkpoints=not hub or policy.checkpoints is not None,
        checkpoints=sorted(name for name in checkpoints if hub or name in folders),
        bounds=bounds_of(policy),
        limits_workspaces=policy.workspaces is not None,
        workspaces=policy.workspaces or (),
        unsigned=policy.unsigned,
    )


def refusal(policy: SitePolicy, plan: CheckedPlan, folders: Collection[str] = ()) -> str | None:
    """Say why a plan may not run here; None if it may. ``folders`` as in `announced`."""
    if plan.experiment not in permitted_experiments(policy):
        return f"the site's policy does not permit the experiment {plan.experiment}"
    reason = objection(announced(policy, folders), asked_by(plan.config))
    return None if reason is None else f"the site {reason}"


def refusal_of_model(bounds: Mapping[str, float], parameters: int, disk_bytes: int) -> str | None:
    """Say why a model may not be trained here, which is known when it has been built; None if it may.

    Parameters
    ----------
    bounds
        As `bounds_of` returns them.
    parameters
        Of the model, frozen ones too.
    disk_bytes
        That it takes in the envoy's state folder.
    """
    policy = pb.SitePolicy(bounds=bounds)
    reason = objection(policy, {PARAMETERS: parameters, "disk_bytes": disk_bytes})
    return None if reason is None else f"the site {reason}"
