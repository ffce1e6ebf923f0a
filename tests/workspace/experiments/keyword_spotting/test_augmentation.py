"""Augmentation: what each kind does to a clip, and that its draws come from the generator that is handed in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.learning_parts import Tones, small_recipe
from workspace.experiments.keyword_spotting.augmentation import add_noise, augment, move_and_stretch
from workspace.experiments.keyword_spotting.settings import AudioAugmentation

ALL = AudioAugmentation(shift_ms=100, speed=0.1, gain_db=6, noise=0.5)


def clips(count: int = 8) -> Any:
    return np.stack([clip["audio"] for clip in Tones(count)])


def test_the_same_generator_gives_the_same_clips_and_the_originals_are_left_alone() -> None:
    original = clips()
    kept = original.copy()
    one, same, other = (augment(original, ALL, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(original, kept)
    assert (one.dtype, one.shape) == (np.float32, original.shape)


def test_what_is_off_draws_and_changes_nothing() -> None:
    generator = np.random.default_rng(1)
    assert augment(clips(), AudioAugmentation(), generator) is not None
    assert generator.bit_generator.state == np.random.default_rng(1).bit_generator.state


def test_a_clip_is_moved_by_at_most_the_shift_and_gaps_are_silent() -> None:
    impulses = np.zeros((200, 16000), np.float32)
    impulses[:, 8000] = 1
    moved = move_and_stretch(impulses, 100, 0.0, np.random.default_rng(0))
    distance = np.abs(moved).argmax(axis=1) - 8000
    assert np.abs(distance).max() <= 1601
    assert distance.min() < -1000
    assert distance.max() > 1000
    edges = move_and_stretch(np.ones((50, 16000), np.float32), 100, 0.0, np.random.default_rng(1))
    assert (edges.min(axis=1) == 0).all()
    assert (edges.max(axis=1) == 1).all()


def test_speed_changes_the_pitch_by_at_most_its_share() -> None:
    time = np.arange(16000) / 16000
    tone = np.tile(np.sin(2 * np.pi * 1000 * time).astype(np.float32), (100, 1))
    spectra = np.abs(np.fft.rfft(move_and_stretch(tone, 0, 0.1, np.random.default_rng(0)), axis=1))
    peaks = spectra.argmax(axis=1)
    assert 900 <= peaks.min() < 950
    assert 1050 < peaks.max() <= 1101


def test_noise_has_the_ratio_that_was_asked_for() -> None:
    original = clips(60)
    noisy = add_noise(original, 1.0, [10.0, 10.0], np.random.default_rng(0))
    power = (original**2).mean(axis=1) / ((noisy - original) ** 2).mean(axis=1)
    assert 10 * np.log10(power) == pytest.approx(np.full(60, 10), abs=0.05)


def test_noise_is_added_to_its_share_of_the_clips() -> None:
    original = clips(300)
    noisy = add_noise(original, 0.3, [10.0, 10.0], np.random.default_rng(0))
    changed = (noisy != original).any(axis=1).mean()
    assert changed == pytest.approx(0.3, abs=0.1)


def test_a_silent_clip_stays_finite() -> None:
    assert np.isfinite(augment(np.zeros((4, 16000), np.float32), ALL, np.random.default_rng(0))).all()
    silent = [{"audio": np.zeros(16000, np.float32), "label": 0}]
    assert np.isfinite(small_recipe().collate(silent, None)["input_values"].numpy()).all()


def test_only_training_batches_are_augmented() -> None:
    recipe, split = small_recipe(), Tones(4)
    plain, again = recipe.collate(split, None), recipe.collate(split, None)
    trained = recipe.collate(split, np.random.default_rng(0))
    assert plain["input_values"].equal(again["input_values"])
    assert not plain["input_values"].equal(trained["input_values"])
    assert plain["labels"].equal(trained["labels"])
