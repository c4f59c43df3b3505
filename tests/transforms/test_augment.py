"""Drawing stays within its limits, and applying does what the numbers say."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from medseg.transforms import BatchAugment, Draw
from medseg.transforms.augment import apply, draw

GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.rand(3, 2, 8, 8, generator=GENERATOR)
MASKS = (torch.rand(3, 4, 8, 8, generator=GENERATOR) > 0.6).byte()
STILL = Draw()


def test_nothing_drawn_changes_nothing():
    image, masks = apply(IMAGE, MASKS, [STILL] * 3)
    assert torch.equal(image, IMAGE)
    assert torch.equal(masks, MASKS)


def test_the_batch_given_is_left_as_it_was():
    before = IMAGE.clone(), MASKS.clone()
    apply(IMAGE, MASKS, [Draw(rotation_deg=20, contrast=2, flip_x=True)] * 3)
    assert torch.equal(IMAGE, before[0])
    assert torch.equal(MASKS, before[1])


@pytest.mark.parametrize(
    ("drawn", "dims"),
    [
        pytest.param(Draw(flip_x=True), [-1], id="columns"),
        pytest.param(Draw(flip_y=True), [-2], id="rows"),
        pytest.param(Draw(flip_x=True, flip_y=True), [-1, -2], id="both"),
    ],
)
def test_flips_are_exact(drawn, dims):
    image, masks = apply(IMAGE, MASKS, [drawn] * 3)
    assert torch.equal(image, IMAGE.flip(dims))
    assert torch.equal(masks, MASKS.flip(dims))


@pytest.mark.parametrize(
    ("degrees", "turns"),
    [
        pytest.param(90, 1, id="a quarter, counter-clockwise"),
        pytest.param(180, 2, id="half a turn"),
        pytest.param(-90, 3, id="a quarter, clockwise"),
    ],
)
def test_right_angles_equal_rot90(degrees, turns):
    image, masks = apply(IMAGE, MASKS, [Draw(rotation_deg=degrees)] * 3)
    torch.testing.assert_close(image, torch.rot90(IMAGE, turns, (-2, -1)), atol=1e-5, rtol=0)
    assert torch.equal(masks, torch.rot90(MASKS, turns, (-2, -1)))


def test_the_flip_comes_before_the_rotation():
    _, masks = apply(IMAGE, MASKS, [Draw(rotation_deg=90, flip_x=True)] * 3)
    assert torch.equal(masks, torch.rot90(MASKS.flip(-1), 1, (-2, -1)))


def test_a_shift_goes_right_and_down_and_leaves_zeros():
    # A quarter of 8 columns and an eighth of 8 rows.
    image, masks = apply(IMAGE, MASKS, [Draw(translation=(0.25, 0.125))] * 3)
    torch.testing.assert_close(image[..., 1:, 2:], IMAGE[..., :-1, :-2], atol=1e-5, rtol=0)
    assert torch.equal(masks[..., 1:, 2:], MASKS[..., :-1, :-2])
    assert not masks[..., :2].any()
    assert not masks[..., 0, :].any()


def test_magnifying_twice_doubles_the_middle():
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    masks[..., 3:5, 3:5] = 1
    _, grown = apply(torch.zeros(1, 1, 8, 8), masks, [Draw(scale=2.0)])
    expected = torch.zeros_like(masks)
    expected[..., 2:6, 2:6] = 1
    assert torch.equal(grown, expected)


def test_a_rotation_keeps_circles_round_in_slices_that_are_not_square():
    j, i = np.mgrid[:40, :90]
    disc = torch.from_numpy((i - 44.5) ** 2 + (j - 19.5) ** 2 < 225).byte()[None, None]
    _, turned = apply(disc.float(), disc, [Draw(rotation_deg=37)])
    assert (turned != disc).float().sum() / disc.sum() < 0.02


def test_apply_equals_scipy():
    drawn = Draw(rotation_deg=23, translation=(0.1, -0.05), scale=1.2, flip_y=True)
    image = torch.rand(1, 1, 30, 42, generator=GENERATOR)
    found, _ = apply(image, torch.zeros(1, 1, 30, 42, dtype=torch.uint8), [drawn])
    # Forward, in (row, column): flip rows, turn counter-clockwise, magnify, shift.
    a = np.deg2rad(23)
    forward = 1.2 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([-1, 1])
    centre = np.array([14.5, 20.5])
    inverse = np.linalg.inv(forward)
    offset = centre - inverse @ (centre + np.array([-0.05 * 30, 0.1 * 42]))
    expected = affine_transform(image[0, 0].numpy(), inverse, offset, order=1)
    np.testing.assert_allclose(found[0, 0, 6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-4)


def test_image_and_masks_move_together():
    blob = torch.zeros(4, 1, 32, 32)
    blob[..., 10:20, 12:24] = 1
    augment = BatchAugment(brightness=0, contrast=0)
    image, masks = augment(blob, blob.byte(), torch.arange(4))
    assert masks.sum() > 0
    agree = ((image > 0.5) == masks.bool()).float().mean()
    assert agree > 0.98


def test_all_mask_channels_survive_together():
    masks = torch.ones(1, 8, 16, 16, dtype=torch.uint8)
    masks[:, ::2] = 0
    _, turned = apply(torch.zeros(1, 1, 16, 16), masks, [Draw(rotation_deg=10)])
    assert turned[0, :, 8, 8].tolist() == [0, 1] * 4
    assert set(turned.unique().tolist()) == {0, 1}


def test_brightness_and_contrast_change_the_image_alone():
    image, masks = apply(IMAGE, MASKS, [Draw(brightness=0.1, contrast=1.5)] * 3)
    torch.testing.assert_close(image, IMAGE * 1.5 + 0.1)
    assert torch.equal(masks, MASKS)


def test_a_sample_depends_on_its_own_seed_alone():
    augment = BatchAugment()
    seeds = torch.tensor([7, 2**62, 11])
    image, masks = augment(IMAGE, MASKS, seeds)
    again, _ = augment(IMAGE, MASKS, seeds)
    assert torch.equal(image, again)
    order = [2, 0, 1]
    shuffled, shuffled_masks = augment(IMAGE[order], MASKS[order], seeds[order])
    assert torch.equal(shuffled, image[order])
    assert torch.equal(shuffled_masks, masks[order])
    alone, _ = augment(IMAGE[1:2], MASKS[1:2], seeds[1:2])
    assert torch.equal(alone, image[1:2])


def test_other_seeds_give_other_samples():
    augment = BatchAugment()
    a, _ = augment(IMAGE[:1], MASKS[:1], torch.tensor([1]))
    b, _ = augment(IMAGE[:1], MASKS[:1], torch.tensor([2]))
    assert not torch.equal(a, b)


def test_draws_fill_their_limits_and_do_not_leave_them():
    limits = BatchAugment(15, 0.06, 0.15, brightness=0.1, contrast=0.2)
    draws = [draw(np.random.default_rng(seed), limits) for seed in range(2000)]
    ranges = {
        "rotation_deg": (-15, 15),
        "scale": (0.85, 1.15),
        "brightness": (-0.1, 0.1),
        "contrast": (0.8, 1.2),
    }
    for name, (low, high) in ranges.items():
        values = np.array([getattr(drawn, name) for drawn in draws])
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    shifts = np.array([drawn.translation for drawn in draws])
    assert np.abs(shifts).max() <= 0.06
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.1
    assert 0.45 < np.mean([drawn.flip_x for drawn in draws]) < 0.55
    assert 0.45 < np.mean([drawn.flip_y for drawn in draws]) < 0.55


def test_no_limits_change_nothing():
    still = BatchAugment(0, 0, 0, flip=False, brightness=0, contrast=0)
    image, masks = still(IMAGE, MASKS, torch.arange(3))
    assert torch.equal(image, IMAGE)
    assert torch.equal(masks, MASKS)


def test_an_empty_batch_stays_empty():
    image, masks = BatchAugment()(IMAGE[:0], MASKS[:0], torch.arange(0))
    assert image.shape == (0, 2, 8, 8)
    assert masks.shape == (0, 4, 8, 8)
