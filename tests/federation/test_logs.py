"""Where log lines go: one line to the terminal, tracebacks to the file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation import logs

logger = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    logs.configure(quiet=True)


def test_a_services_error_is_a_line_on_the_terminal_and_has_its_traceback_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "director.log"
    logs.configure(file=file)
    try:
        {}["missing"]
    except KeyError:
        logger.exception("nothing can be attended to")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"nothing can be attended to: KeyError: 'missing'; the traceback is in {file}")
    written = file.read_text()
    assert "Traceback" in written
    assert "    KeyError: 'missing'" in written


def test_a_traceback_that_another_process_has_told_is_in_the_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "envoy.log"
    logs.configure(file=file)
    told = "Traceback (most recent call last):\n  File 'worker.py'\x1b[2J\nValueError: shape"
    logger.error("experiment words: shape", extra=logs.with_traceback(told))
    logger.error("experiment words: refused", extra=logs.with_traceback(""))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(f"experiment words: shape; the traceback is in {file}")
    assert second.endswith("experiment words: refused")
    assert "    ValueError: shape\n" in file.read_text()
    assert "\x1b" not in file.read_text()


def test_what_is_for_the_file_alone_is_not_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(file=tmp_path / "log")
    logger.error("ended with exit code 3", extra=logs.in_file_only())
    assert capsys.readouterr().err == ""
    assert "ended with exit code 3" in (tmp_path / "log").read_text()
    assert logs.file_in_use() == tmp_path / "log"
