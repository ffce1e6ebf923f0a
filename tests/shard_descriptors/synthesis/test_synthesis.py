"""Synthesised speech: a Speech Commands folder, the same from the same seed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from federation.errors import InputError
from shard_descriptors.synthesis.espeak import Utterance, speak
from shard_descriptors.synthesis.synthesis import synthesise
from tests.checkout import ROOT
from tests.speech_data import make_speech_folder


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_speech_folder(tmp_path_factory.getbasetemp() / "speech")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_it_is_a_speech_commands_folder(speech: Path) -> None:
    words = {folder.name for folder in speech.iterdir() if folder.is_dir()}
    assert {"yes", "no", "stop", "go", "marvin", "_background_noise_"} <= words
    speakers = {file.name.split("_nohash_")[0] for file in (speech / "yes").iterdir()}
    assert len(speakers) == 10
    assert all(len(speaker) == 8 and int(speaker, 16) >= 0 for speaker in speakers)
    for file in (speech / "yes").iterdir():
        header = soundfile.info(file)
        assert (header.samplerate, header.channels, header.frames, header.subtype) == (
            16000,
            1,
            16000,
            "PCM_16",
        )


def test_every_clip_holds_a_word_louder_than_its_noise(speech: Path) -> None:
    for file in speech.glob("*/*_nohash_*.wav"):
        wave, _ = soundfile.read(file, dtype="float32")
        frames = np.sqrt(np.square(wave.reshape(100, 160)).mean(axis=1))
        assert np.abs(wave).max() > 0.05, file
        assert np.percentile(frames, 95) > 2 * np.percentile(frames, 10), file


def test_background_recordings_are_long_and_differ(speech: Path) -> None:
    files = sorted((speech / "_background_noise_").iterdir())
    assert [file.stem for file in files] == [
        "babble",
        "brown_noise",
        "mains_hum",
        "pink_noise",
        "white_noise",
    ]
    waves = [soundfile.read(file)[0] for file in files]
    assert all(len(wave) == 12 * 16000 and wave.std() > 0.01 for wave in waves)


def test_same_seed_same_bytes_in_another_process(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    make_speech_folder(here, words=["yes", "no"], speakers=3, takes=2, seed=5)
    code = (
        "import pathlib, sys; from tests.speech_data import make_speech_folder as make;"
        "make(pathlib.Path(sys.argv[1]), words=['yes', 'no'], speakers=3, takes=2, seed=5)"
    )
    subprocess.run([sys.executable, "-c", code, there], check=True, cwd=ROOT)
    assert contents(here) == contents(there)


def test_another_seed_gives_other_speakers_and_more_speakers_keep_the_first(tmp_path: Path) -> None:
    def names(folder: str, speakers: int, seed: int) -> set[str]:
        made = make_speech_folder(tmp_path / folder, words=["go"], speakers=speakers, seed=seed)
        return {file.name for file in (made / "go").iterdir()}

    few = names("few", 3, 0)
    assert not few & names("other", 3, 1)
    assert few < names("many", 5, 0)
    for name in few:
        assert (tmp_path / "few/go" / name).read_bytes() == (tmp_path / "many/go" / name).read_bytes()


def test_takes_of_a_speaker_differ(tmp_path: Path) -> None:
    folder = make_speech_folder(tmp_path / "takes", words=["up"], speakers=1, takes=4)
    clips = [file.read_bytes() for file in (folder / "up").iterdir()]
    assert len(set(clips)) == 4


def test_a_folder_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert synthesise(folder, words=["go"], speakers=1, takes=1, background_seconds=1)
    assert not synthesise(
        folder, words=["go"], speakers=1, takes=1, background_seconds=1
    )  # the same: left alone
    with pytest.raises(InputError, match="other settings; choose another folder or give --force"):
        synthesise(folder, words=["no"], speakers=1, takes=1, background_seconds=1)
    assert synthesise(folder, words=["no"], speakers=1, takes=1, background_seconds=1, force=True)
    assert not (folder / "go").exists()
    assert json.loads((folder / "synthesis.json").read_text())["words"] == ["no"]


def test_what_was_not_synthesised_stays_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear reader")
    with pytest.raises(InputError, match="not synthesised"):
        synthesise(tmp_path, words=["go"], speakers=1, takes=1, force=True)
    assert (tmp_path / "letters").read_text() == "dear reader"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"words": ["../up"]}, r"words: '\.\./up' is not a word"),
        ({"words": ["up", "up"]}, "none twice"),
        ({"words": []}, "at least one"),
        ({"speakers": 0}, "speakers: must be at least 1, not 0"),
        ({"takes": -1}, "takes: must be at least 1, not -1"),
    ],
)
def test_wrong_requests_are_named(tmp_path: Path, request_: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        synthesise(tmp_path / "data", **request_)  # type: ignore[arg-type]


def test_a_voice_that_espeak_lacks_is_an_error_not_another_voice() -> None:
    with pytest.raises(InputError, match="no voice variant 'nobody'"):
        list(speak([Utterance("yes", "en", "nobody", 50, 170, 0)]))
    with pytest.raises(InputError, match="no voice 'en-gb'"):
        list(speak([Utterance("yes", "en-gb", "f3", 50, 170, 0)]))


def test_without_espeak_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.modules['espeakng_loader'] = None\n"
        "from shard_descriptors.synthesis.synthesis import synthesise\n"
        f"synthesise(pathlib.Path({str(tmp_path / 'data')!r}))"
    )
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "InputError: espeak-ng is not installed; pip install 'speech-federation[demo]'" in failed.stderr
    assert not (tmp_path / "data").exists()


def test_espeak_stays_out_of_this_process(speech: Path) -> None:
    assert "espeakng_loader" not in sys.modules
