"""The notebook drives a whole experiment against a real deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.checkout import ROOT
from tests.deployment import WORDS, Deployment

NOTEBOOK = ROOT / "workspace" / "keyword_spotting.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs"), "clear the outputs before you commit"
        assert cell.get("execution_count") is None


def test_the_notebook_runs_from_the_envoys_to_the_plot_and_the_model(
    two_envoys: Deployment, plan_file: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "taken home"
    parameters = {
        "FED_DIRECTOR": two_envoys.address,
        "FED_CERTIFICATES": str(two_envoys.certificates),
        "FED_PLAN": str(plan_file),
        "FED_OVERRIDES": "aggregator.settings.rounds_to_train=1 federation.settings.envoys=2",
        "FED_MODEL": str(model),
        "FED_CLIPS": str(speech),
        "FED_STATE": str(tmp_path / "fed-state"),
    }
    for name, value in parameters.items():
        monkeypatch.setenv(name, value)

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Its folder is that of the notebook, as in Jupyter: the modules beside it come first on the path there.
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()

    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown), "the accuracy is plotted"
    printed = "".join(output.get("text", "") for output in shown)
    assert "tiny: finished after 1 rounds" in printed
    tables = [table for output in shown if (table := _html(output))]
    assert any("north" in table and "south" in table and "speech_commands" in table for table in tables), (
        "envoys"
    )
    assert any("aggregator" in table and "north" in table for table in tables), "metrics"
    assert any("score" in table and any(word in table for word in WORDS) for table in tables), "what it heard"
    assert (model / "config.json").is_file()
    assert (model / "model.safetensors").is_file()


def _html(output: Any) -> str:
    return str(output.get("data", {}).get("text/html", ""))
