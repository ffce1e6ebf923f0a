"""Recordings as they come: kinds of files, rates and lengths, samples that are none, and what reading them costs."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from federation.errors import InputError
from shard_descriptors.speech import audio
from shard_descriptors.speech.audio import UnreadableAudio, read_background, read_clip, read_header
from shard_descriptors.speech.speech_commands import SpeechCommandsShard
from tests.speech_data import write_clip, write_word_folders

TONE = 0.3 * np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)


@pytest.mark.parametrize(
    ("written_as", "error"),
    [
        ({"format": "WAV", "subtype": "PCM_16"}, 1e-4),
        ({"format": "WAV", "subtype": "PCM_U8"}, 0.01),
        ({"format": "WAV", "subtype": "PCM_24"}, 1e-4),
        ({"format": "WAV", "subtype": "FLOAT"}, 1e-4),
        ({"format": "WAV", "subtype": "ULAW"}, 0.01),
        ({"format": "WAV", "subtype": "ALAW"}, 0.01),
        ({"format": "WAVEX", "subtype": "PCM_16"}, 1e-4),
        ({"format": "RF64", "subtype": "PCM_16"}, 1e-4),
        ({"format": "FLAC", "subtype": "PCM_16"}, 1e-4),
        ({"format": "OGG", "subtype": "VORBIS"}, 0.03),
        ({"format": "MP3", "subtype": "MPEG_LAYER_III"}, 0.05),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_file_holds_the_same_tone_in_every_kind(
    tmp_path: Path, written_as: dict[str, str], error: float
) -> None:
    file = write_clip(tmp_path / "a.wav", **written_as)
    assert read_header(file).seconds == 1
    assert np.abs(read_clip(file) / 32768 - TONE)[1000:-1000].max() < error


@pytest.mark.parametrize("claimed", [2**32 - 1, 2**31, 10**9, 0x7FFFFFFF])
def test_a_recording_that_was_piped_is_read_to_its_end(tmp_path: Path, claimed: int) -> None:
    file = write_clip(tmp_path / "a.wav")
    content = bytearray(file.read_bytes())
    at = content.index(b"data")
    content[at + 4 : at + 8] = content[4:8] = struct.pack("<I", claimed)
    file.write_bytes(content)
    assert read_header(file).frames == 16_000
    assert np.abs(read_clip(file) / 32768 - TONE).max() < 1e-4


def test_silence_without_any_noise_is_a_good_recording(tmp_path: Path) -> None:
    write_word_folders(tmp_path, clips=5)
    soundfile.write(tmp_path / "lion" / "00000000_nohash_0.wav", np.zeros(16_000), 16_000)
    shard = SpeechCommandsShard(root=tmp_path, classes="all_words", split="speaker", max_unreadable=0.0)
    assert not shard.left_out
    assert not read_clip(tmp_path / "lion" / "00000000_nohash_0.wav").any()


@pytest.mark.parametrize("rate", [1000, 8000, 11_025, 44_100, 192_000, 400_001, 767_999, 768_000])
def test_every_rate_from_1_to_768_khz_gives_the_same_tone(tmp_path: Path, rate: int) -> None:
    clip = read_clip(write_clip(tmp_path / "a.wav", rate=rate, seconds=2)) / 32768
    assert np.abs(clip - TONE)[1000:-1000].max() < 0.01


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_other_rates_are_unreadable(tmp_path: Path, rate: int) -> None:
    file = write_clip(tmp_path / "a.wav")
    content = bytearray(file.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    file.write_bytes(content)
    for read in (read_header, read_clip):
        with pytest.raises(UnreadableAudio, match=r"a\.wav: (claims 1 channels of|cannot be read as audio)"):
            read(file)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 96_000])
def test_the_first_second_is_the_same_to_the_bit_however_long_the_file_goes_on(
    tmp_path: Path, rate: int
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * rate)
    soundfile.write(tmp_path / "a.wav", noise, rate, subtype="PCM_16")
    wave = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    whole = audio.resample(wave, rate) if rate != 16_000 else wave
    expected = np.clip(np.rint(whole[:16_000] * 32768), -32768, 32767).astype(np.int16)
    np.testing.assert_array_equal(read_clip(tmp_path / "a.wav"), expected)


@pytest.mark.parametrize("kind", ["FLAC", "WAV"])
def test_of_an_hour_only_the_first_second_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    file = tmp_path / "hour.wav"
    with soundfile.SoundFile(file, "w", 8000, 1, format=kind) as sound:
        for _ in range(60):
            sound.write(np.zeros(8000 * 60, np.int16))
    decoded = []

    class Counted(soundfile.SoundFile):
        def read(self, frames: int = -1, *args: object, **named: object) -> object:
            got = super().read(frames, *args, **named)
            decoded.append(len(got))
            return got

    monkeypatch.setattr(soundfile, "SoundFile", Counted)
    read_header(file)
    read_clip(file)
    assert decoded
    assert max(decoded) < 2 * 8000


def with_sample(file: Path, value: float, subtype: str = "FLOAT", at: int | slice = 100) -> Path:
    wave = TONE.copy()
    wave[at] = value
    soundfile.write(file, wave, 16_000, subtype=subtype)
    return file


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [100, slice(None)], ids=["one", "all"])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_numbers_make_a_file_unreadable(
    tmp_path: Path, value: float, at: int | slice, subtype: str
) -> None:
    file = with_sample(tmp_path / "a.wav", value, subtype, at)
    for read in (read_header, read_background, read_clip, lambda one: read_clip(one, 0)):
        with pytest.raises(UnreadableAudio, match=r"a\.wav: holds samples that are no numbers"):
            read(file)


def test_samples_that_nobody_divided_by_full_scale_make_a_file_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAudio, match="holds samples of 12000, where full scale is 1"):
        read_header(with_sample(tmp_path / "a.wav", 12_000.0))
    assert read_clip(with_sample(tmp_path / "loud.wav", 1.5))[100] == 32767


def test_files_without_numbers_are_skipped_like_the_others_that_cannot_be_read(tmp_path: Path) -> None:
    names = write_word_folders(tmp_path)
    with_sample(tmp_path / names[0], np.nan)
    shard = SpeechCommandsShard(root=tmp_path, classes="all_words", split="speaker")
    assert dict(shard.left_out) == {"recordings that cannot be used": 1}
    with pytest.raises(InputError, match="1 of 20 files cannot be used"):
        SpeechCommandsShard(root=tmp_path, classes="all_words", split="speaker", max_unreadable=0.0)


def test_a_background_is_looked_at_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "long.wav"
    soundfile.write(file, np.append(np.zeros(10 * 16_000), np.nan), 16_000, subtype="FLOAT")
    with pytest.raises(UnreadableAudio, match="no numbers"):
        read_background(file)


def test_a_flac_that_breaks_off_is_found_before_training(tmp_path: Path) -> None:
    names = write_word_folders(tmp_path, suffix=".flac")
    file = tmp_path / names[0]
    file.write_bytes(file.read_bytes()[:2000])
    shard = SpeechCommandsShard(root=tmp_path, classes="all_words", split="speaker")
    assert dict(shard.left_out) == {"recordings that cannot be used": 1}


def test_what_does_not_say_its_length_or_claims_days_is_unreadable(tmp_path: Path) -> None:
    file = write_clip(tmp_path / "a.flac")
    content = bytearray(file.read_bytes())
    for frames, reason in ((0, "does not say how long it is"), (2**36 - 1, "no clip of a word")):
        content[21:26] = (int.from_bytes(content[21:22], "big") & 0xF0 | frames >> 32).to_bytes(1, "big") + (
            frames % 2**32
        ).to_bytes(4, "big")
        file.write_bytes(content)
        for read in (read_header, read_clip):
            with pytest.raises(UnreadableAudio, match=reason):
                read(file)
        with pytest.raises(UnreadableAudio, match=r"does not say|claims to last"):
            read_background(file)


COSTS = """
import resource, sys
from pathlib import Path
from shard_descriptors.speech.audio import read_clip
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_clip(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_dearest_header_costs_a_bounded_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, np.zeros((1, 64), np.int16), 767_999)
    with file.open("r+b") as sparse:
        sparse.seek(4)
        sparse.write(struct.pack("<I", 2**32 - 1))
        sparse.seek(file.read_bytes().index(b"data") + 4)
        sparse.write(struct.pack("<I", 2**32 - 1))
        sparse.truncate(2 * 64 * 1_600_000)
    assert read_header(file).frames > 1_500_000
    told = subprocess.run(
        [sys.executable, "-c", COSTS, file], check=True, capture_output=True, text=True, timeout=60
    )
    assert int(told.stdout) < 600 << 10
