"""Which envoys an experiment can be run with, and what is said of another."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from director.envoys import OnlineEnvoy
from director.matching import mismatch
from director.needs import Needs, needs_of
from federation.equal_code import EQUAL
from federation.plan import load_plan
from federation.protocol import federation_pb2 as pb
from tests.deployment import WORDS

FITTING: dict[str, Any] = {
    "version": "1.0",
    "code_hashes": {"keyword_spotting": "c" * 64, "sentiment": "d" * 64},
    "dataset": "speech_commands",
    "classes": WORDS,
    "experiments": ["keyword_spotting"],
}


def needs(plan_file: Path) -> Needs:
    plan = load_plan(plan_file)
    return needs_of(plan.name, plan.config)


def envoy(**announcement: Any) -> OnlineEnvoy:
    return OnlineEnvoy("north", pb.Announcement(**announcement), 0.0, SimpleQueue())


def test_an_envoy_that_fits(plan_file: Path) -> None:
    assert mismatch(needs(plan_file), "c" * 64, envoy(**FITTING)) is None


@pytest.mark.parametrize("version", ["", "0.1.0", "77.0"])
def test_whatever_version_of_the_project_an_envoy_runs(plan_file: Path, version: str) -> None:
    assert mismatch(needs(plan_file), "c" * 64, envoy(**(FITTING | {"version": version}))) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"code_hashes": {"keyword_spotting": "d" * 64}},
            "has other code of the experiment keyword_spotting (dddddddddddd) than it was submitted with (cccccccccccc): "
            "install the same, or give it up with `fed stop tiny` and submit it again",
        ),
        ({"code_hashes": {"sentiment": "d" * 64}}, "has no experiment keyword_spotting"),
        ({"dataset": "digits"}, "holds digits, the plan asks for speech_commands"),
        ({"classes": WORDS[::-1]}, "or in another order"),
        ({"experiments": []}, "does not permit the experiment keyword_spotting"),
    ],
)
def test_what_keeps_an_envoy_away_is_said(plan_file: Path, changes: dict[str, Any], said: str) -> None:
    reason = mismatch(needs(plan_file), "c" * 64, envoy(**(FITTING | changes)))
    assert said in str(reason)


def test_code_that_gives_the_same_bits_counts_as_equal(plan_file: Path) -> None:
    [(before, *_, now), *_] = EQUAL
    told = FITTING | {"code_hashes": {"keyword_spotting": now}}
    assert mismatch(needs(plan_file), before, envoy(**told)) is None
    assert mismatch(needs(plan_file), "e" * 64, envoy(**told)) is not None
