"""Headers of what is written, what SimpleITK writes, and faults: of voxels, grids and disks."""

import errno
import gzip
import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from landmark_grids import BEYOND_QFORM, GRID, GRIDS, LABELS, SHAPE, SPACING_MM, landmarks

from medseg.errors import DataError, GeometryError, ResourceError
from medseg.geometry import Grid, corner_shift_mm, lpi_grid
from medseg.io import nifti
from medseg.io.nifti import (
    Frame,
    read_image,
    read_label_map,
    read_volume,
    write_image,
    write_label_map,
    write_mask,
    write_probs,
)
from medseg.labels import LabelSet, Organ


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_what_simpleitk_writes_is_read_at_the_same_millimetre(tmp_path, grid, name):
    image = SimpleITK.GetImageFromArray(landmarks(grid.shape).transpose(2, 1, 0))
    to_lps = np.diag([-1, -1, 1]) @ grid.affine_ras_mm[:3]
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(to_lps[:, 3].tolist())
    image.SetDirection((to_lps[:, :3] / grid.spacing_mm).ravel().tolist())
    SimpleITK.WriteImage(image, str(tmp_path / name))
    label_map, found = read_label_map(tmp_path / name)
    assert np.array_equal(label_map, landmarks(grid.shape))
    for ijk in np.argwhere(label_map):
        assert np.abs(found.to_ras_mm(ijk) - grid.to_ras_mm(ijk)).max() < 1e-3


@pytest.mark.parametrize("grid", GRIDS)
def test_the_header_of_a_label_map_holds_the_invariants(tmp_path, grid):
    write_label_map(tmp_path / "a.nii.gz", landmarks(grid.shape), grid, LABELS)
    header = nib.load(tmp_path / "a.nii.gz").header
    assert np.array_equal(header.get_sform(), grid.affine_ras_mm.astype(np.float32))
    assert np.abs(header.get_qform() - header.get_sform()).max() < 1e-3
    assert int(header["sform_code"]) == int(header["qform_code"]) == 2
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_data_dtype() == np.uint8
    assert header.get_slope_inter() in ((None, None), (1.0, 0.0))
    assert header.get_intent() == ("label", (), "label map")
    assert header["descrip"].item() == b"medseg: orientation assumed, not scanner"
    assert header.get_zooms() == pytest.approx(grid.spacing_mm, abs=1e-6)
    assert [each.get_code() for each in header.extensions] == [30]


@pytest.mark.parametrize("code", [1, 2])
def test_a_qform_that_cannot_hold_the_affine_is_left_uncoded(tmp_path, code):
    (grid,) = BEYOND_QFORM.values
    write_mask(tmp_path / "a.nii.gz", landmarks(SHAPE) > 0, grid, frame=Frame(code, "medseg"))
    header = nib.load(tmp_path / "a.nii.gz").header
    assert corner_shift_mm(grid, Grid(SHAPE, header.get_qform())) > 1e-3
    assert (int(header["sform_code"]), int(header["qform_code"])) == (code, 0)
    assert np.array_equal(header.get_sform(), grid.affine_ras_mm.astype(np.float32))
    assert read_image(tmp_path / "a.nii.gz").frame.form_code == code


def test_the_axis_codes_of_stacked_slices_are_left_back_and_feet(tmp_path):
    grid = lpi_grid((36, 31, 14), (1.5, 1.5, 3.0))
    write_label_map(tmp_path / "a.nii.gz", np.zeros(grid.shape, np.uint8), grid, LABELS)
    image = nib.load(tmp_path / "a.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("L", "P", "I")
    assert image.header.get_zooms() == (1.5, 1.5, 3.0)
    assert image.shape == (36, 31, 14)


def test_a_volume_in_the_scanners_frame_keeps_its_code_and_none_of_its_text(tmp_path):
    made = nib.Nifti1Image(landmarks(SHAPE), GRID.affine_ras_mm)
    made.header.set_sform(GRID.affine_ras_mm, 1)
    made.header.set_qform(GRID.affine_ras_mm, 1)
    made.header["descrip"] = b"ZZPHI^CANARY"
    made.header.set_xyzt_units("mm")
    nib.save(made, tmp_path / "in.nii.gz")
    image = read_image(tmp_path / "in.nii.gz")
    write_image(tmp_path / "out.nii.gz", image.voxels, image.grid, frame=image.frame)
    content = gzip.decompress((tmp_path / "out.nii.gz").read_bytes())
    assert b"CANARY" not in content
    assert int(nib.load(tmp_path / "out.nii.gz").header["sform_code"]) == 1
    assert read_image(tmp_path / "out.nii.gz").frame == Frame(1, "medseg")


def test_masks_and_probabilities_come_back_as_they_were(tmp_path):
    mask = landmarks(SHAPE) > 0
    probs = np.linspace(0, 1, mask.size, dtype=np.float32).reshape(SHAPE)
    write_mask(tmp_path / "mask.nii.gz", mask, GRID, organ="a_very_long_organ_name")
    write_probs(tmp_path / "probs.nii.gz", probs, GRID)
    assert np.array_equal(read_label_map(tmp_path / "mask.nii.gz")[0], mask)
    assert np.array_equal(read_volume(tmp_path / "probs.nii.gz")[0], probs)
    header = nib.load(tmp_path / "mask.nii.gz").header
    assert header.get_intent() == ("label", (), "a_very_long_org")
    assert nib.load(tmp_path / "probs.nii.gz").header.get_intent()[0] == "none"


def test_an_empty_prediction_is_a_valid_file_of_zeros(tmp_path):
    write_label_map(tmp_path / "a.nii.gz", np.zeros(SHAPE, np.uint8), GRID, LABELS)
    assert not read_label_map(tmp_path / "a.nii.gz")[0].any()


def test_a_file_of_one_input_is_the_same_to_the_byte(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_map(tmp_path / name, landmarks(SHAPE), GRID, LABELS)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "u2", ">i2", "f4"])
def test_an_image_of_several_mebibytes_comes_back_in_every_type(tmp_path, dtype, order, name):
    shape = (130, 120, 110)  # 1.6 to 6.5 MiB
    numbers = np.random.default_rng(0).integers(0, 250, shape)
    write_image(tmp_path / name, numbers.astype(dtype, order=order), lpi_grid(shape, SPACING_MM))
    assert np.array_equal(nib.load(tmp_path / name).get_fdata(), numbers)
    assert np.array_equal(read_volume(tmp_path / name)[0], numbers)


# --- Refusals ---------------------------------------------------------------------------------


def test_a_sheared_grid_is_refused(tmp_path):
    affine = GRID.affine_ras_mm.copy()
    affine[0, 1] = 1e-3  # 24 rows along: 0.012 mm at the corner, half of it in each axis
    with pytest.raises(GeometryError, match=r"E-NII-AFFINE.*sheared"):
        write_image(tmp_path / "a.nii.gz", landmarks(SHAPE), Grid(SHAPE, affine))
    assert list(tmp_path.iterdir()) == []


def test_a_position_that_float32_cannot_hold_is_refused(tmp_path):
    affine = GRID.affine_ras_mm.copy()
    affine[0, 3] = 123456.785
    with pytest.raises(GeometryError, match="E-NII-AFFINE"):
        write_image(tmp_path / "a.nii.gz", landmarks(SHAPE), Grid(SHAPE, affine))


def test_voxels_of_another_shape_than_their_grid_are_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"E-GRID.*\(24, 20, 12\).*\(20, 24, 12\)"):
        write_mask(tmp_path / "a.nii.gz", np.zeros((24, 20, 12), bool), GRID)


def test_a_side_beyond_the_limit_is_refused(tmp_path):
    grid = lpi_grid((9000, 1, 1), (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="E-NII-SIZE"):
        write_mask(tmp_path / "a.nii.gz", np.zeros(grid.shape, bool), grid)


def test_a_code_that_no_organ_has_is_refused(tmp_path):
    voxels = landmarks(SHAPE)
    voxels[2, 2, 2] = 9
    with pytest.raises(DataError, match=r"E-LABEL.*codes \[9\]"):
        write_label_map(tmp_path / "a.nii.gz", voxels, GRID, LABELS)


def test_codes_with_gaps_between_them_are_told_apart(tmp_path):
    gaps = LabelSet((*LABELS.organs, Organ("organ7", 7, (7, 7, 7), "0", "An organ")), ("organ7",))
    voxels = landmarks(SHAPE)
    voxels[2, 2, 2] = 7
    write_label_map(tmp_path / "a.nii.gz", voxels, GRID, gaps)
    assert read_label_map(tmp_path / "a.nii.gz")[0][2, 2, 2] == 7
    voxels[3, 3, 3], voxels[4, 4, 4] = 6, 5
    with pytest.raises(DataError, match=r"E-LABEL.*codes \[5, 6\]"):
        write_label_map(tmp_path / "a.nii.gz", voxels, GRID, gaps)


@pytest.mark.parametrize("value", [pytest.param(-1, id="negative"), pytest.param(2.5, id="half")])
def test_a_label_map_of_another_type_is_never_rounded(tmp_path, value):
    with pytest.raises(DataError, match=rf"E-LABEL.*codes \[{value}\]"):
        write_label_map(tmp_path / "a.nii.gz", np.full(SHAPE, value), GRID, LABELS)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_an_image_that_could_not_be_read_is_not_written(tmp_path, value):
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1, 2, 3] = value
    with pytest.raises(DataError, match=r"E-NII-NAN.*1 voxels .*first is \(1, 2, 3\)"):
        write_image(tmp_path / "a.nii.gz", voxels, GRID)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_probabilities_lie_between_0_and_1(tmp_path, value):
    probs = np.zeros(SHAPE, np.float32)
    probs[1, 1, 1] = value
    with pytest.raises(DataError, match="E-PROBS"):
        write_probs(tmp_path / "a.nii.gz", probs, GRID)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(DataError, match="E-NII-FORMAT"):
        write_image(tmp_path / "a.nrrd", landmarks(SHAPE), GRID)


# --- Atomic -----------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path):
    """A file that must survive a failed write."""
    path = tmp_path / "a.nii.gz"
    write_image(path, np.full(SHAPE, 7, np.uint8), GRID)
    return path


def unharmed(path):
    return list(path.parent.iterdir()) == [path] and (read_volume(path)[0] == 7).all()


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(old, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"E-DISK.*No space left") as caught:
        write_image(old, landmarks(SHAPE), GRID)
    assert caught.value.exit_code == 4
    assert unharmed(old)


def test_a_file_size_limit_of_the_system_counts_as_a_full_disk(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 64), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(ResourceError, match="E-DISK"):
            write_image(tmp_path / "a.nii.gz", noise, lpi_grid(noise.shape, (1.0, 1.0, 1.0)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match=r"E-IO.*a\.nii\.gz"):
        write_image(tmp_path / "file" / "a.nii.gz", landmarks(SHAPE), GRID)


def test_what_does_not_read_back_never_takes_the_name(old, monkeypatch):
    def forgetful(voxels, grid, frame, label):
        header = new_header(voxels, grid, frame, label)
        header["srow_x"][3] += 1
        return header

    new_header = nifti._new_header
    monkeypatch.setattr(nifti, "_new_header", forgetful)
    with pytest.raises(DataError, match="E-NII-FORMS"):
        write_image(old, landmarks(SHAPE), GRID)
    assert unharmed(old)


def test_bytes_that_the_disk_changed_are_noticed(old, monkeypatch):
    sync = os.fsync

    def corrupt(descriptor):
        sync(descriptor)
        for temporary in old.parent.glob(".tmp-*"):
            other = np.full(SHAPE, 9, np.uint8)
            content = gzip.decompress(temporary.read_bytes())[:352] + other.tobytes()
            temporary.write_bytes(gzip.compress(content))

    monkeypatch.setattr(os, "fsync", corrupt)
    with pytest.raises(ResourceError, match="what the disk holds is not what was written"):
        write_image(old, landmarks(SHAPE), GRID)
    assert unharmed(old)


def test_an_interrupt_leaves_nothing_behind(old, monkeypatch):
    def interrupted(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        write_image(old, landmarks(SHAPE), GRID)
    assert unharmed(old)
