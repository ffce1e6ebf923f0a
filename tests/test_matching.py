"""Which envoys an experiment can be run with, and what is said of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from director.matching import mismatch
from federation.plan import load_plan
from federation.protocol import federation_pb2 as pb
from tests.deployment import WORDS

FITTING: dict[str, Any] = {
    "version": "1.0",
    "code_hash": "c" * 64,
    "dataset": "speech_commands",
    "classes": WORDS,
    "experiments": ["keyword_spotting"],
}


def test_an_envoy_that_fits(plan_file: Path) -> None:
    assert mismatch(load_plan(plan_file), "c" * 64, "1.0", pb.Announcement(**FITTING)) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "0.9"}, "runs version 0.9 of the project, the director 1.0: install the same"),
        (
            {"code_hash": "d" * 64},
            "has other experiment code (dddddddddddd) than the workspace (cccccccccccc)",
        ),
        ({"dataset": "digits"}, "holds digits, the plan asks for speech_commands"),
        ({"classes": WORDS[::-1]}, "or in another order"),
        ({"experiments": []}, "does not permit the experiment keyword_spotting"),
    ],
)
def test_what_keeps_an_envoy_away_is_said(plan_file: Path, changes: dict[str, Any], said: str) -> None:
    reason = mismatch(load_plan(plan_file), "c" * 64, "1.0", pb.Announcement(**(FITTING | changes)))
    assert said in str(reason)
