"""The pages in docs/ are held to the code: codes, commands, options, keys, links, and the examples that can be checked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from director.config import DirectorConfig
from director.limits import Limits
from envoy.config import EnvoyConfig
from federation import document, errors, settings
from federation.federation_file import load_federation
from federation.main import INTERRUPTED, NOBODY_READS, fed
from federation.plan import PlanDocument, load_plan
from federation.templates import known_templates
from shard_descriptors.images.settings import ImageFolderSettings
from shard_descriptors.text.sentiment_settings import SentimentShardSettings
from shard_descriptors.text.translation_settings import TranslationShardSettings
from tests.checkout import ROOT
from workspace.config import WorkspaceConfig
from workspace.experiments.image_classification.settings import (
    ImageAugmentation,
    ImageClassificationSettings,
    ResNetOverrides,
)
from workspace.experiments.keyword_spotting.settings import AudioAugmentation, KeywordSpottingSettings
from workspace.experiments.sentiment.encoder_attention import AttentionOptions
from workspace.experiments.sentiment.settings import BertOverrides, SentimentSettings
from workspace.experiments.translation.recipe import DecodingOptions
from workspace.experiments.translation.settings import TranslationModel, TranslationSettings
from workspace.learning.settings import LoraSettings, TrainingSettings

PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "benchmarks" / "README.md"])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_every_error_is_on_the_page_of_exit_codes_with_its_code() -> None:
    rows = {
        name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", page("exit_codes.md"), re.M)
    }
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert rows == {kind.__name__: kind.exit_code for kind in classes}
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page("exit_codes.md"), re.M)}
    assert codes == {0, click.UsageError.exit_code, INTERRUPTED, NOBODY_READS, *rows.values()}


def test_every_table_has_every_key() -> None:
    expected = {
        "operators.md": [DirectorConfig, Limits, EnvoyConfig],
        "security.md": [Limits],
        "data_scientists.md": [WorkspaceConfig],
        "images.md": [
            ImageFolderSettings,
            ImageClassificationSettings,
            ImageAugmentation,
            ResNetOverrides,
        ],
        "plans.md": [
            PlanDocument,
            settings.AggregatorSettings,
            settings.TaskGroup,
            settings.CutoffTimeSettings,
            settings.PercentageSettings,
            settings.FederationSettings,
            KeywordSpottingSettings,
            LoraSettings,
            AudioAugmentation,
            SentimentSettings,
            BertOverrides,
            TranslationSettings,
            TranslationModel,
        ],
        "sentiment.md": [SentimentShardSettings, AttentionOptions],
        "translation.md": [TranslationShardSettings, DecodingOptions],
    }
    for name, classes in expected.items():
        for kind in classes:
            assert is_dataclass(kind)
            # The page of plans has what every experiment has.
            elsewhere = {field.name for field in fields(TrainingSettings)} if name != "plans.md" else set()
            missing = [
                field.name
                for field in fields(kind)
                if field.name not in elsewhere and not re.search(rf"\b{field.name}\b", page(name))
            ]
            assert not missing, f"docs/{name} does not say what {kind.__name__} has: {missing}"


def test_the_page_of_plans_names_every_template_that_a_plan_may() -> None:
    for name, template in known_templates().items():
        if template.kind != "shard_descriptor":
            assert name in page("plans.md") or f"`{name.rpartition('.')[2]}`" in page("plans.md"), name


def test_the_short_plan_on_the_page_is_the_long_one_beside_it(tmp_path: Path) -> None:
    short, written_out, *_ = fenced(page("plans.md"), "yaml")
    (tmp_path / "plan.yaml").write_text(short)
    plan = load_plan(tmp_path / "plan.yaml")

    def holds(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return all(key in whole and holds(whole[key], part[key]) for key in part)
        return bool(whole == part)

    assert holds(plan.config, document.parse(written_out, "plans.md").value)
    assert not holds(plan.config, {"collaborator": {"template": "another"}})


def test_examples_of_files_are_sound(tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_text(fenced(page("plans.md"), "yaml")[0])
    assert load_plan(file).federation.envoys == 3
    file.write_text(fenced(page("simulation.md"), "yaml")[0])
    assert list(load_federation(file).envoys) == ["north", "south"]
    file.write_text(fenced(page("images.md"), "yaml")[0])
    assert list(load_federation(file).envoys) == ["north", "south"]
    file.write_text(fenced(page("translation.md"), "yaml")[0])
    assert list(load_federation(file).envoys) == ["north", "south", "west"]
    config = ROOT / "envoy" / "envoy_config.yaml"
    for text in [*fenced(page("operators.md"), "yaml"), *fenced(page("security.md"), "yaml")]:
        keys = yaml.safe_load(text).keys()
        assert keys <= {field.name for field in fields(EnvoyConfig)}, f"in {config.name}: {keys}"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each `fed` command in a bash block of any page, its lines joined."""
    for file in PAGES:
        for block in fenced(file.read_text(), "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("fed ") and "$" not in line:
                    yield f"{file.name}: {line}", shlex.split(line)[1:]


@pytest.mark.parametrize("arguments", [pytest.param(found, id=where) for where, found in commands()])
def test_every_command_on_a_page_can_be_given_so(arguments: list[str]) -> None:
    # Options are parsed before --help is answered: an unknown command or option is an error.
    result = CliRunner().invoke(fed, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_every_link_to_a_file_leads_there(file: Path) -> None:
    text = file.read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (file.parent / target).exists(), target
    for name in re.findall(
        r"`((?:federation|director|envoy|workspace|shard_descriptors|tests)/[\w/.]+\.\w+)`", text
    ):
        assert (ROOT / name).exists(), name


def test_every_test_that_the_page_of_faults_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page("reliability.md"))
    assert len(named) > 40
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file}::{test}"
    rows = [
        line for line in page("reliability.md").splitlines() if line.startswith("| ") and "---" not in line
    ]
    untested = [row for row in rows if "`tests/" not in row and not row.endswith("| Test |")]
    assert untested == []
