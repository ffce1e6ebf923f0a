"""A plan is OpenFL's format without its dangers: checked where it is written, and again where it arrives."""

from __future__ import annotations

import copy
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from federation import document
from federation.code import code_hash
from federation.plan import CheckedPlan, load_plan, plan_from_json
from federation.plan_defaults import read_files
from federation.schema import Problems
from federation.templates import ENGINE
from tests.checkout import ROOT
from tests.plan_files import PLAN


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str = PLAN, *overrides: str) -> CheckedPlan:
        file = tmp_path / "keywords.yaml"
        file.write_text(text)
        return load_plan(file, overrides)

    return load


@pytest.fixture
def problems(load: Any, tmp_path: Path) -> Any:
    def problems(text: str, *overrides: str) -> list[str]:
        with pytest.raises(Problems) as caught:
            load(text, *overrides)
        return [line.replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()]

    return problems


def line_of(text: str) -> int:
    """The line of PLAN that begins so."""
    return next(n for n, line in enumerate(PLAN.splitlines(), 1) if line.strip().startswith(text))


@pytest.mark.parametrize("path", sorted((ROOT / "plans").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_plan_of_the_project_is_sound(path: Path) -> None:
    assert load_plan(path).name == path.stem


def test_a_checked_plan_has_every_default_filled_in(load: Any) -> None:
    plan = load()
    assert plan.name == "keywords"
    assert plan.config["aggregator"]["settings"] == {
        "rounds_to_train": 3,
        "best_metric": "accuracy",
        "best_direction": "maximize",
    }
    assert plan.config["collaborator"]["settings"] == {}
    assert plan.config["straggler_handling_policy"]["template"] == "openfl.component.WaitForAllPolicy"
    assert plan.config["compression_pipeline"]["template"] == "openfl.pipelines.NoCompressionPipeline"
    assert plan.config["tasks"]["train"]["kwargs"] == {"apply": "global"}
    assert plan.federation.seed == 7
    assert plan.aggregator.rounds_to_train == 3
    assert plan.task_runner.learning_rate == plan.config["task_runner"]["settings"]["learning_rate"] == 1e-3


def test_words_that_yaml_1_1_takes_for_booleans_stay_words(load: Any) -> None:
    assert load().federation.classes == ["yes", "no"]


def test_a_plan_travels_as_json_and_arrives_the_same(load: Any) -> None:
    plan = load()
    arrived = plan_from_json(plan.to_json(), plan.name)
    assert arrived == plan
    assert arrived.hash == plan.hash
    assert list(arrived.config) == list(plan.config)


def test_the_hash_is_that_of_the_content_not_of_its_writing(load: Any) -> None:
    plan = load()
    sections = PLAN.split("\ntasks:")
    assert load("tasks:" + sections[1] + sections[0]).hash == plan.hash
    assert (
        load(PLAN + "compression_pipeline: {template: openfl.pipelines.NoCompressionPipeline}\n").hash
        == plan.hash
    )
    assert load(PLAN, "federation.settings.seed=8").hash != plan.hash


def test_a_class_in_either_form_of_unicode_is_the_same_plan(load: Any) -> None:
    hashes = set()
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "café")  # type: ignore[arg-type]
        checked = load(PLAN, f"federation.settings.classes=[{name}, thé]")
        assert list(checked.federation.classes) == [unicodedata.normalize("NFC", n) for n in ("café", "thé")]
        hashes.add(checked.hash)
    assert len(hashes) == 1


def test_an_override_changes_a_setting(load: Any) -> None:
    assert load(PLAN, "task_runner.settings.learning_rate=1e-4").task_runner.learning_rate == 1e-4


def test_what_is_shown_can_be_loaded_again(load: Any) -> None:
    plan = load()
    assert load(document.dump(plan.config)).hash == plan.hash


def test_all_problems_are_said_at_once(problems: Any) -> None:
    text = PLAN.replace("learning_rate", "learning_rat").replace(
        "rounds_to_train: 3", "rounds_to_train: three"
    )
    text = text.replace("data_loader:", "data_loder:").replace("envoys: 3", "envoys: 3, envoys: 4")
    found = problems(text, "aggregator.settings.best_direction=up")
    assert found == [
        "--set: aggregator.settings.best_direction: must be 'maximize' or 'minimize', not 'up'",
        "keywords.yaml:4: aggregator.settings.rounds_to_train: must be an integer, not 'three'",
        f"keywords.yaml:{line_of('data_loader')}: data_loder: unknown key; did you mean data_loader?",
        f"keywords.yaml:{line_of('learning_rate')}: "
        "task_runner.settings.learning_rat: unknown key; did you mean learning_rate?",
        f"keywords.yaml:{line_of('settings: {envoys')}: federation.settings.envoys: "
        f"duplicate key; it stands on line {line_of('settings: {envoys')} already",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("aggregator.template=os.system", "'os.system' is none of the known ones"),
        ("aggregator.template=openfl.component.WaitForAllPolicy", "is none of the known ones"),
        ("compression_pipeline={template: openfl.pipelines.KCPipeline}", "none of the known ones"),
        (
            "tasks.train.aggregation_type={template: builtins.eval}",
            "tasks.train.aggregation_type.template: 'builtins",
        ),
        ("tasks.train.function=validate", "must be 'train_task' or 'validate_task', not 'validate'"),
        ("tasks.train.kwargs={apply: both}", "tasks.train.kwargs.apply: must be 'global' or 'local'"),
        ("tasks.train.kwargs.batch=3", "tasks.train.kwargs.batch: unknown key"),
        ("tasks.settings={function: train_task, kwargs: 3}", "tasks.settings.kwargs: must be a mapping"),
        (
            "tasks.Train/1={function: train_task}",
            "tasks.Train/1: must be a name of a-z, 0-9 and _ that begins",
        ),
        ("task_runner.settings.experiment=keyword_spoting", "did you mean keyword_spotting?"),
        ("task_runner.settings.learning_rate='1e-4'", "learning_rate: must be a number, not '1e-4'"),
        (
            "aggregator.defaults=plan/defaults/aggregator.yaml",
            "it would read another file; write the settings out",
        ),
        (
            "aggregator.settings.last_state_path=/tmp/x",
            "aggregator.settings.last_state_path: is not accepted",
        ),
        (
            "task_runner.settings.model={_name_or_path: /etc}",
            "_name_or_path: is not accepted; a plan names no path",
        ),
        ("network={settings: {agg_port: 1}}", "network: belongs to the director's config"),
        (
            "assigner.settings.task_groups.0.tasks.1=trian",
            "there is no task 'trian' under tasks; did you mean train?",
        ),
        ("aggregator.settings.best_metric=acuracy", "there is no metric 'acuracy'; did you mean accuracy?"),
        (
            "aggregator.settings.best_metric=recall/maybe",
            "there is no metric 'recall/maybe'; did you mean recall/",
        ),
        ("federation.settings.classes=[]", "federation.settings.classes: must have at least 1 item, not 0"),
        (
            "federation.settings.classes=[yes, no, yes]",
            "federation.settings.classes: must differ, 'yes' stands twice",
        ),
        ("federation.settings.seed=-1", "must be greater than or equal to 0"),
        (
            "federation.settings.start_from={experiment: a, which: first}",
            "must be 'best' or 'last', not 'first'",
        ),
        ("federation={}", "federation.settings: is missing"),
        (
            "straggler_handling_policy={template: openfl.component.CutoffTimePolicy}",
            "policy.settings: is missing",
        ),
    ],
)
def test_a_plan_that_asks_for_what_it_must_not_is_refused(problems: Any, override: str, problem: str) -> None:
    found = problems(PLAN, override)
    assert any(problem in line and line.startswith("--set: ") for line in found), found


@pytest.mark.parametrize("section", ["aggregator", "task_runner", "federation"])
def test_a_missing_section_is_named(load: Any, section: str) -> None:
    config = copy.deepcopy(load().config)
    del config[section]
    with pytest.raises(Problems, match=rf"(?m)keywords\.yaml:1: {section}: is missing$"):
        load(document.dump(config))


@pytest.mark.parametrize("metric", ["loss", "macro_f1", "recall/yes"])
def test_the_best_model_may_be_chosen_by_any_metric_that_is_derived(load: Any, metric: str) -> None:
    direction = "minimize" if metric == "loss" else "maximize"
    sets = [f"aggregator.settings.best_{key}" for key in (f"metric={metric}", f"direction={direction}")]
    assert load(PLAN, *sets).aggregator.best_metric == metric


@pytest.mark.parametrize(
    ("metric", "direction", "right"),
    [
        ("loss", "maximize", "minimize"),
        ("accuracy", "minimize", "maximize"),
        ("recall/yes", "minimize", "maximize"),
    ],
)
def test_the_worst_model_is_not_taken_for_the_best(
    problems: Any, metric: str, direction: str, right: str
) -> None:
    sets = [f"aggregator.settings.best_metric={metric}", f"aggregator.settings.best_direction={direction}"]
    said = (
        f"--set: aggregator.settings.best_direction: must be {right} with best_metric: {metric}, or the worst"
    )
    assert any(line.startswith(said) for line in problems(PLAN, *sets))


def test_a_plan_that_already_runs_the_other_way_goes_on_as_it_is(load: Any) -> None:
    config = load().config
    config["aggregator"]["settings"]["best_metric"] = "loss"
    assert plan_from_json(json.dumps(config), "running").aggregator.best_direction == "maximize"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("[]", "must be a mapping, not a list"),
        ("{", "not JSON"),
        ("null", "must be a mapping, not null"),
        ('{"a": 1, "a": 2}', "a key stands twice"),
        ('{"a": NaN}', "NaN is no number"),
        ("9" * 5000, "not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a":' * 400 + "1" + "}" * 400, "is nested too deeply"),
        (" " * document.MAX_BYTES + "{}", "is larger than 1 MiB"),
        ('{"\\ud800": 1}', "text that is not Unicode"),
    ],
)
def test_what_came_over_the_network_and_is_no_plan_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Problems, match=problem) as caught:
        plan_from_json(text, "evil\nname")
    assert str(caught.value).startswith("the plan of 'evil\\nname'")


def test_what_came_over_the_network_is_checked_like_a_file(load: Any) -> None:
    config = copy.deepcopy(load().config)
    config["data_loader"]["template"] = "subprocess.Popen"
    config["task_runner"]["settings"]["learning_rate"] = -1
    with pytest.raises(Problems) as caught:
        plan_from_json(json.dumps(config), "north")
    assert [problem.where for problem in caught.value.problems] == [
        "data_loader.template",
        "task_runner.settings.learning_rate",
    ]


def test_a_plan_made_to_waste_time_is_refused_quickly(load: Any) -> None:
    config = copy.deepcopy(load().config)
    config["tasks"] = {f"task_{number}": {"function": "x"} for number in range(15_000)}
    config["assigner"]["settings"]["task_groups"][0]["tasks"] = [f"tusk_{number}" for number in range(15_000)]
    start = time.process_time()
    with pytest.raises(Problems):
        plan_from_json(json.dumps(config), "evil")
    assert time.process_time() - start < 10


def test_every_template_of_the_engine_can_be_imported() -> None:
    for name in ENGINE:
        module, _, attribute = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), attribute)), name


def run(script: str, folder: Path = ROOT) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    return answer.stdout


def test_plans_are_checked_where_torch_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    script = f"""
import sys
for name in ("torch", "transformers", "openfl", "grpc"):
    sys.modules[name] = None
from federation.code import code_hashes
from federation.plan import load_plan
load_plan({str(tmp_path / "plan.yaml")!r})
assert len(code_hashes()) >= 4
"""
    run(script)


def test_the_hash_of_the_code_is_stable_and_follows_a_change(tmp_path: Path) -> None:
    for package in ("federation", "workspace", "shard_descriptors"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    script = "from federation.code import code_hash; print(code_hash('sentiment'))"
    assert run(script, tmp_path).strip() == code_hash("sentiment")
    with (tmp_path / "workspace/progress.py").open("a") as file:
        file.write("# changed, and no bit of a model with it\n")
    assert run(script, tmp_path).strip() == code_hash("sentiment")
    with (tmp_path / "workspace/learning/training.py").open("a") as file:
        file.write("# changed\n")
    assert run(script, tmp_path).strip() != code_hash("sentiment")


def test_the_lines_of_a_file_beside_the_plan_stand_in_the_place_of_its_name(
    problems: Any, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("the\n#\nat\u2028once\n")
    text = PLAN.replace(
        "learning_rate: 1e-3", "learning_rate: 1e-3\n    freeze_feature_encoder_file: words.txt"
    )
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "words.txt" in one)
    # A setting that takes no list says so, by its own name and the line of the file's.
    assert problems(text) == [
        f"keywords.yaml:{line}: task_runner.settings.freeze_feature_encoder: must be a boolean, not a list"
    ]


def test_the_words_of_a_vocabulary_of_windows_are_those_of_any_other(tmp_path: Path) -> None:
    sentiment = PLAN.replace("keyword_spotting", "sentiment").replace(
        "learning_rate: 1e-3", "learning_rate: 1e-3\n    vocabulary_file: words.txt"
    )
    plan = tmp_path / "plan.yaml"
    plan.write_text(sentiment)

    def words(content: bytes) -> Any:
        (tmp_path / "words.txt").write_bytes(content)
        read = document.read(plan)
        read_files(read, tmp_path)
        assert not read.problems
        return read.get("task_runner", "settings", "vocabulary")

    assert words(b"\xef\xbb\xbfthe\r\ncaf\xc3\xa9\r\n") == words(b"the\ncaf\xc3\xa9") == ["the", "café"]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("seeds_file: missing.txt", "missing.txt: there is no such file"),
        ("seeds_file: [a]", "must be the name of a text file, not a list"),
        ("seeds_file: words.bin", "words.bin: is not a text file in UTF-8"),
        ("seeds_file: words.large", "words.large: is larger than 1 MiB"),
        ("learning_rate_file: words.txt", "stands beside learning_rate; leave one of the two out"),
    ],
)
def test_a_file_that_cannot_travel_is_said(problems: Any, tmp_path: Path, setting: str, problem: str) -> None:
    (tmp_path / "words.bin").write_bytes(b"\xff\xfe")
    (tmp_path / "words.large").write_text("é" * (1 << 20))  # its last character is cut where reading ends
    (tmp_path / "words.txt").write_text("1e-3\n")
    text = PLAN.replace("learning_rate: 1e-3", f"learning_rate: 1e-3\n    {setting}")
    assert any(problem in line and line.startswith("keywords.yaml:") for line in problems(text))


def test_a_file_is_never_read_for_a_plan_that_came_over_the_network(load: Any) -> None:
    config = copy.deepcopy(load().config)
    config["task_runner"]["settings"]["seeds_file"] = "/etc/passwd"
    with pytest.raises(Problems, match=r"seeds_file: unknown key"):
        plan_from_json(json.dumps(config), "sent")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("federation.settings.metrics=bleu2", "there is no kind of metrics 'bleu2'"),
        ("aggregator.settings.best_metric=f1", "there is no metric 'f1'"),
    ],
)
def test_a_kind_of_metrics_or_a_metric_that_nothing_derives_is_said(
    problems: Any, override: str, problem: str
) -> None:
    assert problem in problems(PLAN, override)[0]


def test_labels_are_missed_where_the_metrics_need_them(problems: Any) -> None:
    said = problems(PLAN.replace("classes: [yes, no], ", ""))
    assert "federation.settings.classes: is missing" in said[0]
