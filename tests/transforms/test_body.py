"""The box around the body: padded, cut to size, or as large as the body; never through a mask."""

import numpy as np
import pytest
import torch

from medseg.geometry import lpi_grid
from medseg.transforms import BodyCropOrPadd, grid_of, on_grid

SPACING_MM = (1.5, 1.5, 3.0)


def body(shape_kji, centre_ji, radius_px, *, noise=0.0, seed=0):
    """Return a round body of value 1 in noise, on its grid, ``(1, I, J, K)``."""
    count, height, width = shape_kji
    j, i = np.mgrid[:height, :width]
    disc = (j - centre_ji[0]) ** 2 + (i - centre_ji[1]) ** 2 < radius_px**2
    rng = np.random.default_rng(seed)
    volume = np.abs(disc + rng.normal(0, noise, shape_kji)).astype(np.float32)
    return on_grid(
        torch.from_numpy(volume).permute(2, 1, 0)[None],
        lpi_grid((width, height, count), SPACING_MM),
    )


def box(image, roi_px, **masks):
    """Return the prepared image and its first voxel's index in the image given."""
    item = BodyCropOrPadd(["image", *masks], roi_px=roi_px)({"image": image, **masks})
    start = np.linalg.inv(image.affine.numpy()) @ item["image"].affine.numpy()[:, 3]
    return item, tuple(np.rint(start[:3]).astype(int).tolist())


def test_a_smaller_slice_is_padded_alike_on_both_sides():
    item, start = box(body((2, 10, 12), (5, 6), 4), (16, 20))
    assert item["image"].shape == (1, 20, 16, 2)
    assert start == (-4, -3, 0)
    assert item["image"][0, :4].sum() == 0


def test_an_odd_pixel_of_padding_goes_to_the_near_side():
    item, start = box(body((1, 9, 9), (4, 4), 3), (12, 12))
    assert item["image"].shape == (1, 12, 12, 1)
    assert start == (-2, -2, 0)


def test_a_body_that_fits_gives_exactly_the_roi_around_it():
    item, start = box(body((3, 80, 120), (40, 70), 15), (48, 48))
    assert item["image"].shape == (1, 48, 48, 3)
    assert start == pytest.approx((70 - 24, 40 - 24, 0), abs=2)
    assert item["image"].sum() == body((3, 80, 120), (40, 70), 15).sum()


def test_a_body_at_the_rim_does_not_push_the_box_out_of_the_slice():
    item, start = box(body((3, 100, 100), (85, 14), 14), (40, 40))
    assert item["image"].shape == (1, 40, 40, 3)
    assert start == (0, 60, 0)


def test_a_larger_body_is_kept_whole():
    image = body((3, 120, 120), (60, 60), 40)
    item, _ = box(image, (64, 64))
    assert 80 <= item["image"].shape[1] <= 96
    assert item["image"].sum() == image.sum()


def test_one_long_axis_is_cropped_and_the_short_one_padded():
    item, start = box(body((2, 40, 100), (20, 30), 12), (48, 48))
    assert item["image"].shape == (1, 48, 48, 2)
    assert start[1] == -4
    assert start[0] == pytest.approx(30 - 24, abs=2)


def test_noise_does_not_move_the_box():
    clean, still = (box(body((20, 90, 120), (45, 60), 20, noise=n), (48, 48)) for n in (0, 0.06))
    assert clean[1] == still[1]
    assert clean[0]["image"].shape == still[0]["image"].shape


def test_a_few_bright_pixels_are_no_body():
    image = body((20, 90, 120), (45, 60), 20)
    image[0, 2, 3, :] = 1
    image[0, 110, 80, 4] = 1
    assert box(image, (48, 48))[1] == box(body((20, 90, 120), (45, 60), 20), (48, 48))[1]


def test_a_body_in_a_tenth_of_the_slices_is_seen():
    image = body((20, 90, 120), (45, 30), 12)
    image[..., 2:] = 0
    assert box(image, (48, 48))[1][0] == pytest.approx(30 - 24, abs=2)


def test_an_image_without_a_body_is_kept_whole():
    image = body((2, 90, 120), (45, 60), 0)
    item, start = box(image, (48, 48))
    assert item["image"].shape == (1, 120, 90, 2)
    assert start == (0, 0, 0)


def test_masks_are_never_cut():
    image = body((3, 80, 120), (40, 60), 12)
    masks = on_grid(torch.zeros(2, 120, 80, 3, dtype=torch.uint8), grid_of(image))
    masks[1, 3, 78, 1] = 1
    item, start = box(image, (40, 40), label=masks)
    assert item["label"].sum() == 1
    assert start[0] == 3
    assert item["label"].shape[1:] == item["image"].shape[1:]


def test_empty_masks_do_not_matter():
    image = body((3, 80, 120), (40, 60), 12)
    masks = on_grid(torch.zeros(2, 120, 80, 3, dtype=torch.uint8), grid_of(image))
    assert box(image, (40, 40), label=masks)[1] == box(image, (40, 40))[1]
