"""The confusion matrix of ``fed evaluate``, where there is room for it and where there is none."""

from __future__ import annotations

import re

import pytest

from tests.terminal import Terminal
from workspace.commands.confusion import print_confusion
from workspace.learning.evaluation import Measurement

CLASSES = [f"word-number-{number}" for number in range(11)] + ["一个词"]


def measured() -> Measurement:
    """Of twelve classes, each right nine times of ten but the first, which is taken for others."""
    confusion = [[9 if column == row else 0 for column in range(12)] for row in range(12)]
    confusion[0][1:4] = [2, 0, 7]
    recall = dict.fromkeys(CLASSES, 0.9)
    return Measurement("accuracy", 0.9, 0.8, 1.0, {}, 120, 6, 0.9, None, None, recall, CLASSES, confusion)


def test_through_a_pipe_it_is_a_row_and_a_column_for_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    print_confusion(measured())
    heading, _, first, *_ = (line for line in capsys.readouterr().out.splitlines() if line.strip())
    assert heading.split()[-12:] == CLASSES
    assert first.split() == ["word-number-0", "0.900", "9", "2", "0", "7", *["0"] * 8]


@pytest.mark.parametrize("columns", [40, 80])
def test_on_a_narrow_terminal_each_class_has_what_it_was_taken_for(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Terminal(monkeypatch, columns).shown(lambda: print_confusion(measured()))
    assert max(map(len, text.splitlines())) <= columns
    assert all(name in text for name in CLASSES)
    assert "word-number-37,word-number-12" in re.sub(r"\s", "", text)
    assert "…" not in text
