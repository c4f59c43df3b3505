"""The chain to the network's grid: scaling, spacing, the body's box, and any orientation."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from medseg.errors import DataError, UsageError
from medseg.geometry import Grid, lpi_grid
from medseg.io.nifti import write_image
from medseg.transforms import (
    BackToGridd,
    BodyCropOrPadd,
    Orientd,
    ScaleByPercentilesd,
    ToSpacingd,
    grid_of,
    on_grid,
    preprocessing,
)
from medseg.transforms.preprocess import percentiles_above_minimum

SPACING_MM = (1.5, 1.5, 3.0)
ORIENTATIONS = [
    tuple(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for signs in product((0, 1), repeat=3)
]


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


def whole(values):
    """Return an image ``(1, n, 1, 1)`` of the values."""
    tensor = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
    return on_grid(tensor, lpi_grid((len(values), 1, 1), (1.0, 1.0, 1.0)))


# Scaling


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.random.default_rng(0).integers(0, 900, (1, 9, 8, 7)), id="whole numbers"),
        pytest.param(np.random.default_rng(1).integers(60000, 65536, (1, 9, 8, 7)), id="large"),
        pytest.param(np.random.default_rng(2).normal(size=(1, 9, 8, 7)), id="fractions"),
        pytest.param(np.random.default_rng(3).integers(-90, 90, (1, 9, 8, 7)), id="negative"),
        pytest.param(np.random.default_rng(4).integers(0, 90000, (1, 9, 8, 7)), id="over 16 bits"),
    ],
)
def test_percentiles_equal_numpys_above_the_minimum(values):
    image = torch.from_numpy(values.astype(np.float32))
    above = values.astype(np.float32)
    expected = np.percentile(above[above > above.min()].astype(np.float64), (3.3, 98.1))
    assert percentiles_above_minimum(image, (3.3, 98.1)) == pytest.approx(tuple(expected), rel=1e-6)


def test_scaling_worked_by_hand():
    # Above the minimum lie 1 … 101; their 1st and 99th percentiles are 2 and 100.
    scaled = ScaleByPercentilesd("image")({"image": whole(range(102))})["image"].flatten()
    assert scaled[:3].tolist() == [0, 0, 0]
    assert scaled[51].item() == pytest.approx(0.5)
    assert scaled[100:].tolist() == [1, 1]


def test_an_empty_frame_changes_no_grey_value():
    values = [*range(1, 200)]
    narrow = ScaleByPercentilesd("image")({"image": whole([0, *values])})["image"].flatten()
    wide = ScaleByPercentilesd("image")({"image": whole([0] * 5000 + values)})["image"].flatten()
    assert torch.equal(narrow[1:].as_tensor(), wide[5000:].as_tensor())


def test_scale_and_offset_of_the_scanner_change_nothing():
    values = np.random.default_rng(0).integers(0, 500, 300)
    a = ScaleByPercentilesd("image")({"image": whole(values)})["image"]
    b = ScaleByPercentilesd("image")({"image": whole(values * 7 + 40)})["image"]
    torch.testing.assert_close(a.as_tensor(), b.as_tensor())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([7, 7, 7], [0, 0, 0], id="constant"),
        pytest.param([0, 0, 0], [0, 0, 0], id="zero"),
        pytest.param([2, 9, 2], [0, 1, 0], id="two values"),
        pytest.param([0.5], [0], id="one voxel"),
    ],
)
def test_images_without_a_range_give_no_nan(values, expected):
    assert (
        ScaleByPercentilesd("image")({"image": whole(values)})["image"].flatten().tolist()
        == expected
    )


def test_the_image_that_is_scaled_is_left_as_it_was():
    image = whole(range(50))
    ScaleByPercentilesd("image")({"image": image})
    assert image.flatten().tolist() == list(range(50))


# Spacing


def test_a_scan_that_has_the_spacing_is_left_alone():
    image = body((2, 8, 8), (4, 4), 3)
    assert ToSpacingd("image", spacing_mm=SPACING_MM)({"image": image})["image"] is image


def test_a_ramp_keeps_its_value_at_every_millimetre():
    grid = lpi_grid((20, 20, 2), (1.63, 1.63, 3.0))
    mm = torch.from_numpy(grid.to_ras_mm(np.moveaxis(np.indices(grid.shape), 0, -1))[..., 0])
    item = {"image": on_grid(mm[None].float(), grid)}
    image = ToSpacingd("image", spacing_mm=SPACING_MM)(item)["image"]
    fine = grid_of(image)
    assert fine.spacing_mm == pytest.approx(SPACING_MM)
    assert fine.shape == (22, 22, 2)  # 20 x 1.63 / 1.5 = 21.7
    expected = fine.to_ras_mm(np.moveaxis(np.indices(fine.shape), 0, -1))[..., 0]
    within = slice(1, -1)  # at the rim the ramp goes on and the image does not
    np.testing.assert_allclose(image[0, within].numpy(), expected[within], atol=1e-4)


def test_masks_are_resampled_to_zeros_and_ones():
    grid = lpi_grid((20, 20, 4), (1.63, 1.63, 5.0))
    masks = on_grid((torch.rand(3, 20, 20, 4) > 0.5).byte(), grid)
    item = ToSpacingd(["label"], spacing_mm=SPACING_MM, modes=["nearest"])({"label": masks})
    assert item["label"].dtype == torch.uint8
    assert item["label"].shape == (3, 22, 22, 7)
    assert set(item["label"].unique().tolist()) == {0, 1}


def test_a_key_without_a_mode_is_refused():
    with pytest.raises(UsageError, match=r"1 for 2 keys \(expected one each\)"):
        ToSpacingd(["image", "label"], modes=["linear"])


# The body's box


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


# The chain


def phantom_volume(shape_kji=(6, 20, 24)):
    """Return 16-bit values of a body with two organs, and the organs' masks, ``(K, J, I)``."""
    rng = np.random.default_rng(7)
    _, height, width = shape_kji
    j, i = np.mgrid[:height, :width]
    inside = (j - height / 2) ** 2 + (i - width / 2) ** 2 < 64
    volume = (inside * rng.integers(300, 900, shape_kji) + rng.integers(0, 9, shape_kji)).astype(
        int
    )
    masks = {
        "left": np.broadcast_to(inside & (i > width / 2 + 1), shape_kji),
        "right": np.broadcast_to(inside & (i < width / 2), shape_kji),
    }
    return volume, masks


def test_images_are_alike_with_and_without_labels(scan_of):
    volume, masks = phantom_volume((6, 40, 50))
    scan = scan_of(volume, masks=masks)
    with_labels = preprocessing(organs=("left", "right"), roi_px=(32, 32))
    without = preprocessing(["image"], roi_px=(32, 32))
    a = with_labels({"image": scan, "label": scan})
    b = without({"image": scan})
    assert torch.equal(a["image"].as_tensor(), b["image"].as_tensor())
    assert torch.equal(a["image"].affine, b["image"].affine)
    assert a["label"].shape == (2, *a["image"].shape[1:])
    assert a["native"].shape == b["native"].shape == (50, 40, 6)


def test_prepared_masks_go_back_voxel_for_voxel(scan_of):
    volume, masks = phantom_volume((6, 40, 50))
    scan = scan_of(volume, masks=masks)
    item = preprocessing(organs=("left", "right"), roi_px=(32, 36))({"image": scan, "label": scan})
    assert item["image"].shape == (1, 36, 32, 6)
    back = BackToGridd("label", fill=0, mode="nearest")(item)["label"]
    expected = np.stack([masks["left"], masks["right"]]).transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(back.numpy(), expected)
    np.testing.assert_allclose(back.affine.numpy(), scan.grid.affine_ras_mm)


@pytest.mark.parametrize("codes", [pytest.param(c, id="".join(c)) for c in ORIENTATIONS])
def test_every_orientation_of_a_nifti_is_prepared_alike_and_goes_back(codes, tmp_path):
    volume, _ = phantom_volume()
    values = volume.transpose(2, 1, 0).astype(np.float32)
    shift = np.eye(4)
    shift[:3, 3] = 10.5, -20.25, 30
    lpi = Grid(values.shape, shift @ lpi_grid(values.shape, SPACING_MM).affine_ras_mm)
    own = lpi.reoriented(codes)
    turned = Orientd("image", codes=codes)({"image": on_grid(torch.from_numpy(values)[None], lpi)})
    path = tmp_path / "scan.nii"
    write_image(path, turned["image"][0].numpy(), own)
    item = preprocessing(["image"], roi_px=(32, 16))({"image": path})
    write_image(tmp_path / "lpi.nii", values, lpi)
    reference = preprocessing(["image"], roi_px=(32, 16))({"image": tmp_path / "lpi.nii"})
    assert torch.equal(item["image"].as_tensor(), reference["image"].as_tensor())
    torch.testing.assert_close(item["image"].affine, reference["image"].affine)
    # The way back: a landmark lies in the voxel where the file has it.
    assert item["native"].shape == own.shape
    scaled = ScaleByPercentilesd("image")(turned)["image"]
    back = BackToGridd("image", fill=0.0)(item)["image"]
    inside = scaled > 0.5
    assert inside.any()
    assert torch.equal(back[inside].as_tensor(), scaled[inside].as_tensor())


def test_landmarks_of_a_coarser_scan_come_back_within_half_a_voxel():
    grid = lpi_grid((60, 50, 8), (1.63, 1.63, 3.0))
    masks = torch.zeros(3, *grid.shape)
    landmarks = [(10, 12, 2), (40, 33, 5), (30, 8, 6)]
    for channel, (i, j, k) in enumerate(landmarks):
        masks[channel, i - 2 : i + 3, j - 2 : j + 3, k] = 1
    prepared = on_grid(masks, grid)
    item = ToSpacingd("image", spacing_mm=SPACING_MM, modes=["linear"])({"image": prepared})
    item = BodyCropOrPadd("image", roi_px=(64, 64))(item)
    back = BackToGridd("image", fill=0.0)({**item, "native": grid})["image"]
    assert back.shape == (3, *grid.shape)
    for channel, landmark in enumerate(landmarks):
        found = torch.nonzero(back[channel].as_tensor() > 0.5).double().mean(0).numpy()
        error_mm = np.abs(grid.to_ras_mm(found) - grid.to_ras_mm(landmark))
        assert (error_mm <= np.array(grid.spacing_mm) / 2).all()


def test_a_coarser_scan_is_prepared_at_the_spacing_wanted(scan_of):
    volume, masks = phantom_volume()
    scan = scan_of(volume, masks=masks, spacing_mm=(1.63, 1.63, 3.0))
    item = preprocessing(organs=("left", "right"), roi_px=(32, 32))({"image": scan, "label": scan})
    assert item["image"].shape == (1, 32, 32, 6)
    assert grid_of(item["image"]).spacing_mm == pytest.approx(SPACING_MM)
    assert item["native"].spacing_mm == (1.63, 1.63, 3.0)
    # 1.63 / 1.5 voxels for each voxel, along both axes.
    grown = item["label"].sum().item() / sum(int(mask.sum()) for mask in masks.values())
    assert grown == pytest.approx((1.63 / 1.5) ** 2, rel=0.05)


@pytest.mark.parametrize("count", [pytest.param(1, id="one slice"), pytest.param(2, id="two")])
def test_short_scans_are_prepared(scan_of, count):
    volume, masks = phantom_volume((count, 20, 24))
    scan = scan_of(volume, masks=masks)
    item = preprocessing(organs=("left", "right"), roi_px=(32, 32))({"image": scan, "label": scan})
    assert item["image"].shape == (1, 32, 32, count)


def test_faults_reach_the_caller_as_they_were_raised(scan_of):
    scan = scan_of(phantom_volume()[0])
    scan.slice_files[2].write_bytes(b"")
    with pytest.raises(DataError, match=r"E-EMPTY.*slice_0003"):
        preprocessing(["image"])({"image": scan})


def test_other_errors_are_not_swallowed():
    with pytest.raises(RuntimeError, match="applying transform"):
        preprocessing(["image"])({"image": 5})


def test_labels_without_organs_are_refused():
    with pytest.raises(UsageError, match="labels, but no organs"):
        preprocessing()
