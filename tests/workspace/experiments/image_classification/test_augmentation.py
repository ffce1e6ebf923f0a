"""Augmentation of images: what each policy does, and that what is drawn does not depend on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from tests.image_data import Pictures, small_recipe
from workspace.experiments.image_classification.augmentation import VIEWS, augment, draw, enlarged
from workspace.experiments.image_classification.randaugment import OPERATIONS, randaugment
from workspace.experiments.image_classification.settings import OFFLINE, ImageAugmentation
from workspace.learning.training import initial_model, train_round

SIZE = 24


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Return smooth images, of which no two are alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 255 * torch.rand((count, 3, 4, 4), generator=generator)
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear").round()


def augmented(settings: ImageAugmentation, count: int = 8, seed: int = 0) -> torch.Tensor:
    samples = enlarged([{"label": i} for i in range(count)], settings)
    drawn = draw([samples[i] for i in range(count)], settings, np.random.default_rng(seed))
    return augment(images(count), drawn, settings)


def test_no_policy_leaves_images_as_they_are() -> None:
    settings = ImageAugmentation()
    assert draw([{}], settings, np.random.default_rng(0)) == {}
    assert torch.equal(augmented(settings), images(8))


@pytest.mark.parametrize("policy", ["standard", "randaugment"])
def test_a_random_policy_follows_its_generator_and_keeps_the_range(policy: Any) -> None:
    settings = ImageAugmentation(policy=policy)
    one, same, other = (augmented(settings, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (8, 3, SIZE, SIZE)
    assert 0 <= one.min() <= one.max() <= 255
    assert all(not torch.equal(a, b) for a, b in zip(one, images(8), strict=True))


def test_a_crop_of_the_whole_image_without_colours_is_the_image_or_its_mirror() -> None:
    settings = ImageAugmentation(policy="standard", smallest_crop=1.0, colour=0.0)
    drawn = draw([{}] * 64, settings, np.random.default_rng(0))
    drawn["maps"][:, 0, 0] = drawn["maps"][:, 0, 0].sign()  # the sides' ratio left out
    drawn["maps"][:, 1, 1], drawn["maps"][:, :, 2] = 1, 0
    original = images(64)
    mirrored = drawn["maps"][:, 0, 0] < 0
    assert 16 < int(mirrored.sum()) < 48
    expected = torch.where(mirrored[:, None, None, None], original.flip(-1), original)
    torch.testing.assert_close(augment(original, drawn, settings), expected, atol=0.01, rtol=0)


def test_a_crop_lies_inside_the_image_and_is_never_mirrored_without_flip() -> None:
    settings = ImageAugmentation(policy="standard", smallest_crop=0.2, flip=False)
    maps = draw([{}] * 500, settings, np.random.default_rng(0))["maps"]
    side, centre = torch.stack([maps[:, 0, 0], maps[:, 1, 1]]), maps[:, :, 2].T
    assert (side > 0).all()
    assert (side + centre.abs() <= 1 + 1e-6).all()
    assert (side[0] * side[1]).min() > 0.15


def test_colours_change_as_torchvision_changes_them() -> None:
    settings = ImageAugmentation(policy="standard", colour=0.5)
    factors = torch.tensor([[1.3, 0.7, 1.4], [0.6, 1.5, 0.5]])
    original = images(2)
    result = augment(original, {"colours": factors}, settings)
    for image, (brightness, contrast, saturation), changed in zip(
        original, factors.tolist(), result, strict=True
    ):
        expected = image / 255
        expected = v2.functional.adjust_brightness(expected, brightness)
        expected = v2.functional.adjust_contrast(expected, contrast)
        expected = v2.functional.adjust_saturation(expected, saturation)
        torch.testing.assert_close(changed / 255, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("policy", OFFLINE)
def test_an_offline_policy_enlarges_the_set_by_the_same_views_every_time(policy: Any, flip: bool) -> None:
    settings = ImageAugmentation(policy=policy, flip=flip)
    times = OFFLINE[policy]
    samples = enlarged(Pictures(5), settings)
    assert len(samples) == 5 * times
    assert [samples[i]["id"] for i in range(times)] == ["0.png"] * times
    assert [samples[i]["view"] for i in range(2 * times)] == [*range(times), *range(times)]
    first, again = (
        augment(
            images(1).expand(times, -1, -1, -1),
            draw([samples[i] for i in range(times)], settings, generator),
            settings,
        )
        for generator in map(np.random.default_rng, (1, 2))
    )
    assert torch.equal(first, again), "no generator decides a view"
    torch.testing.assert_close(first[0], images(1)[0], atol=0.01, rtol=0)
    assert all(not torch.allclose(first[i], first[j], atol=1) for i in range(times) for j in range(i))
    if flip:
        torch.testing.assert_close(first[1], images(1)[0].flip(-1), atol=0.01, rtol=0)
    assert len(set(VIEWS[flip])) == 8


def test_an_epoch_sees_the_enlarged_set_and_validation_does_not() -> None:
    recipe = small_recipe(augmentation=ImageAugmentation(policy="quadruple"))
    settings: Any = recipe.settings  # type: ignore[attr-defined]
    model = initial_model(recipe, 1)
    where: dict[str, Any] = {"seed": 1, "site": "a", "device": "cpu"}
    report = train_round(recipe, model, Pictures(6), settings, rounds=1, round_number=0, **where)
    assert (report.samples, report.steps) == (24, 3)
    assert int(report.statistics["samples"]) == 24
    assert set(recipe.collate(Pictures(6), None)) == {"images", "labels"}


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_every_operation_of_randaugment_is_torchvisions(number: int) -> None:
    names = [
        "Identity",
        "ShearX",
        "ShearY",
        "TranslateX",
        "TranslateY",
        "Rotate",
        "Brightness",
        "Color",
        "Contrast",
        "Sharpness",
        "Posterize",
        "Solarize",
        "AutoContrast",
        "Equalize",
    ]
    original = images(4).to(torch.uint8)
    magnitude = 15
    reference: Any = v2.RandAugment()
    magnitudes, signed = reference._AUGMENTATION_SPACE[names[number]]
    value = 0.0 if magnitudes(31, SIZE, SIZE) is None else float(magnitudes(31, SIZE, SIZE)[magnitude])
    for sign in (1, -1):
        result = randaugment(
            original.float(), torch.full((4, 1), number), torch.full((4, 1), sign), magnitude
        )
        expected = reference._apply_image_or_video_transform(
            original, names[number], value * (sign if signed else 1), v2.InterpolationMode.NEAREST, {}
        )
        torch.testing.assert_close(result, expected.float(), atol=1, rtol=0)


def test_images_of_a_batch_get_operations_of_their_own_as_if_they_were_alone() -> None:
    generator = np.random.default_rng(0)
    settings = ImageAugmentation(policy="randaugment", operations=3)
    drawn = draw([{}] * 12, settings, generator)
    together = randaugment(images(12), drawn["operations"], drawn["signs"], 20)
    for i in range(12):
        alone = randaugment(
            images(12)[i : i + 1], drawn["operations"][i : i + 1], drawn["signs"][i : i + 1], 20
        )
        assert torch.equal(alone[0], together[i])
