"""Imports go down only, and the director's floor and the floor below know neither torch nor transformers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.checkout import ROOT

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
    """Yield what a file imports, wherever in it, but for what only type checkers see."""
    for node in seen_at_run_time(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def seen_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from seen_at_run_time(child)


def modules() -> dict[str, Path]:
    """The project's modules by name; a package is its ``__init__``."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    parts = {file: file.relative_to(ROOT).with_suffix("").parts for file in files}
    return {".".join(p[:-1] if p[-1] == "__init__" else p): file for file, p in parts.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_only(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        for name in imports(file):
            top = name.partition(".")[0]
            if top in PACKAGES and top != package:
                assert top in MAY_IMPORT[package], f"{file.relative_to(ROOT)} imports {name}"


def test_no_import_goes_in_a_circle() -> None:
    known = modules()
    graph = {
        name: {other for other in imports(file) if other in known} - {name} for name, file in known.items()
    }
    # Raises CycleError, which names the circle.
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == known.keys()


FAMILIES = ("speech", "text", "images", "synthesis")


def test_what_all_shards_share_knows_no_family_and_no_family_another() -> None:
    joins = {
        "cli",
        "templates",
        "sample_data",
    }  # the commands, the table, and what makes data of every family
    for name, file in modules().items():
        top, _, below = name.partition(".")
        room = below.partition(".")[0]
        if top == "shard_descriptors" and room not in joins:
            own = {room} if room in FAMILIES else set()
            # Synthesised speech is speech.
            own |= {"speech"} if room == "synthesis" else set()
            for other in FAMILIES:
                reached = [one for one in imports(file) if one.startswith(f"shard_descriptors.{other}.")]
                assert other in own or not reached, f"{name} imports {reached}"


def test_no_experiment_knows_another() -> None:
    folder = ROOT / "workspace" / "experiments"
    for file in folder.rglob("*.py"):
        own = f"workspace.experiments.{file.relative_to(folder).parts[0]}."
        others = [name for name in imports(file) if name.startswith("workspace.experiments.")]
        assert all(f"{name}.".startswith(own) for name in others), file


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


def test_what_lies_at_a_path_is_removed_in_one_place() -> None:
    for name, file in modules().items():
        if name != "federation.paths":
            assert "rmtree" not in file.read_text(), f"{name} removes folders: use federation.paths.remove"
