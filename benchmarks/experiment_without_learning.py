"""The experiment of benchmarks whose envoys learn nothing: a plan that only trains, handed in with any tensors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from federation.code import code_hash, project_version
from federation.protocol import federation_pb2 as pb
from federation.tensors import Tensors, chunks, digest
from workspace.client import Experiment, Federation

EXPERIMENT = "keyword_spotting"
CLASSES = ["a", "b"]


def make_plan(envoys: int, rounds: int) -> dict[str, Any]:
    """Make the plan; its task runner is never built."""
    return {
        "aggregator": {"settings": {"rounds_to_train": rounds}},
        "tasks": {"train": {"function": "train_task"}},
        "task_runner": {"settings": {"experiment": EXPERIMENT}},
        "federation": {"settings": {"envoys": envoys, "dataset": "none", "classes": CLASSES}},
    }


def submit(
    federation: Federation, name: str, tensors: Tensors, envoys: int, rounds: int, deadline: float
) -> Experiment:
    """Hand it in, as `Federation.submit` does it with the tensors of a plan's model."""
    submission = pb.Submission(
        name=name,
        id=uuid.uuid4().hex,
        plan=json.dumps(make_plan(envoys, rounds)),
        version=project_version(),
        code_hash=code_hash(EXPERIMENT),
        blob=pb.Blob(sha256=digest(tensors), size=sum(len(piece) for piece in chunks(tensors))),
    )

    def upload() -> Iterator[pb.SubmitChunk]:
        yield pb.SubmitChunk(submission=submission)
        for piece in chunks(tensors):
            yield pb.SubmitChunk(data=piece)

    made = federation.call(lambda stub: stub.Submit(upload(), timeout=deadline))
    return federation.experiment(made.name)
