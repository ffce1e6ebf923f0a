"""`fed data sample`: data of each family, made from nothing, that the small plan of the family takes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from federation.errors import InputError
from federation.federation_file import load_federation, open_shard, samples_of
from federation.plan import load_plan
from shard_descriptors.cli import data
from shard_descriptors.sample_data import spoken_words
from shard_descriptors.sample_data.kinds import FEDERATION_FILE, KINDS, make
from tests.checkout import ROOT

pytestmark = pytest.mark.usefixtures("few_tones")


@pytest.fixture
def few_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tones in place of voices, which another test has."""
    monkeypatch.setattr(spoken_words, "has_voices", lambda: False)
    monkeypatch.setattr(spoken_words, "TAKES", 1)


@pytest.fixture
def umask() -> Iterator[None]:
    """Whatever a test sets it to is undone."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_small_plan_of_the_family_takes_it(kind: str, tmp_path: Path) -> None:
    make(KINDS[kind], tmp_path / "made")
    plan = load_plan(ROOT / "plans" / f"{KINDS[kind].plan}.yaml")
    federation = load_federation(tmp_path / "made" / FEDERATION_FILE)
    assert len(federation.envoys) == plan.federation.envoys
    test = federation.test
    assert test is not None
    for entry in (*federation.envoys.values(), test):
        shard = open_shard(entry.shard_descriptor)
        assert shard.dataset == plan.federation.dataset
        assert tuple(shard.classes) == tuple(plan.federation.classes)
        counts = samples_of(shard)
        assert counts["train"] >= 10 or entry is test
        assert counts["validation"] > 0 or entry is test
        assert counts["test"] >= 20


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_each_time_and_its_modes_follow_the_umask(
    kind: str, tmp_path: Path, umask: None
) -> None:
    for mask in (0o022, 0o077):
        os.umask(mask)
        made = tmp_path / "data" / oct(mask)
        make(KINDS[kind], made)
        for path in (made, *made.rglob("*")):
            expected = (0o777 if path.is_dir() else 0o666) & ~mask
            assert stat.S_IMODE(path.stat().st_mode) == expected, path
    assert files(tmp_path / "data" / oct(0o022)) == files(made) != {}


def test_a_folder_that_holds_something_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not an empty folder; choose another one"):
        make(KINDS["text"], tmp_path)
    with pytest.raises(InputError, match="is not an empty folder"):
        make(KINDS["text"], tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_folder_that_one_is_in_will_do_if_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert CliRunner().invoke(data, ["sample", "text", "-o", "."]).exit_code == 0
    assert sorted(path.name for path in Path.cwd().iterdir()) == [FEDERATION_FILE, "sentences"]
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(spoken_words, "write_melodies", fails)
    with pytest.raises(OSError, match="no space"):
        make(KINDS["speech"], tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_it_is_said_what_was_made_and_what_is_next(tmp_path: Path) -> None:
    said = CliRunner().invoke(data, ["sample", "speech", "-o", str(tmp_path / "made")]).output.splitlines()
    assert len(said) == 3
    assert "clips of tones, a melody in place of each word: for voices that speak, pip install" in said[0]
    assert said[2].startswith("next: fed simulate plans/keyword_spotting_tiny.yaml --federation")


# Not imported to see: it must stay out of this process, as another test has it.
@pytest.mark.skipif(find_spec("espeakng_loader") is None, reason="the extra demo is not installed")
def test_voices_speak_where_they_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_words, "has_voices", lambda: True)
    monkeypatch.setattr(spoken_words, "SPEAKERS", 1)
    assert "14 clips of words" in make(KINDS["speech"], tmp_path / "made")
    assert len(list((tmp_path / "made" / "speech_commands").glob("*/*_nohash_0.wav"))) == 14


def test_no_learning_package_is_imported_for_it(tmp_path: Path) -> None:
    tried = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from federation.main import main; code = main(['data', 'sample', 'text', '-o', 'made']); "
            "sys.exit(code or len({'torch', 'transformers', 'scipy'} & set(sys.modules)))",
        ],
        cwd=tmp_path,
        env=os.environ | {"FED_STATE": str(tmp_path / "state")},
        check=False,
    )
    assert tried.returncode == 0
