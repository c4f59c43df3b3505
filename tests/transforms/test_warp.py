"""Pixels go where the numbers say, on whichever way they are moved."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, map_coordinates

from medseg.transforms.draws import still, uniforms
from medseg.transforms.slicewise import changed_slices
from medseg.transforms.warp import sampling_px, warped

GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.rand(3, 2, 8, 8, generator=GENERATOR)
MASKS = (torch.rand(3, 4, 8, 8, generator=GENERATOR) > 0.6).byte()


def drawn(count=3, **columns):
    return still(count)._replace(**{name: np.full(count, v) for name, v in columns.items()})


WAYS = [pytest.param(changed_slices, id="slice by slice"), pytest.param(warped, id="as a batch")]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_drawn_changes_nothing(way):
    image, masks = way(IMAGE, MASKS, drawn())
    assert torch.equal(image, IMAGE)
    assert torch.equal(masks, MASKS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("flips", "dims"),
    [
        pytest.param({"flip_x": True}, [-1], id="columns"),
        pytest.param({"flip_y": True}, [-2], id="rows"),
        pytest.param({"flip_x": True, "flip_y": True}, [-1, -2], id="both"),
    ],
)
def test_flips_are_exact(way, flips, dims):
    image, masks = way(IMAGE, MASKS, drawn(**flips))
    assert torch.equal(image, IMAGE.flip(dims))
    assert torch.equal(masks, MASKS.flip(dims))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("degrees", "turns"),
    [
        pytest.param(90, 1, id="a quarter, counter-clockwise"),
        pytest.param(180, 2, id="half a turn"),
        pytest.param(-90, 3, id="a quarter, clockwise"),
    ],
)
def test_right_angles_equal_rot90(way, degrees, turns):
    image, masks = way(IMAGE, MASKS, drawn(rotation_deg=degrees))
    torch.testing.assert_close(image, torch.rot90(IMAGE, turns, (-2, -1)), atol=1e-5, rtol=0)
    assert torch.equal(masks, torch.rot90(MASKS, turns, (-2, -1)))


@pytest.mark.parametrize("way", WAYS)
def test_the_flip_comes_before_the_rotation(way):
    _, masks = way(IMAGE, MASKS, drawn(rotation_deg=90, flip_x=True))
    assert torch.equal(masks, torch.rot90(MASKS.flip(-1), 1, (-2, -1)))


@pytest.mark.parametrize("way", WAYS)
def test_a_shift_goes_right_and_down_and_leaves_zeros(way):
    # A quarter of 8 columns and an eighth of 8 rows.
    image, masks = way(IMAGE, MASKS, drawn(shift_x=0.25, shift_y=0.125))
    torch.testing.assert_close(image[..., 1:, 2:], IMAGE[..., :-1, :-2], atol=1e-5, rtol=0)
    assert torch.equal(masks[..., 1:, 2:], MASKS[..., :-1, :-2])
    for moved in (image, masks):
        assert not moved[..., :2].any()
        assert not moved[..., 0, :].any()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shift", [3.0, -3.0])
def test_what_lies_far_outside_is_zero(way, shift):
    image, masks = way(IMAGE + 1, MASKS + 1, drawn(shift_x=shift, shift_y=-shift))
    assert not image.any()
    assert not masks.any()


@pytest.mark.parametrize("way", WAYS)
def test_magnifying_twice_doubles_the_middle(way):
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    masks[..., 3:5, 3:5] = 1
    _, grown = way(torch.zeros(1, 1, 8, 8), masks, drawn(1, scale=2.0))
    expected = torch.zeros_like(masks)
    expected[..., 2:6, 2:6] = 1
    assert torch.equal(grown, expected)


@pytest.mark.parametrize("way", WAYS)
def test_a_rotation_keeps_circles_round_in_slices_that_are_not_square(way):
    j, i = np.mgrid[:40, :90]
    disc = torch.from_numpy((i - 44.5) ** 2 + (j - 19.5) ** 2 < 225).byte()[None, None]
    _, turned = way(disc.float(), disc, drawn(1, rotation_deg=37))
    assert (turned != disc).float().sum() / disc.sum() < 0.02


@pytest.mark.parametrize("way", WAYS)
def test_an_affine_map_equals_scipy(way):
    image = torch.rand(1, 1, 30, 42, generator=GENERATOR)
    columns = {"rotation_deg": 23, "shift_x": 0.1, "shift_y": -0.05, "scale": 1.2, "flip_y": True}
    found, _ = way(image, torch.zeros(1, 1, 30, 42, dtype=torch.uint8), drawn(1, **columns))
    # Forward, in (row, column): flip rows, turn counter-clockwise, magnify, shift.
    a = np.deg2rad(23)
    forward = 1.2 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([-1, 1])
    centre = np.array([14.5, 20.5])
    inverse = np.linalg.inv(forward)
    offset = centre - inverse @ (centre + np.array([-0.05 * 30, 0.1 * 42]))
    expected = affine_transform(image[0, 0].numpy(), inverse, offset, order=1)
    np.testing.assert_allclose(found[0, 0, 6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_a_bend_equals_scipy(way):
    image = torch.rand(1, 1, 50, 70, generator=GENERATOR)
    key = np.array([99], np.uint64)
    draws = drawn(1, elastic_px=6.0, rotation_deg=10)._replace(elastic_key=key)
    found, _ = way(image, torch.zeros(1, 1, 50, 70, dtype=torch.uint8), draws)
    # 50 rows and 70 columns in steps of 32: two and three pieces, and three points more.
    points = (2 * uniforms(key, 2 * 5 * 6).reshape(2, 5, 6) - 1) * 6.0
    j, i = np.mgrid[:50, :70]
    at = [(j + 0.5) / 32 + 1, (i + 0.5) / 32 + 1]
    bend_x, bend_y = (map_coordinates(p, at, order=3, prefilter=False) for p in points)
    (xx, xy, _), (yx, yy, _) = sampling_px(draws, 70, 50)[0]
    right, down = i - 34.5 + bend_x, j - 24.5 + bend_y
    places = [yx * right + yy * down + 24.5, xx * right + xy * down + 34.5]
    expected = map_coordinates(image[0, 0].numpy(), places, order=1, mode="grid-constant")
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-4)
    assert np.abs(bend_x).max() > 1


def test_both_ways_agree():
    j, i = np.mgrid[:61, :83]
    waves = [np.sin(i / a) * np.cos(j / b) for a, b in ((9, 13), (17, 8), (21, 30))]
    image = torch.from_numpy(np.stack(waves).astype(np.float32)).expand(8, 3, 61, 83)
    masks = (torch.rand(8, 11, 61, 83, generator=GENERATOR) > 0.5).byte()
    u = uniforms(np.arange(8, dtype=np.uint64), 5)
    draws = still(8)._replace(
        rotation_deg=180 * u[:, 0],
        scale=0.7 + 0.6 * u[:, 1],
        shift_x=u[:, 2] - 0.5,
        elastic_px=np.where(u[:, 3] < 0.5, 12.0, 0.0),
        elastic_key=np.arange(8, dtype=np.uint64),
        flip_y=u[:, 4] < 0.5,
    )
    one, other = changed_slices(image, masks, draws), warped(image, masks, draws)
    torch.testing.assert_close(one[0], other[0], atol=1e-5, rtol=0)
    # A pixel halfway between two may fall to either: at most where it lies within 1e-4 of that.
    differ = (one[1] != other[1]).any(1)
    exact = warped(image.double(), masks, draws)[1]
    wrong = (exact != one[1]).any(1) | (exact != other[1]).any(1)
    assert differ.float().mean() < 1e-3
    assert wrong.float().mean() < 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_all_mask_channels_survive_together(way):
    masks = torch.ones(1, 24, 16, 16, dtype=torch.uint8)
    masks[:, ::2] = 0
    _, turned = way(torch.zeros(1, 1, 16, 16), masks, drawn(1, rotation_deg=10))
    assert turned[0, :, 8, 8].tolist() == [0, 1] * 12
    assert set(turned.unique().tolist()) == {0, 1}


def test_an_elastic_bend_never_folds_the_slice():
    draws = still(64)._replace(elastic_px=np.full(64, 15.0), elastic_key=np.arange(64).astype("u8"))
    i = torch.arange(96.0).expand(64, 1, 96, 96)
    ramps = torch.cat([i, i.transpose(2, 3)], 1).double()
    places, _ = warped(ramps, torch.zeros(64, 0, 96, 96, dtype=torch.uint8), draws)
    (xx, xy), (yx, yy) = (
        (np.diff(plane, axis=2)[:, :-1], np.diff(plane, axis=1)[..., :-1])
        for plane in places.unbind(1)
    )
    inside = (slice(None), slice(16, -16), slice(16, -16))  # no zeros from outside
    assert (xx * yy - xy * yx)[inside].min() > 0
