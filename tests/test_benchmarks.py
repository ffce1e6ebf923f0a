"""Benchmarks are run by hand, so what they name of the project is looked up here."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.test_floors import PACKAGES

BENCHMARKS = pytest.mark.parametrize(
    "file", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda file: file.name
)


@BENCHMARKS
def test_a_benchmark_says_how_it_is_used(file: Path) -> None:
    command = [sys.executable, str(file), "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@BENCHMARKS
def test_what_a_benchmark_imports_is_there(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in PACKAGES:
            for alias in node.names:
                assert hasattr(import_module(node.module), alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize(
    "part", [("idle", "--watched", "0.1"), ("working", "--rounds", "1", "--parameters", "200")]
)
def test_a_few_envoys_are_weighed_beside_a_bare_server(part: tuple[str, ...]) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "many_envoys.py"), *part, "--envoys", "4", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    compared = {"idle": "kib_each", "working": "round_seconds"}[part[0]]
    assert found["envoys"] == 4
    assert found.keys() >= {compared, f"bare_{compared}"}
