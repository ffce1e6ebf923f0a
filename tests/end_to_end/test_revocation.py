"""An envoy that is revoked while it trains: its process and its worker end, the others go on with what they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envoy.revoked import FILE, Revoked
from federation.certificates import load_certificate, make_member
from federation.errors import ExperimentFailed
from tests.deployment import Deployment, write_yaml
from workspace.client import Federation
from workspace.revocations import revoke


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for file in threads for child in file.read_text().split()]


def test_a_revoked_envoy_and_its_worker_end_and_the_others_keep_the_entry(
    two_envoys: Deployment, tiny_plan: dict[str, Any], tmp_path: Path
) -> None:
    north, south = two_envoys.services[1:3]
    make_member(two_envoys.certificates, "olga", "operator")
    plan = write_yaml(tmp_path / "plan.yaml", tiny_plan)
    with (
        two_envoys.federation() as federation,
        Federation(two_envoys.address, two_envoys.certificates, "olga") as olga,
    ):
        experiment = federation.submit(plan, ["aggregator.settings.rounds_to_train=1000"])
        next(event for event in experiment.events(follow=True) if event.body.get("envoy") == "north")
        (worker,) = children(north.process.pid)
        revoke(olga, "north", reason="stolen")
        assert north.process.wait(30) == 5
        north.wait_for("north.* was revoked by olga on .*: stolen")
        assert not Path(f"/proc/{worker}").exists()
        south.wait_for("north .*was revoked by olga")
        kept = Revoked(two_envoys.folder / "envoys" / "south", two_envoys.certificates)
        assert (two_envoys.folder / "envoys" / "south" / FILE).exists()
        assert "was revoked by olga" in kept.is_revoked(
            load_certificate(two_envoys.certificates / "north.crt", "")
        )
        with pytest.raises(ExperimentFailed, match="north"):
            experiment.watch(show=False)
        assert south.process.poll() is None
