"""The chain to the network's grid and back, from any orientation and spacing."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from tiny_scans import write_scan

from medseg.data import read_manifest, read_scans
from medseg.errors import DataError, UsageError
from medseg.geometry import Grid, lpi_grid
from medseg.io.nifti import write_image
from medseg.transforms import (
    BodyCropOrPadd,
    Orientd,
    ScaleByPercentilesd,
    ToSpacingd,
    grid_of,
    moved,
    on_grid,
    preprocessing,
)

SPACING_MM = (1.5, 1.5, 3.0)
ORIENTATIONS = [
    tuple(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for signs in product((0, 1), repeat=3)
]


def test_a_scan_that_has_the_spacing_is_left_alone():
    image = on_grid(torch.rand(1, 8, 8, 2), lpi_grid((8, 8, 2), SPACING_MM))
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


def test_images_are_alike_with_and_without_labels(tmp_path):
    volume, masks = phantom_volume((6, 40, 50))
    scan = write_scan(tmp_path, volume, masks=masks)
    with_labels = preprocessing(organs=("left", "right"), roi_px=(32, 32))
    without = preprocessing(["image"], roi_px=(32, 32))
    a = with_labels({"image": scan, "label": scan})
    b = without({"image": scan})
    assert torch.equal(a["image"].as_tensor(), b["image"].as_tensor())
    assert torch.equal(a["image"].affine, b["image"].affine)
    assert a["label"].shape == (2, *a["image"].shape[1:])
    assert a["native"].shape == b["native"].shape == (50, 40, 6)


def test_prepared_masks_go_back_voxel_for_voxel(tmp_path):
    volume, masks = phantom_volume((6, 40, 50))
    scan = write_scan(tmp_path, volume, masks=masks)
    item = preprocessing(organs=("left", "right"), roi_px=(32, 36))({"image": scan, "label": scan})
    assert item["image"].shape == (1, 36, 32, 6)
    back = moved(item["label"], item["native"], mode="nearest")
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
    back = moved(item["image"], item["native"], mode="linear")
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
    back = moved(item["image"], grid, mode="linear")
    assert back.shape == (3, *grid.shape)
    for channel, landmark in enumerate(landmarks):
        found = torch.nonzero(back[channel].as_tensor() > 0.5).double().mean(0).numpy()
        error_mm = np.abs(grid.to_ras_mm(found) - grid.to_ras_mm(landmark))
        assert (error_mm <= np.array(grid.spacing_mm) / 2).all()


def test_a_coarser_scan_is_prepared_at_the_spacing_wanted(tmp_path):
    volume, masks = phantom_volume()
    scan = write_scan(tmp_path, volume, masks=masks, spacing_mm=(1.63, 1.63, 3.0))
    item = preprocessing(organs=("left", "right"), roi_px=(32, 32))({"image": scan, "label": scan})
    assert item["image"].shape == (1, 32, 32, 6)
    assert grid_of(item["image"]).spacing_mm == pytest.approx(SPACING_MM)
    assert item["native"].spacing_mm == (1.63, 1.63, 3.0)
    # 1.63 / 1.5 voxels for each voxel, along both axes.
    grown = item["label"].sum().item() / sum(int(mask.sum()) for mask in masks.values())
    assert grown == pytest.approx((1.63 / 1.5) ** 2, rel=0.05)


@pytest.mark.parametrize("count", [pytest.param(1, id="one slice"), pytest.param(2, id="two")])
def test_short_scans_are_prepared(tmp_path, count):
    volume, masks = phantom_volume((count, 20, 24))
    scan = write_scan(tmp_path, volume, masks=masks)
    item = preprocessing(organs=("left", "right"), roi_px=(32, 32))({"image": scan, "label": scan})
    assert item["image"].shape == (1, 32, 32, count)


def test_faults_reach_the_caller_as_they_were_raised(tmp_path):
    scan = write_scan(tmp_path, phantom_volume()[0])
    scan.slice_files[2].write_bytes(b"")
    with pytest.raises(DataError, match=r"E-EMPTY.*slice_0003"):
        preprocessing(["image"])({"image": scan})


def test_other_errors_are_not_swallowed():
    with pytest.raises(RuntimeError, match="applying transform"):
        preprocessing(["image"])({"image": 5})


def test_pictures_without_a_scale_are_resized_and_come_back(tmp_path):
    masks = {"a": np.zeros((1, 40, 24), bool)}
    masks["a"][0, 10:30, 6:18] = True
    scan = write_scan(tmp_path, 900 * masks["a"], masks=masks, spacing_mm=(1.0, 1.0, 1.0))
    chain = preprocessing(organs=["a"], spacing_mm=None, roi_px=(20, 16), intensity="maximum")
    item = chain({"scan_id": scan.scan_id, "image": scan, "label": scan})
    assert item["image"].shape == item["label"].shape == (1, 16, 20, 1)
    assert grid_of(item["image"]).spacing_mm == pytest.approx((1.5, 2.0, 1.0))
    # Rows 10 to 30 of 40 become 5 to 15 of 20, columns 6 to 18 of 24 become 4 to 12 of 16.
    assert item["label"][0, 4:12, 5:15].all()
    assert item["label"].sum() == 80
    assert float(item["image"].max()) == 1
    back = moved(item["label"], item["native"], mode="nearest")
    np.testing.assert_array_equal(back[0, :, :, 0].numpy().T, masks["a"][0])


def test_an_unknown_scaling_is_refused():
    with pytest.raises(UsageError, match=r"intensity is 'max'.*one of percentiles, maximum"):
        preprocessing(organs=["a"], intensity="max")


def test_labels_without_organs_are_refused():
    with pytest.raises(UsageError, match="labels, but no organs"):
        preprocessing()


def test_a_real_scan_is_prepared_whole_and_goes_back(shared_data):
    scans = read_scans(shared_data / "uwmgi_scan", read_manifest("uwmgi"))
    scan = next(scan for scan in scans if scan.case_id == "case16")
    item = preprocessing(organs=("large_bowel", "small_bowel", "stomach"))(
        {"image": scan, "label": scan}
    )
    assert item["native"].shape == (360, 310, 144)
    assert item["native"].axis_codes == ("L", "P", "I")
    assert item["image"].shape == (1, 288, 288, 144)
    # The lengths of all runs are the number of pixels: nothing was cut.
    pixels = [sum(sum(map(int, row.split()[1::2])) for row in rows) for rows in scan.rle.values()]
    back = moved(item["label"], item["native"], mode="nearest")
    assert sorted(back.flatten(1).sum(1).tolist()) == sorted(pixels)
