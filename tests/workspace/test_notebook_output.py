"""What envoys and directors say of themselves is shown by a notebook as text, and is nowhere part of its pages."""

from __future__ import annotations

import html
import json
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.checkout import ROOT

# It would run if a page took it as it is; the second has no quotes, which other escapes than HTML's would change.
SAID = ['<img src=x onerror="alert(1)">', "<script>alert(1)</script>", "<b>[/red]&amp;"]
BEGIN = f"SAID = {SAID!r}"
CELLS = {
    "the bar and lines of a watch": """
from workspace.progress import RoundProgress
with RoundProgress(SAID[0], 2) as progress:
    progress.take("envoy_failed", {"envoy": SAID[1], "reason": SAID[2]})
    progress.take("result", {"round": 0, "envoy": SAID[0], "task": SAID[1], "metrics": {SAID[2]: 1.0}})
    metrics = {task: {"accuracy": 0.5} for task in SAID}
    progress.take("round_closed", {"round": 0, "metrics": metrics, "cohort": []})
""",
    "the envoys as the notebooks list them": """
import pandas as pd
from federation.protocol import federation_pb2 as pb
from workspace.infos import envoy_info
told = pb.Announcement(
    dataset=SAID[0], classes=SAID, samples={SAID[1]: 3}, devices=[pb.Device(name=SAID[0], model=SAID[2])]
)
envoys = [envoy_info(pb.Envoy(name=SAID[1], announcement=told, experiments=SAID))]
pd.DataFrame([vars(envoy) for envoy in envoys])
""",
    "the list of envoys itself": "envoys",
    "an experiment": """
from workspace.infos import experiment_info
experiment_info(pb.Experiment(name=SAID[0], reason=SAID[1], submitted_by=SAID[2]))
""",
    "metrics, with the names of envoys as headings": """
from workspace.metrics import metric_rows
rows = [row for one in SAID for row in metric_rows(
    "result", {"round": 0, "task": one, "envoy": one, "metrics": {one: 0.5}})]
pd.DataFrame(rows).pivot(index="metric", columns="origin", values="value")
""",
    "a printed line": "print(*SAID)",
}


@pytest.fixture(scope="module")
def shown() -> dict[str, list[Any]]:
    """All that each cell has left in the notebook, widgets included."""
    cells = [nbformat.v4.new_code_cell(source) for source in (BEGIN, *CELLS.values())]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    )
    client.execute()
    found = {name: list(cell.outputs) for name, cell in zip(CELLS, cells[1:], strict=True)}
    # What is drawn into a widget is kept beside the cells.
    states = (
        notebook.metadata.get("widgets", {})
        .get("application/vnd.jupyter.widget-state+json", {})
        .get("state", {})
    )
    found[next(iter(CELLS))] += [
        output for one in states.values() for output in one["state"].get("outputs", [])
    ]
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_it_is_escaped_wherever_it_is_shown_as_html(cell: str, shown: dict[str, list[Any]]) -> None:
    assert shown[cell], "the cell shows something"
    assert "img src=x" in json.dumps(shown[cell])
    for output in shown[cell]:
        # Jupyter escapes text itself; of other kinds none may be there, since they are taken as they are.
        data = output.get("data", {"text/plain": output.get("text", "")})
        assert set(data) <= {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}, (
            data.keys()
        )
        page = "".join(data.get("text/html", ""))
        for one in SAID:
            assert one not in page
        if "img" in page:
            assert html.escape(SAID[0], quote=False) in page or html.escape(SAID[0]) in page
