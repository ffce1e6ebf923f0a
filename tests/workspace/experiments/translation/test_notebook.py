"""The translation notebook runs from the plan to the picture of the attention, without a director."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from federation.plan import load_plan
from tests.checkout import ROOT
from tests.deployment import write_yaml
from tests.translation_data import pairs_entry, write_pairs

NOTEBOOK = ROOT / "workspace" / "translation.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs"), "clear the outputs before you commit"
        assert cell.get("execution_count") is None


def test_the_notebook_runs_from_the_plan_to_the_attention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = write_pairs(tmp_path / "pairs.txt")
    entries: dict[str, Any] = {
        name: {"shard_descriptor": pairs_entry(pairs, rank, 3)}
        for rank, name in enumerate(("north", "south", "west"))
    }
    parameters = {
        "FED_PLAN": str(ROOT / "plans" / "translation_tiny.yaml"),
        "FED_FEDERATION": str(
            write_yaml(tmp_path / "federation.yaml", {"envoys": entries, "test": entries["north"]})
        ),
        "FED_OVERRIDES": "aggregator.settings.rounds_to_train=1",
        "FED_OUTPUT": str(tmp_path / "out"),
        "FED_TEXTS": "I see the cat.|We want a book.",
    }
    for name, value in parameters.items():
        monkeypatch.setenv(name, value)

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()

    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2, "BLEU, and attention"
    assert "translation_tiny: 1 rounds over north, south, west" in "".join(o.get("text", "") for o in shown)
    tables = [str(output.get("data", {}).get("text/html", "")) for output in shown]
    assert any("bleu" in table and "perplexity" in table for table in tables)
    assert any("nucleus" in table and "I see the cat." in table for table in tables)
    assert load_plan(parameters["FED_PLAN"]).task_runner.source_vocabulary
