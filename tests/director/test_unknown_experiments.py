"""An experiment that is not installed at the director is opaque to it: bounded, passed on, and never handed to OpenFL."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from director.blobs import BlobStore
from director.experiments import Experiments
from director.journal import Journal
from director.uploads import Uploads
from federation import document
from federation.engine import build
from federation.errors import InputError
from federation.protocol import federation_pb2 as pb
from federation.tensors import chunks, measure
from tests.deployment import TINY_PLAN, WORDS

MODEL = {"weight": np.ones((2, 3), np.float32)}
HASH = "c" * 64


def plan(**settings: Any) -> dict[str, Any]:
    content = copy.deepcopy(TINY_PLAN)
    content["federation"]["settings"]["envoys"] = 1
    content["task_runner"]["settings"] = {"experiment": "tabular", **settings}
    return content


@pytest.fixture
def experiments(tmp_path: Path) -> Iterator[Experiments]:
    journal, blobs = Journal(tmp_path / "journal.sqlite"), BlobStore(tmp_path / "blobs")
    yield Experiments(journal, blobs, Uploads(tmp_path / "uploads", blobs), 1 << 20)
    journal.close()


def submit(experiments: Experiments, content: dict[str, Any], name: str = "rows") -> Any:
    sha256, size = measure(MODEL)
    submission = pb.Submission(
        name=name,
        id=f"submission-{name}",
        plan=json.dumps(content),
        version="1.0",
        code_hash=HASH,
        blob=pb.Blob(sha256=sha256, size=size),
    )
    return experiments.submit(submission, chunks(MODEL), "workspace")


def announcement(**changes: Any) -> pb.Announcement:
    told = {
        "version": "1.0",
        "dataset": "speech_commands",
        "classes": WORDS,
        "experiments": ["tabular"],
        "code_hashes": {"tabular": HASH},
    }
    return pb.Announcement(**(told | changes))


def connect(experiments: Experiments, said: pb.Announcement) -> SimpleQueue[Any]:
    """Come online as north; return the queue of its orders."""
    orders: SimpleQueue[Any] = SimpleQueue()
    experiments.connect("north", said, orders)
    experiments.attend()
    return orders


def test_its_settings_are_passed_on_as_they_are(experiments: Experiments) -> None:
    odd = {"rows": [1, 2.5, None, True, {"deep": ["er"]}], "text": "ä"}
    row = submit(experiments, plan(**odd))
    assert row.state == "queued"
    envoy = connect(experiments, announcement())
    assert envoy.get(timeout=5).HasField("connected")
    order = envoy.get(timeout=5)
    assert order.start.experiment == "rows"
    assert json.loads(order.start.plan)["task_runner"]["settings"] == {"experiment": "tabular", **odd}
    assert experiments.experiment("rows").state == "running"


def test_openfl_sees_nothing_of_what_runs_at_the_sites(
    experiments: Experiments, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Watched(build.Plan):  # type: ignore[misc]
        def resolve(self) -> None:
            seen.append(copy.deepcopy(self.config))
            super().resolve()

    monkeypatch.setattr(build, "Plan", Watched)
    submit(experiments, plan(callbacks={"template": "os.system", "settings": {"command": "touch owned"}}))
    connect(experiments, announcement())
    [config] = seen
    assert not config.keys() & {"task_runner", "data_loader", "collaborator", "federation"}
    assert "os.system" not in json.dumps(config, default=str)


def test_who_lacks_it_is_named(experiments: Experiments) -> None:
    submit(experiments, plan())
    connect(experiments, announcement(code_hashes={"sentiment": HASH}))
    reason = experiments.experiment("rows").reason
    assert "the envoy north has no experiment tabular: install the package that brings it there" in reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experiment": "Tabular"}, "must be a name of a-z, 0-9 and _, not 'Tabular'"),
        ({"experiment": "../tabular"}, "must be a name of a-z, 0-9 and _"),
        ({"experiment": ["tabular"]}, "must be a name of a-z, 0-9 and _, not a list"),
        ({"rows": "x" * document.MAX_BYTES}, "is larger than 1 MiB"),
        ({"last_state_path": "/etc/passwd"}, "a plan names no path"),
        ({"defaults": "plan/defaults.yaml"}, "it would read another file"),
    ],
)
def test_it_is_bounded(experiments: Experiments, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        submit(
            experiments, plan() | {"task_runner": {"settings": plan(**changes)["task_runner"]["settings"]}}
        )
    assert experiments.experiments() == []


def test_it_may_not_be_nested_without_end(experiments: Experiments) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InputError, match="is nested too deeply"):
        submit(experiments, plan(rows=deep))


def test_the_director_must_know_the_kind_of_statistics(experiments: Experiments) -> None:
    content = plan()
    content["federation"]["settings"]["metrics"] = "regression"
    with pytest.raises(
        InputError, match=r"the director refuses .*there is no kind of metrics 'regression' here"
    ):
        submit(experiments, content)


def test_an_experiment_that_it_knows_is_checked(experiments: Experiments) -> None:
    with pytest.raises(InputError, match="unknown key; did you mean batch_size"):
        submit(experiments, plan(experiment="keyword_spotting", batch_sise=3))


def test_an_envoy_that_comes_back_with_other_code_waits_and_with_the_right_one_goes_on(
    experiments: Experiments,
) -> None:
    """Anything else would end the round with another model than the one it began."""
    submit(experiments, plan())
    connect(experiments, announcement())
    assert experiments.experiment("rows").state == "running"
    other = connect(experiments, announcement(code_hashes={"tabular": "d" * 64}))
    assert other.get(timeout=5).HasField("connected")
    assert other.empty(), "it is not told to go on"
    row = experiments.experiment("rows")
    assert row.state == "running"
    assert "the envoy north has other code of the experiment tabular" in row.reason
    assert "`fed stop rows`" in row.reason
    again = connect(experiments, announcement())
    assert again.get(timeout=5).HasField("connected")
    assert again.get(timeout=5).start.experiment == "rows"
    assert experiments.experiment("rows").reason == ""
    kinds = [event.kind for event in experiments.events_after("rows", 0).events]
    assert kinds.count("waiting") == 2, "once while queued, once for the other code"
