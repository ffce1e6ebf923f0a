"""The command ``fed``: quick to help, one line for an error, and exit codes that can be relied on."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from federation import document
from federation.certificates import load_certificate
from federation.help import OTHERS, SECTIONS
from federation.identity import Credentials, Identity
from tests.checkout import ROOT
from tests.plan_files import PLAN

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python in an empty folder, with a state folder of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            env={**os.environ, "FED_STATE": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)},
        )

    return run


@pytest.fixture
def fed(run: Run) -> Run:
    return lambda *arguments: run("-m", "federation.main", *arguments)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "keywords.yaml").write_text(PLAN)
    return tmp_path / "keywords.yaml"


def with_command(body: str, *arguments: str) -> list[str]:
    """A script that runs ``fed do`` with this body."""
    script = f"""
import sys, logging, click
from federation.errors import *
from federation.main import fed, main
@fed.command("do")
def do():
    {body}
sys.exit(main(["do", *{list(arguments)!r}]))
"""
    return ["-c", script]


def test_help_lists_the_commands_of_every_package(fed: Run) -> None:
    result = fed("--help")
    assert result.returncode == 0
    for command in ("certify", "plan", "director", "envoy", "data", "simulate", "submit", "watch", "model"):
        assert f"\n  {command} " in result.stdout
    assert "cannot be loaded" not in result.stdout


def test_help_groups_the_commands_by_what_they_are_for(fed: Run) -> None:
    text = fed("--help").stdout
    machine, director, operators = (text.index(f"\n{heading}:\n") for heading in SECTIONS)
    assert machine < text.index("\n  simulate ") < director < text.index("\n  submit ") < operators
    assert operators < text.index("\n  certify ")
    assert f"\n{OTHERS}:" not in text, "a command of ours has no place in federation.help.SECTIONS"
    assert "...\n" not in text.partition(":\n")[2], "a command's sentence is cut"


def test_a_command_from_outside_is_listed_under_a_heading_of_its_own(run: Run) -> None:
    script = """
from federation.main import fed, main
@fed.command("do")
def do():
    "Do it."
main(["--help"])
"""
    assert f"\n{OTHERS}:\n  do " in run("-c", script).stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["submitt"], "submit"),
        (["lst"], "list"),
        (["plan", "chek"], "check"),
        (["data", "descibe"], "describe"),
        (["director", "strat"], "start"),
        (["envoy", "strt"], "start"),
        (["certify", "autority"], "authority"),
        (["list", "--jsn"], "--json"),
        (["plan", "check", "x.yaml", "--sett", "a=1"], "--set"),
    ],
)
def test_a_misspelt_command_or_option_gets_a_suggestion(fed: Run, arguments: list[str], meant: str) -> None:
    result = fed(*arguments)
    assert result.returncode == 2
    assert "Did you mean" in result.stderr
    assert meant in result.stderr.rpartition("Did you mean")[2]


def test_help_is_quick_because_nothing_heavy_is_imported(run: Run) -> None:
    script = """
import sys
from federation.main import main
main(["--help"])
heavy = {"torch", "transformers", "openfl", "grpc", "numpy", "pandas", "pydantic", "yaml", "cryptography"}
print(heavy & set(sys.modules), file=sys.stderr)
"""
    assert run("-c", script).stderr == "set()\n"


def test_a_command_imports_its_own_package_only(run: Run) -> None:
    script = """
import sys
from federation.main import main
main(["plan", "--help"])
others = {"director.cli", "workspace.commands.director", "workspace.commands.machine", "envoy.cli"}
print(others & set(sys.modules), file=sys.stderr)
"""
    assert run("-c", script).stderr == "set()\n"


def test_the_version_is_the_projects(fed: Run) -> None:
    assert fed("--version").stdout.startswith("fed, version ")


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["plan", "show"], ["plan", "check", "--bogus", "x"], ["certify", "envoy"]]
)
def test_wrong_usage_is_exit_code_2(fed: Run, arguments: list[str]) -> None:
    result = fed(*arguments)
    assert result.returncode == 2
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [("InputError", 3), ("Unreachable", 4), ("Refused", 5), ("ExperimentFailed", 6)],
)
def test_an_error_is_one_line_and_its_exit_code(run: Run, tmp_path: Path, error: str, code: int) -> None:
    result = run(*with_command(f"raise {error}('what; where; what to do')"))
    assert (result.returncode, result.stderr) == (code, "fed: error: what; where; what to do\n")
    assert f"federation.errors.{error}: what" in (tmp_path / "state/fed.log").read_text()


def test_an_unexpected_error_names_the_log_that_has_its_traceback(run: Run, tmp_path: Path) -> None:
    result = run(*with_command("{}['missing']"))
    assert result.returncode == 1
    assert result.stderr.startswith("fed: error: KeyError: 'missing'; ")
    assert result.stderr.endswith(f"{tmp_path / 'state/fed.log'}\n")
    assert len(result.stderr.splitlines()) == 1
    log = tmp_path / "state/fed.log"
    assert "Traceback" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_interrupt_is_exit_code_130(run: Run) -> None:
    result = run(*with_command("raise KeyboardInterrupt"))
    assert (result.returncode, result.stderr.strip()) == (130, "")


def test_a_command_may_choose_its_exit_code(run: Run) -> None:
    assert run(*with_command("click.get_current_context().exit(6)")).returncode == 6


def test_libraries_do_not_chatter(run: Run) -> None:
    body = "logging.getLogger('openfl').info('noise'); import warnings; warnings.warn('noise')"
    assert run(*with_command(body)).stderr == ""


def test_a_log_that_cannot_be_written_hides_no_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    result = run(*with_command("raise InputError('what')"))
    assert (result.returncode, result.stderr) == (3, "fed: error: what\n")


def test_nothing_is_written_where_nothing_went_wrong(fed: Run, plan: Path, tmp_path: Path) -> None:
    assert fed("plan", "check", str(plan)).returncode == 0
    assert not (tmp_path / "state").exists()


# fed plan


def test_plan_check_says_which_plans_are_sound(fed: Run, plan: Path) -> None:
    result = fed("plan", "check", plan.name, plan.name)
    assert result.returncode == 0
    assert result.stdout.count("keywords.yaml: sound, hash ") == 2


def test_plan_check_prints_the_problems_of_all_plans_and_ends_with_3(fed: Run, plan: Path) -> None:
    broken = plan.with_name("broken.yaml")
    broken.write_text(PLAN.replace("seed", "sed").replace("train_task", "train"))
    result = fed(
        "plan", "check", "broken.yaml", "gone.yaml", "keywords.yaml", "--set", "federation.settings.envoys=0"
    )
    assert result.returncode == 3
    lines = result.stderr.splitlines()
    assert "--set: federation.settings.envoys: must be greater than or equal to 1, not 0" in lines
    assert (
        "broken.yaml:14: tasks.train.function: must be 'train_task' or 'validate_task', not 'train'" in lines
    )
    assert "broken.yaml:23: federation.settings.sed: unknown key; did you mean seed?" in lines
    assert "gone.yaml: there is no such file" in lines
    assert result.stdout == ""


def test_plan_check_has_json(fed: Run, plan: Path) -> None:
    result = fed("plan", "check", plan.name, "gone.yaml", "--json")
    assert result.returncode == 3
    sound, gone = json.loads(result.stdout)
    assert (sound["plan"], sound["problems"], len(sound["hash"])) == ("keywords.yaml", [], 64)
    assert (gone["hash"], gone["problems"][0]["message"]) == (None, "gone.yaml: there is no such file")


def test_plan_show_fills_in_defaults_and_can_be_checked_again(fed: Run, plan: Path) -> None:
    shown = fed("plan", "show", plan.name, "--set", "task_runner.settings.learning_rate=1e-4").stdout
    settings = document.parse(shown, "shown").value["task_runner"]["settings"]
    assert (settings["learning_rate"], settings["experiment"]) == (0.0001, "keyword_spotting")
    assert "epochs" in settings
    as_json = json.loads(
        fed("plan", "show", plan.name, "--set", "task_runner.settings.learning_rate=1e-4", "--json").stdout
    )
    assert as_json["plan"]["task_runner"]["settings"] == settings
    plan.with_name("shown.yaml").write_text(shown)
    assert as_json["hash"][:12] in fed("plan", "check", "shown.yaml").stdout


# fed certify


def test_certify_makes_an_authority_and_members_that_know_each_other(fed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    results = [
        fed("certify", "authority", "--name", "speech study"),
        fed(
            "certify",
            "director",
            "director",
            "--host",
            "fed.example.org",
            "--host",
            "10.0.0.5",
            "--days",
            "30",
        ),
        fed("certify", "envoy", "north", "south"),
        fed("certify", "-o", "certificates", "workspace", "alice"),
    ]
    assert [result.returncode for result in results] == [0, 0, 0, 0]
    assert (
        "certificates/director.crt: certificate of director director at fed.example.org, 10.0.0.5"
        in results[1].stdout
    )
    for name, role in (
        ("director", "director"),
        ("north", "envoy"),
        ("south", "envoy"),
        ("alice", "workspace"),
    ):
        assert Credentials(folder, name).identity() == Identity(name, role)
    assert all("PRIVATE" not in result.stdout + result.stderr for result in results)


def test_certify_can_be_repeated_and_overwrites_with_force_only(fed: Run, tmp_path: Path) -> None:
    fed("certify", "authority")
    fed("certify", "envoy", "north")
    serial = load_certificate(tmp_path / "certificates/north.crt", "").serial_number
    assert "(was there already, kept)" in fed("certify", "envoy", "north").stdout
    refused = fed("certify", "workspace", "north")
    assert refused.returncode == 3
    assert refused.stderr.endswith("replace it with --force\n")
    assert load_certificate(tmp_path / "certificates/north.crt", "").serial_number == serial
    assert fed("certify", "envoy", "north", "--force").returncode == 0
    assert load_certificate(tmp_path / "certificates/north.crt", "").serial_number != serial


def test_certify_without_an_authority_says_how_to_make_one(fed: Run) -> None:
    result = fed("certify", "envoy", "north")
    assert result.returncode == 3
    assert result.stderr.endswith(
        "authority.crt: there is no such file; make it with: fed certify authority\n"
    )
