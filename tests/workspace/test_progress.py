"""How far a run is: what each line says, and what it leaves out where it would be wrong."""

from __future__ import annotations

import time

import pytest

from workspace.amounts import duration
from workspace.progress import RoundProgress

VALIDATION = "aggregated_model_validation"


def lines(
    losses: list[float],
    capsys: pytest.CaptureFixture[str],
    ago: float = 0.0,
    decided_by: tuple[str, bool] | None = None,
    **body: object,
) -> list[str]:
    """The lines of rounds of ten seconds each, of eight, the first of which began so many seconds ago."""
    began = time.time() - ago
    with RoundProgress("rows", 8, decided_by=decided_by) as progress:
        for number, loss in enumerate(losses):
            progress.take("round_started", {"round": number}, began + 10 * number)
            metrics = {VALIDATION: {"loss": loss}}
            progress.take(
                "round_closed", {"round": number, "metrics": metrics, **body}, began + 10 * (number + 1)
            )
    return capsys.readouterr().err.splitlines()


def test_the_time_left_is_that_of_the_rounds_that_are_left_at_the_pace_of_those_that_were(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = lines([2.0, 1.0], capsys)
    assert "10 s, about 70 s left" in first
    assert "10 s, about 60 s left" in second


def test_of_a_run_of_yesterday_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines([2.0], capsys, ago=86400)
    assert line == "round   0 of 8  validation: loss 2.000  10 s"


def test_best_is_what_the_plan_says_and_of_equal_rounds_the_earlier(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fewer = lines([2.0, 0.5, 0.5, 1.0], capsys, decided_by=("loss", False))
    assert [line.partition("best so far: ")[2] for line in fewer] == [
        "round 0, loss 2.000", "round 1, loss 0.500", "round 1, loss 0.500", "round 1, loss 0.500"
    ]  # fmt: skip
    more = lines([0.5, 2.0], capsys, decided_by=("loss", True))
    assert "best so far: round 1, loss 2.000" in more[1]


def test_what_the_director_says_is_best_goes_before_what_is_known_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        "best so far: round 0, loss 2.000" in lines([2.0, 0.5], capsys, 0.0, ("loss", False), best_round=0)[1]
    )


def test_silent_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with RoundProgress("rows", 8, show=False) as progress:
        progress.take("round_closed", {"round": 0, "metrics": {}})
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0.0 s"),
        (3.21, "3.2 s"),
        (119, "119 s"),
        (125, "2 min 5 s"),
        (7200, "2 h"),
        (47 * 3600 + 61, "47 h 1 min"),
        (50 * 3600, "2 d 2 h"),
        (400 * 86400, "400 d"),
    ],
)
def test_a_duration_is_told_in_the_two_units_that_matter(seconds: float, said: str) -> None:
    assert duration(seconds) == said
