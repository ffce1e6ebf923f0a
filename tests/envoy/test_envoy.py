"""An envoy's own side: its devices, its policy, its config."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from envoy.config import EnvoyConfig, SitePolicy
from envoy.devices import find_devices
from envoy.policy import permitted_experiments, refusal
from federation.errors import InputError
from federation.plan import load_plan
from federation.schema import Problems, load
from tests.deployment import shard_entry, write_yaml


def config(tmp_path: Path, **changes: Any) -> Path:
    content = {
        "name": "north",
        "director": "localhost:50051",
        "shard_descriptor": shard_entry(tmp_path, 0, 1),
    }
    return write_yaml(tmp_path / "envoy_config.yaml", content | changes)


def test_without_a_gpu_it_says_that_it_uses_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with caplog.at_level(logging.INFO):
        [device] = find_devices("auto")
    assert device.name == "cpu"
    assert device.memory > 2**30
    assert "using the CPU" in caplog.text
    with pytest.raises(InputError, match="cuda:0 is not here"):
        find_devices(["cuda:0"])


def test_a_list_of_devices_is_one_for_each_running_experiment() -> None:
    assert [device.name for device in find_devices(["cpu", "cpu"])] == ["cpu", "cpu"]


def test_a_site_permits_what_its_policy_lists(plan_file: Path) -> None:
    plan = load_plan(plan_file)
    assert refusal(SitePolicy(), plan) is None
    assert refusal(SitePolicy(["keyword_spotting"]), plan) is None
    assert "does not permit" in str(refusal(SitePolicy([]), plan))
    assert permitted_experiments(SitePolicy(["unknown"])) == []


def test_its_paths_are_taken_from_the_configs_folder_and_its_state_lies_outside(tmp_path: Path) -> None:
    found = load(config(tmp_path), EnvoyConfig)
    assert found.certificates == tmp_path / "../certificates"
    assert not found.state.is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"devcies": "cpu"}, "did you mean devices"),
        ({"devices": "gpu"}, "devices"),
        ({"devices": []}, "devices"),
        ({"director": "localhost"}, "director"),
        ({"name": "model"}, "meaning of its own"),
        ({"name": "North Pole"}, "must begin with a small letter"),
        ({"shard_descriptor": {"template": "os.system"}}, "os.system"),
        ({"log_level": "loud"}, "log_level"),
    ],
)
def test_a_config_is_checked_as_strictly_as_a_plan(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(Problems, match=said) as error:
        load(config(tmp_path, **changes), EnvoyConfig)
    assert "envoy_config.yaml:" in str(error.value), "with the line"
