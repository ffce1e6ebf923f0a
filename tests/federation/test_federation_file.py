"""The federation file lists envoys with their shard descriptor, and is checked as strictly as a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.errors import InputError
from federation.federation_file import ShardEntry, load_federation, open_shard
from federation.schema import Component, Problems, plain

SHARD = "shard_descriptors.speech.speech_commands.SpeechCommandsShard"
FEDERATION = f"""\
envoys:
  north: {{shard_descriptor: {{template: {SHARD}, settings: {{root: data, rank: 0, worldsize: 2}}}}}}
  south: {{shard_descriptor: {{template: {SHARD}, settings: {{root: /data, rank: 1, worldsize: 2}}}}}}
test: {{shard_descriptor: {{template: {SHARD}, settings: {{root: ../data}}}}}}
checkpoints: {{facebook/wav2vec2-base: /checkpoints/base}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str) -> Any:
        file = tmp_path / "federation.yaml"
        file.write_text(text)
        return load_federation(file)

    return load


def test_it_lists_envoys_the_test_shard_and_checkpoints(load: Any) -> None:
    federation = load(FEDERATION)
    assert list(federation.envoys) == ["north", "south"]
    assert federation.envoys["south"].shard_descriptor.settings.rank == 1
    assert federation.test.shard_descriptor.template == SHARD
    assert federation.checkpoints == {"facebook/wav2vec2-base": "/checkpoints/base"}


def test_roots_are_taken_from_the_files_folder(load: Any, tmp_path: Path) -> None:
    federation = load(FEDERATION)
    roots = [entry.shard_descriptor.settings.root for entry in (*federation.envoys.values(), federation.test)]
    assert roots == [tmp_path / "data", Path("/data"), tmp_path / "../data"]


def test_all_problems_are_said_at_once(load: Any, tmp_path: Path) -> None:
    text = (
        FEDERATION.replace("worldsize: 2", "worldsiz: 2", 1)
        .replace("rank: 1", "rank: 2")
        .replace("test:", "tst:")
    )
    with pytest.raises(Problems) as caught:
        load(text.replace("  south", "  validate_local"))
    found = str(caught.value).replace(f"{tmp_path}/", "").partition("; ranks go")
    assert "".join((found[0], found[2][found[2].index("\n") :])).splitlines() == [
        "federation.yaml:2: envoys.north.shard_descriptor.settings.worldsiz: "
        "unknown key; did you mean worldsize?",
        "federation.yaml:3: envoys.validate_local: "
        "the name 'validate_local' has a meaning of its own in OpenFL; choose another",
        "federation.yaml:3: envoys.validate_local.shard_descriptor.settings: rank 2 is beyond worldsize 2",
        "federation.yaml:4: tst: unknown key; did you mean test?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("envoys: {}", "envoys: must have at least 1 item, not 0"),
        ("envoys: {north: }", "envoys.north: must be a mapping, not null"),
        (
            "envoys: {north: {shard_descriptor: {template: os.system}}}",
            "'os.system' is none of the known ones",
        ),
        (
            f"envoys: {{north: {{shard_descriptor: {{template: {SHARD}}}}}}}",
            "north.shard_descriptor.settings: is missing",
        ),
        (FEDERATION.replace("root: data, ", ""), "north.shard_descriptor.settings: root is missing"),
        (FEDERATION.replace("rank: 0", "rank: '0'"), "settings.rank: must be an integer, not '0'"),
        (
            FEDERATION.replace("  south", "  north"),
            "envoys.north: duplicate key; it stands on line 2 already",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_is(load: Any, text: str, problem: str) -> None:
    with pytest.raises(Problems, match=problem.replace("(", r"\(")):
        load(text)


def test_a_shard_is_opened_with_its_settings(load: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    entry = load(FEDERATION).envoys["north"].shard_descriptor
    for same in (entry, ShardEntry(**plain(entry))):
        with pytest.raises(InputError, match=str(tmp_path / "data")):
            open_shard(same).split("train")


@pytest.mark.parametrize("template", ["os.system", "openfl.component.WaitForAllPolicy"])
def test_only_a_shard_descriptor_of_the_table_is_opened(template: str) -> None:
    with pytest.raises(InputError, match="is no known shard descriptor"):
        open_shard(Component(template, {"command": "true"}))
