"""Whatever a plan may set is bounded above: a number by a largest one, a text by a length, a list by a number of items."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import TypeAdapter

from federation.document import Problems, parse
from federation.experiments import usable_experiments
from federation.plan import TaskArguments, plan_from_json
from federation.settings import FederationSettings
from federation.templates import known_templates
from tests.plan_files import PLAN

OF_PLANS: dict[str, type] = {
    "federation": FederationSettings,
    "task": TaskArguments,
    **{name: one.settings for name, one in usable_experiments().items()},
    **{
        name: template.settings
        for name, template in known_templates().items()
        if template.settings is not None and template.kind != "shard_descriptor"
    },
}
BOUNDS = {
    "integer": ("maximum", "exclusiveMaximum"),
    "number": ("maximum", "exclusiveMaximum"),
    "string": ("maxLength",),
    "array": ("maxItems",),
}


def unbounded(node: Any, where: str) -> Iterator[str]:
    """Yield what of a JSON schema holds anything without an upper bound."""
    if isinstance(node, list):
        for item in node:
            yield from unbounded(item, where)
    elif isinstance(node, Mapping):
        kind = node.get("type")
        chosen = "enum" in node or "const" in node
        if isinstance(kind, str) and not chosen and not any(key in node for key in BOUNDS.get(kind, node)):
            yield f"{where}: {kind}"
        # A mapping of whatever keys there are would be a list without a number of items.
        if node.get("additionalProperties") not in (None, False) and "maxProperties" not in node:
            yield f"{where}: mapping"
        for key, item in node.items():
            if key in ("properties", "$defs"):
                for name, inner in item.items():
                    yield from unbounded(inner, f"{where}.{name}")
            elif key not in ("default", "enum", "const"):
                yield from unbounded(item, where)


@pytest.mark.parametrize("name", OF_PLANS)
def test_every_setting_of_a_plan_has_an_upper_bound(name: str) -> None:
    assert list(unbounded(TypeAdapter(OF_PLANS[name]).json_schema(), name)) == []


def test_a_setting_without_one_would_be_found() -> None:
    schema = TypeAdapter(dict[str, list[int | float] | str]).json_schema()
    assert {found.partition(": ")[2] for found in unbounded(schema, "")} == {
        "mapping",
        "array",
        "integer",
        "number",
        "string",
    }


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("task_runner.settings.epochs", 10**30),
        ("task_runner.settings.epochs", 1e30),
        ("task_runner.settings.batch_size", 10**9),
        ("task_runner.settings.evaluation_batch_size", 10**9),
        ("task_runner.settings.accumulation", 10**9),
        ("task_runner.settings.learning_rate", 1e31),
        ("task_runner.settings.model.hidden_size", 10**9),
        ("task_runner.settings.model.conv_dim", [8] * 10_000),
        ("task_runner.settings.checkpoint", "a" * 1000),
        ("task_runner.settings.lora", {"target_modules": ["q" * 100_000]}),
        ("aggregator.settings.rounds_to_train", 10**9),
        ("federation.settings.torch_threads", 10**6),
        ("federation.settings.round_limit", 1e300),
        ("federation.settings.dataset", "d" * 1000),
        ("assigner.settings.task_groups.0.tasks", ["train"] * 1000),
    ],
)
def test_settings_beyond_all_sense_are_refused_where_a_plan_arrives(where: str, value: object) -> None:
    content = parse(PLAN, "birds")
    plan_from_json(json.dumps(content.value), "birds")
    content.override(f"{where}={json.dumps(value)}")
    assert not content.problems
    with pytest.raises(Problems) as caught:
        plan_from_json(json.dumps(content.value), "birds")
    assert all(problem.where.startswith(where) for problem in caught.value.problems), caught.value
