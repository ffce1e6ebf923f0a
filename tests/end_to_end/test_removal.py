"""Experiments that were removed, and models that the director's retention has pruned, as their users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.errors import InputError
from tests.deployment import Deployment


def test_what_is_removed_or_pruned_is_told_to_whoever_asks_for_it(
    deployment: Deployment, plan_file: Path, tmp_path: Path
) -> None:
    fed = deployment.fed
    deployment.start_director()
    with deployment.federation() as federation:
        first, second = (federation.submit(plan_file, name=name) for name in ("first", "second"))
        assert "experiment first is queued; end it with `fed stop first`" in fed("rm", "first", code=3)
        first.stop()
        second.stop()
        assert fed("rm", "first") == "first: removed\n"
        assert [(info.name, info.pruned) for info in federation.experiments()] == [("second", False)]

        removed = r"experiment first was removed by workspace on \d{4}-\d\d-\d\d \d\d:\d\d UTC"
        for use in (
            first.info,
            first.resume,
            first.tensors,
            lambda: list(first.events()),
            lambda: federation.experiment("first"),
        ):
            with pytest.raises(InputError, match=f"^{removed}; its name stays taken$"):
                use()
        start = "federation.settings.start_from={experiment: first, which: best}"
        with pytest.raises(InputError, match=f"^federation.settings.start_from: {removed}"):
            federation.submit(plan_file, [start])
        assert first.remove().state == "removed", "as if its answer had been lost"
        for name in ("nobody", "Not a näme"):
            with pytest.raises(InputError, match=f"no experiment '{name}'"):
                federation.experiment(name)
        assert federation.submit(plan_file, name="first").name == "first-2"
    assert fed("logs", "first", code=3).startswith(
        "fed: error: experiment first was removed by workspace on "
    )

    assert deployment.director.end() == 0
    director = deployment.start_director(retention_days=1e-6)
    director.wait_for("experiment second: its models are pruned by this director's retention")
    with deployment.federation() as federation:
        listed = {info.name: (info.state, info.pruned) for info in federation.experiments()}
        assert listed == {"first-2": ("queued", False), "second": ("stopped", True)}
        second = federation.experiment("second")
        assert [event.kind for event in second.events()] == ["submitted", "waiting", "stopped", "pruned"]
        pruned = (
            r"the models of experiment second were pruned by this director's retention \(1e-06 days\) on 2"
        )
        with pytest.raises(InputError, match=f"^{pruned}"):
            second.resume()
        start = "federation.settings.start_from={experiment: second, which: last}"
        with pytest.raises(InputError, match=f"^federation.settings.start_from: {pruned}"):
            federation.submit(plan_file, [start])
    assert "models pruned" in fed("list")
    said = fed("model", "second", "-o", str(tmp_path / "model"), code=3)
    assert said.startswith(
        "fed: error: the models of experiment second were pruned by this director's retention"
    )
    assert said.count("\n") == 1
    assert [e["name"] for e in json.loads(fed("list", "--json")) if e["pruned"]] == ["second"]
