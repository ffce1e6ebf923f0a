"""Documents are read as YAML 1.2 and checked strictly; all that is wrong is said at once, with its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from federation import document, schema
from federation.errors import InputError
from federation.names import MemberName, check_name
from federation.schema import Component, OfKind, Problems


@dataclass(frozen=True)
class Device:
    name: str
    memory: Annotated[float, Field(gt=0)] = 1.0


@dataclass(frozen=True)
class Config:
    name: MemberName
    rounds: Annotated[int, Field(ge=1)] = 1
    mode: Literal["fast", "exact"] = "fast"
    devices: list[Device] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    state: Path = Path("state")
    port: int | str | None = None
    policy: Annotated[Component, OfKind("straggler_handling_policy")] | None = None

    def __post_init__(self) -> None:
        if self.mode == "exact" and self.rounds > 10:
            raise ValueError("exact takes at most 10 rounds")


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str, *overrides: str) -> Config:
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return schema.load(file, Config, overrides)

    return load


@pytest.fixture
def problems(load: Any, tmp_path: Path) -> Any:
    def problems(text: str, *overrides: str) -> list[str]:
        with pytest.raises(Problems) as caught:
            load(text, *overrides)
        return [line.replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()]

    return problems


def test_a_sound_file_becomes_its_dataclass(load: Any, tmp_path: Path) -> None:
    config = load("name: north\nrounds: 3\ndevices: [{name: cpu, memory: 2}]\nport: 8080\n")
    assert config == Config("north", 3, devices=[Device("cpu", 2.0)], state=tmp_path / "state", port=8080)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("1e-4", 0.0001),
        ("1_000", "1_000"),
        ("012", 12),
        ("0o12", 10),
        ("0x1F", 31),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("'3'", "3"),
        ("~", None),
        ("[.5, -2., +3]", [0.5, -2.0, 3]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = document.parse(f"key: {text}", "file").value["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "value", ["yes", "1e-4", 1e-5, float("inf"), 3, "3", True, None, "a: b", "ä\n", [], {"b": [{}]}]
)
def test_what_is_dumped_is_read_back_as_the_same(value: object) -> None:
    assert document.parse(document.dump({"key": value}), "file").value == {"key": value}


def test_all_problems_are_said_at_once_in_the_order_of_their_lines(problems: Any) -> None:
    assert problems(
        """\
name: north
round: 3
mode: quick
devices:
  - name: cpu
    memory: "2"
  - {nam: cpu}
mode: exact
policy:
  template: os.system
"""
    ) == [
        "config.yaml:2: round: unknown key; did you mean rounds?",
        "config.yaml:6: devices.0.memory: must be a number, not '2'",
        "config.yaml:7: devices.1.nam: unknown key; did you mean name?",
        "config.yaml:7: devices.1.name: is missing",
        "config.yaml:8: mode: duplicate key; it stands on line 3 already",
        "config.yaml:10: policy.template: 'os.system' is none of the known ones; known: openfl.component."
        "CutoffTimePolicy, openfl.component.PercentagePolicy, openfl.component.WaitForAllPolicy",
    ]


def test_under_a_wrong_template_the_settings_of_the_one_that_was_meant_are_checked(problems: Any) -> None:
    assert problems(
        """\
name: north
rounds: 3
policy:
  template: openfl.component.CutoffTimePolice
  settings: {round_start_time: soon, minimum_reportin: 1}
"""
    ) == [
        "config.yaml:4: policy.template: 'openfl.component.CutoffTimePolice' is none of the known ones; did you mean "
        "openfl.component.CutoffTimePolicy?",
        "config.yaml:5: policy.settings.minimum_reportin: unknown key; did you mean minimum_reporting?",
        "config.yaml:5: policy.settings.round_start_time: unknown key; known: minimum_reporting, straggler_cutoff_time",
        "config.yaml:5: policy.settings.straggler_cutoff_time: is missing",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rounds: 0", "rounds: must be greater than or equal to 1, not 0"),
        ("rounds: true", "rounds: must be an integer, not true"),
        ("rounds: 1.0", "rounds: must be an integer, not 1.0"),
        ("rounds:", "rounds: must be an integer, not null"),
        ("port: 1.5", "port: must be an integer or a string, not 1.5"),
        ("devices: cpu", "devices: must be a list, not 'cpu'"),
        ("devices: [cpu]", "devices.0: must be a mapping, not 'cpu'"),
        ("devices: [{name: cpu, memory: .nan}]", "devices.0.memory: must be a finite number, not nan"),
        ("policy: {settings: {}}", "policy.template: is missing"),
        ("5: x", "5: a key must be text; put it in quotes"),
        (
            "mode: !!python/name:os.system x",
            "mode: the tag 'tag:yaml.org,2002:python/name:os.system' is not read",
        ),
        ('mode: "\\ud800"', "holds text that is not Unicode"),
    ],
)
def test_a_value_that_is_not_as_the_dataclass_says_is_a_problem(
    problems: Any, line: str, problem: str
) -> None:
    (found,) = problems(f"name: north\n{line}\n")
    assert problem in found
    assert found.startswith(("config.yaml:2: ", "config.yaml:1: holds"))


def test_what_a_dataclass_says_about_several_fields_is_a_problem_too(problems: Any) -> None:
    assert problems("name: north\nmode: exact\nrounds: 11") == [
        "config.yaml:1: exact takes at most 10 rounds"
    ]


def test_the_settings_of_a_template_are_checked_by_its_own_dataclass(load: Any, problems: Any) -> None:
    text = "name: north\npolicy: {template: openfl.component.CutoffTimePolicy, settings: {%s}}"
    assert load(text % "straggler_cutoff_time: 5").policy.settings.minimum_reporting == 1
    assert problems(text % "straggler_cutoff: 5, minimum_reporting: 0") == [
        "config.yaml:2: policy.settings.minimum_reporting: must be greater than or equal to 1, not 0",
        "config.yaml:2: policy.settings.straggler_cutoff: unknown key; did you mean straggler_cutoff_time?",
        "config.yaml:2: policy.settings.straggler_cutoff_time: is missing",
    ]


def test_settings_may_be_left_out_where_all_have_defaults(load: Any) -> None:
    policy = load("name: north\npolicy: {template: openfl.component.PercentagePolicy}").policy
    assert schema.plain(policy)["settings"] == {"percent_collaborators_needed": 1.0, "minimum_reporting": 1}


def test_relative_paths_are_taken_from_the_files_folder(load: Any, tmp_path: Path) -> None:
    config = load("name: north\nstate: here/below\nfolders: {a: b, c: /d}")
    assert config.state == tmp_path / "here/below"
    assert config.folders == {"a": tmp_path / "b", "c": Path("/d")}


def test_an_override_replaces_or_adds_a_value(load: Any) -> None:
    text = "name: north\ndevices: [{name: cpu}]\n"
    policy = "policy={template: openfl.component.PercentagePolicy}"
    config = load(text, "rounds=4", "devices.0.memory=1e1", policy, "policy.settings.minimum_reporting=2")
    assert (config.rounds, config.devices[0].memory, config.policy.settings.minimum_reporting) == (4, 10.0, 2)


def test_a_problem_from_an_override_says_so_instead_of_a_line(problems: Any) -> None:
    overrides = [
        "rounds=many",
        "devices.0.nam=x",
        "mod=fast",
        "name.first=x",
        "mode",
        "state=[",
        "devices.5.name=x",
    ]
    assert problems("name: north\ndevices: [{name: cpu}]", *overrides) == [
        "--set: 'mode': write it as key.key=value",
        "--set: devices.0.nam: unknown key; did you mean name?",
        "--set: devices.5.name: there is no such place in the file",
        "--set: mod: unknown key; did you mean mode?",
        "--set: name.first: there is no such place in the file",
        "--set: rounds: must be an integer, not 'many'",
        "--set: state: not YAML: while parsing a flow node "
        "expected the node content, but found '<stream end>'",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "config.yaml: the file is empty"),
        ("# nothing\n", "config.yaml: the file is empty"),
        ("- a\n- b", "config.yaml:1: must be a mapping of keys to values, not a list"),
        ("just words", "config.yaml:1: must be a mapping of keys to values, not 'just words'"),
        ("name: a\nrounds: [1", "config.yaml:2: not YAML: while parsing a flow sequence expected ',' or ']'"),
        (
            "name: a\n\tb: c",
            "config.yaml:2: not YAML: while scanning for the next token found character '\\t'",
        ),
        ("name: a\n---\nname: b", "config.yaml:2: not YAML: expected a single document"),
        ("name: *gone", "config.yaml:1: not YAML: found undefined alias 'gone'"),
        ("name: a\x00b", "config.yaml: not YAML: special characters are not allowed"),
        ("[" * 500 + "]" * 500, "config.yaml: is too large or nested too deeply"),
        ("a: &a [*a]", "config.yaml: is too large or nested too deeply"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_clear_line(problems: Any, text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(problem)


def test_aliases_that_multiply_without_end_are_refused(problems: Any) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    (found,) = problems(bomb)
    assert "too large or nested too deeply" in found


def test_a_file_that_is_not_there_or_is_no_text_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gone\.yaml: there is no such file$"):
        schema.load("gone.yaml", Config)
    with pytest.raises(InputError, match="is a folder, not a file"):
        schema.load(tmp_path, Config)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not a text file in UTF-8"):
        schema.load(tmp_path / "binary.yaml", Config)


def test_thousands_of_problems_are_not_all_printed(problems: Any) -> None:
    found = problems("".join(f"x{number}: 1\n" for number in range(2_000)))
    assert len(found) == document.MAX_SHOWN + 1
    assert found[-1] == "and at least 150 more problems"


@pytest.mark.parametrize("name", ["north", "site-3", "a_b", "models"])
def test_plain_names_are_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "North",
        "3rd",
        "a/b",
        "..",
        "a b",
        "a" * 64,
        "nörd",
        "a\n",
        "model",
        "delta",
        "validate_agg",
        "my_aggregator",
    ],
)
def test_names_that_would_be_paths_or_openfl_tags_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="the name"):
        check_name(name)
