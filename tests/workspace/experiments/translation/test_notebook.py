"""The translation notebook runs from the plan to the picture of the attention, without a director."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from federation.main import main
from tests.checkout import ROOT

NOTEBOOK = ROOT / "workspace" / "translation.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs"), "clear the outputs before you commit"
        assert cell.get("execution_count") is None


def test_the_notebook_runs_from_the_plan_to_the_attention_on_the_data_that_its_command_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkout" / "workspace"
    folder.mkdir(parents=True)
    (folder.parent / "plans").symlink_to(ROOT / "plans")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("FED_STATE", str(tmp_path / "state"))
    for name in ("FED_PLAN", "FED_FEDERATION", "FED_OUTPUT", "FED_TEXTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FED_OVERRIDES", "aggregator.settings.rounds_to_train=1")
    first = nbformat.read(NOTEBOOK, as_version=4).cells[0].source
    command = next(line.split() for line in first.splitlines() if line.startswith("    fed "))
    assert main(command[1:]) == 0

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()

    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2, "BLEU, and attention"
    assert "translation_tiny: 1 rounds over north, south, west" in "".join(o.get("text", "") for o in shown)
    tables = [str(output.get("data", {}).get("text/html", "")) for output in shown]
    assert any("bleu" in table and "perplexity" in table for table in tables)
    assert any("nucleus" in table and "Tom takes the key." in table for table in tables)
    assert (folder.parent / "runs" / "translation_notebook" / "model" / "source_vocabulary.txt").is_file()
