"""The folder of a run: whose it is, what Ctrl-C leaves in it, and what a new run replaces."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from federation.errors import InputError
from federation.federation_file import FederationFile, load_federation
from federation.plan import CheckedPlan, load_plan
from tests.deployment import write_yaml
from tests.faults.federation import PLAN
from tests.image_data import make_image_folder, shard_entry
from workspace.learning.exported import load_exported
from workspace.simulation.baseline import run_baseline
from workspace.simulation.run import Summary, simulate
from workspace.simulation.run_folder import RunFolder

OF_A_SIMULATION = {
    *("run.json", "summary.json", "metrics.jsonl", "model"),
    *("exchanged_best.safetensors", "exchanged_last.safetensors"),
}


class Parts:
    """A plan of three rounds, and the data of two envoys."""

    def __init__(self, folder: Path) -> None:
        images = make_image_folder(folder / "images", count=10)
        entries = {
            name: {"shard_descriptor": shard_entry(images, rank, 2)}
            for rank, name in enumerate(("north", "south"))
        }
        self.file = write_yaml(folder / "federation.yaml", {"envoys": entries, "test": entries["north"]})
        self.plan_file = write_yaml(folder / "tiny.yaml", PLAN)

    @property
    def federation(self) -> FederationFile:
        return load_federation(self.file)

    def plan(self, *sets: str) -> CheckedPlan:
        return load_plan(self.plan_file, ["aggregator.settings.rounds_to_train=3", *sets])

    def simulate(self, folder: Path, *sets: str, **options: Any) -> Summary:
        return simulate(self.plan(*sets), self.federation, folder, device="cpu", **options)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return Parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def alone(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody has disturbed."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    parts.simulate(folder)
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def read(folder: Path, name: str = "summary.json") -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / name).read_text())
    return told


def at(kind: str, round_number: int, then: Callable[[], None]) -> Callable[[str, Mapping[str, Any]], None]:
    """Do something at the first event of a kind in a round."""
    told = []

    def notice(happened: str, body: Mapping[str, Any]) -> None:
        if (happened, body.get("round")) == (kind, round_number) and not told:
            told.append(body)
            then()

    return notice


def ctrl_c() -> None:
    raise KeyboardInterrupt


def test_while_a_run_goes_on_its_folder_says_so_and_holds_no_summary_and_no_model(
    parts: Parts, tmp_path: Path
) -> None:
    seen: list[Any] = []
    look = at("result", 1, lambda: seen.append((read(tmp_path, "run.json"), names(tmp_path))))
    parts.simulate(tmp_path, notice=look)
    [(run, there)] = seen
    assert (run["state"], run["command"], run["plan"]) == ("running", "simulate", "tiny")
    assert there == {"run.json", "metrics.jsonl", "unfinished"}
    assert read(tmp_path, "run.json")["state"] == "finished"
    assert names(tmp_path) == OF_A_SIMULATION


@pytest.mark.parametrize("kind", ["result", "round_closed", "round_started"])
def test_ctrl_c_keeps_what_was_reached_and_a_resumed_run_has_the_bits_of_one_left_alone(
    parts: Parts, alone: Path, tmp_path: Path, kind: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        parts.simulate(tmp_path, notice=at(kind, 2, ctrl_c))
    summary, rows = read(tmp_path), (tmp_path / "metrics.jsonl").read_text().splitlines()
    rounds = 3 if kind == "round_closed" else 2
    assert (summary["state"], summary["rounds"]) == ("interrupted", rounds)
    assert {json.loads(row)["round"] for row in rows} == set(range(rounds))
    assert summary["test_accuracy"] is None
    load_exported(tmp_path / "model")
    assert names(tmp_path) == OF_A_SIMULATION | {"unfinished"}

    resumed = parts.simulate(tmp_path, resume=True)
    assert resumed.exchanged_sha256 == read(alone)["exchanged_sha256"]
    assert resumed.test == read(alone)["test"]
    assert (tmp_path / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()
    assert names(tmp_path) == OF_A_SIMULATION


def test_ctrl_c_before_anything_was_reached_leaves_nothing_of_an_earlier_run(
    parts: Parts, tmp_path: Path
) -> None:
    parts.simulate(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        parts.simulate(tmp_path, force=True, notice=at("result", 0, ctrl_c))
    assert names(tmp_path) == {"run.json", "summary.json", "metrics.jsonl", "unfinished", "notes.txt"}
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert (read(tmp_path)["state"], read(tmp_path)["rounds"]) == ("interrupted", 0)


def test_a_folder_of_another_run_is_refused_unless_forced_which_replaces_what_a_run_writes_and_nothing_else(
    parts: Parts, alone: Path, tmp_path: Path
) -> None:
    run_baseline(parts.plan(), parts.federation, tmp_path, "north")
    (tmp_path / "model" / "tokenizer.json").write_text("of another model")
    for mine in ("notes.txt", "model/notes.txt"):
        (tmp_path / mine).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = (
        r"holds a run \(local of tiny\) that has finished; name another folder, or --force to replace it"
    )
    for attempt in (parts.simulate, lambda folder: run_baseline(parts.plan(), parts.federation, folder)):
        with pytest.raises(InputError, match=refused):
            attempt(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    parts.simulate(tmp_path, force=True)
    assert names(tmp_path) == OF_A_SIMULATION | {"notes.txt"}
    assert names(tmp_path / "model") == names(alone / "model") | {"notes.txt"}
    run_baseline(parts.plan(), parts.federation, tmp_path, force=True)
    assert names(tmp_path) == {"run.json", "summary.json", "metrics.jsonl", "model", "notes.txt"}
    assert read(tmp_path)["data"] == "central"


def test_what_a_version_without_marks_has_left_is_refused_as_well(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds summary.json, which would be replaced; .*--force"):
        parts.simulate(tmp_path, resume=True)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "novel.txt").write_text("mine")
    with pytest.raises(InputError, match="holds unfinished/, which is not of a run that is known"):
        parts.simulate(tmp_path, force=True)
    assert (tmp_path / "unfinished" / "novel.txt").read_text() == "mine"


def test_two_runs_never_write_into_one_folder(parts: Parts, tmp_path: Path) -> None:
    with RunFolder(tmp_path).held():
        for options in ({}, {"force": True}, {"resume": True}):
            with pytest.raises(InputError, match="another run is writing there now"):
                parts.simulate(tmp_path, **options)


@pytest.fixture(scope="module")
def interrupted(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(KeyboardInterrupt):
        parts.simulate(folder, notice=at("result", 1, ctrl_c))
    return folder


def test_an_interrupted_run_is_not_begun_anew_unasked(parts: Parts, interrupted: Path) -> None:
    with pytest.raises(InputError, match=r"was interrupted; name another folder, --resume to go on with it"):
        parts.simulate(interrupted)


def test_a_changed_plan_is_refused_by_the_settings_name(parts: Parts, interrupted: Path) -> None:
    change = "task_runner.settings.learning_rate"
    with pytest.raises(
        InputError, match=rf"the plan has changed: {change} is 0.5, was 0.01; .*--force$"
    ) as error:
        parts.simulate(interrupted, f"{change}=0.5", resume=True)
    assert "\n" not in str(error.value)


def test_changed_data_are_refused_by_the_envoys_name(parts: Parts, interrupted: Path) -> None:
    fewer = parts.federation
    settings = fewer.envoys["south"].shard_descriptor.settings
    object.__setattr__(settings, "rank", 0)
    with pytest.raises(InputError, match="the data of south has changed"):
        simulate(parts.plan(), fewer, interrupted, device="cpu", resume=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "0" * 64}, "the code has changed"),
        ({"versions": {"torch": "1.0"}}, "the version of .* is .*, was "),
        ({"device": "cuda:0"}, 'the device has changed: it is "cpu", was "cuda:0"'),
        ({"cohorts": "0"}, "the cohorts has changed"),
        ({"checkpoint": "0"}, "the checkpoint has changed"),
    ],
)
def test_changed_code_versions_and_the_like_are_refused(
    parts: Parts, interrupted: Path, change: dict[str, Any], said: str
) -> None:
    run = interrupted / "run.json"
    before = run.read_text()
    try:
        run.write_text(json.dumps(json.loads(before) | change))
        with pytest.raises(InputError, match=said):
            parts.simulate(interrupted, resume=True)
    finally:
        run.write_text(before)


def test_a_full_disk_ends_a_run_and_what_was_reached_is_gone_on_with(
    parts: Parts, small_disk: Path, tmp_path: Path
) -> None:
    def fill() -> None:
        with (small_disk / "others").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    # So that no envoy keeps anything on that disk, which would be its failure.
    nothing_kept = "task_runner.settings.batch_norm=aggregate"
    folder = small_disk / "run"
    with pytest.raises(OSError, match="No space left") as error:
        parts.simulate(folder, nothing_kept, notice=at("result", 1, fill))
    assert error.value.errno == errno.ENOSPC
    (small_disk / "others").unlink()
    alone = parts.simulate(tmp_path, nothing_kept)
    assert parts.simulate(folder, nothing_kept, resume=True).exchanged_sha256 == alone.exchanged_sha256


def test_ctrl_c_keeps_the_best_model_of_a_baseline(parts: Parts, tmp_path: Path) -> None:
    def notice(rounds_done: float, said: str) -> None:
        if rounds_done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_baseline(parts.plan(), parts.federation, tmp_path, notice=notice)
    summary = read(tmp_path)
    assert (summary["state"], summary["rounds"], summary["test"]) == ("interrupted", 2, None)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    load_exported(tmp_path / "model")
    assert read(tmp_path, "run.json")["state"] == "interrupted"
    with pytest.raises(InputError, match=r"holds a run \(central of tiny\) that was interrupted"):
        run_baseline(parts.plan(), parts.federation, tmp_path)
