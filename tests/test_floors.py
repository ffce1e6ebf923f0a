"""Imports go down only, and the director's floor and the floor below know neither torch nor transformers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("federation", "director", "envoy", "workspace", "shard_descriptors")
MAY_IMPORT = {
    "federation": set(),
    "director": {"federation"},
    # The dotted names of learning code and shard descriptors are imported where a plan or config gives them.
    "envoy": {"federation"},
    "shard_descriptors": {"federation"},
    "workspace": {"federation", "shard_descriptors"},
}
LEARNING = {"torch", "torchaudio", "torchvision", "transformers", "peft", "datasets", "sacrebleu", "PIL"}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_only(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        for name in imports(file):
            top = name.partition(".")[0]
            if top in PACKAGES and top != package:
                # The base class for type checkers only: `if TYPE_CHECKING`.
                if (package, name) == ("federation", "shard_descriptors.descriptor"):
                    continue
                assert top in MAY_IMPORT[package], f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", ["federation", "director"])
def test_the_director_needs_no_learning_packages(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert not {name.partition(".")[0] for name in imports(file)} & LEARNING, file.relative_to(ROOT)


def test_experiments_know_nothing_of_the_engine() -> None:
    for file in (ROOT / "workspace" / "experiments").rglob("*.py"):
        found = list(imports(file))
        assert not [name for name in found if name.startswith(("openfl", "federation.engine"))], file


def test_nothing_unpickles_or_loads_yaml_unsafely() -> None:
    forbidden = {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            assert not {name.partition(".")[0] for name in imports(file)} & forbidden, file
            text = file.read_text()
            assert "yaml.load(" not in text, file
            assert all("weights_only=True" in line for line in text.splitlines() if "torch.load(" in line), (
                file
            )
