"""Faults of NIfTI input, and the variants that must all give the same voxels."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from nifti_files import AFFINE, SHAPE, code_of, harmed, image, ramp, save

from medseg.errors import DataError
from medseg.io.nifti import read_image, read_label_map, read_volume


def test_a_sound_file_gives_its_voxels_and_its_grid(tmp_path):
    voxels, grid = read_volume(save(image(), tmp_path / "a.nii.gz"))
    assert voxels.dtype == np.float32
    assert np.array_equal(voxels, ramp())
    assert grid.shape == SHAPE
    assert np.allclose(grid.affine_ras_mm, AFFINE, atol=1e-6)
    assert grid.axis_codes == ("L", "P", "S")


# --- Row 33: cut short or damaged -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        pytest.param("a.nii", 0, id="nothing is left"),
        pytest.param("a.nii", 200, id="plain, within the header"),
        pytest.param("a.nii", 5001, id="plain, within the voxels"),
        pytest.param("a.nii.gz", 0, id="compressed, nothing is left"),
        pytest.param("a.nii.gz", 60, id="compressed, within the header"),
        pytest.param("a.nii.gz", -5, id="compressed, within the checksum"),
        pytest.param("a.nii.gz", 900, id="compressed, within the voxels"),
    ],
)
def test_a_file_cut_short_is_refused(tmp_path, name, kept):
    path = save(image(), tmp_path / name)
    path.write_bytes(path.read_bytes()[:kept])
    assert code_of(path) == {"E-NII-TRUNC"}


def test_one_flipped_bit_is_found_by_the_checksum(tmp_path):
    path = tmp_path / "a.nii.gz"
    content = save(image(), tmp_path / "a.nii").read_bytes()
    packed = bytearray(gzip.compress(content, 0))  # stored, so that a flip is a wrong voxel
    packed[3000] ^= 1
    path.write_bytes(packed)
    assert code_of(path) == {"E-NII-CRC"}


def test_what_follows_the_compressed_stream_and_is_none_is_damage(tmp_path):
    path = save(image(), tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes() + b"a stray end of another file")
    assert code_of(path) == {"E-NII-CRC"}


def test_a_damaged_compressed_stream_is_told(tmp_path):
    path = save(image(), tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[300:340] = bytes(40)
    path.write_bytes(content)
    assert code_of(path) == {"E-NII-CRC"}


# --- Row 34: claims beyond the file -----------------------------------------------------------


@pytest.mark.parametrize(
    "dim",
    [
        pytest.param([3, -20, 24, 12, 1, 1, 1, 1], id="negative"),
        pytest.param([3, 20, 0, 12, 1, 1, 1, 1], id="zero"),
        pytest.param([9, 20, 24, 12, 1, 1, 1, 1], id="nine axes"),
        pytest.param([3, 20, 24, 13, 1, 1, 1, 1], id="one slice more than there is"),
        pytest.param([3, 3000, 3000, 1000, 1, 1, 1, 1], id="18 GB in a small file"),
        pytest.param([3, 9000, 2, 2, 1, 1, 1, 1], id="a side beyond the limit"),
        pytest.param([3, 1000, 1000, 500, 1, 1, 1, 1], id="1 GB in a small file"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_size_that_cannot_be_is_refused_before_memory_is_taken(tmp_path, monkeypatch, name, dim):
    path = harmed(tmp_path / name, dim=dim)
    empty = np.empty

    def modest(n_bytes, *rest):
        assert n_bytes < 1 << 20
        return empty(n_bytes, *rest)

    monkeypatch.setattr(np, "empty", modest)
    wanted = {"E-NII-TRUNC"} if name == "a.nii" and dim[1] == 1000 else {"E-NII-SIZE"}
    assert code_of(path) == wanted


# --- Row 35: not NIfTI ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.nii", b"\x89PNG\r\n\x1a\n" + bytes(400), id="PNG"),
        pytest.param("a.nii.gz", b"plain text" * 50, id="text named as compressed"),
        pytest.param("a.nii.gz", b"no gzip", id="a few bytes named as compressed"),
        pytest.param("a.nrrd", b"NRRD0004\n", id="another suffix"),
        pytest.param("a.nii", gzip.compress(bytes(400)), id="compressed named as plain"),
    ],
)
def test_what_is_not_nifti_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert code_of(path) == {"E-NII-FORMAT"}


def test_a_plain_file_named_as_compressed_is_refused(tmp_path):
    path = save(image(), tmp_path / "a.nii")
    assert code_of(path.rename(tmp_path / "a.nii.gz")) == {"E-NII-FORMAT"}


@pytest.mark.parametrize("magic", [b"ni1", b"n+9", b""])
def test_a_wrong_magic_is_refused(tmp_path, magic):
    assert code_of(harmed(tmp_path / "a.nii", magic=magic)) == {"E-NII-FORMAT"}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"vox_offset": 12.0}, id="voxels within the header"),
        pytest.param({"vox_offset": np.nan}, id="voxels nowhere"),
        pytest.param({"scl_slope": 2.0, "scl_inter": np.nan}, id="an intercept that is no number"),
    ],
)
def test_fields_that_cannot_be_are_refused(tmp_path, fields):
    assert code_of(harmed(tmp_path / "a.nii", **fields)) == {"E-NII-FORMAT"}


def test_an_unknown_data_type_is_refused(tmp_path):
    path = save(image(), tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[70:72] = (77).to_bytes(2, "little")
    path.write_bytes(content)
    assert code_of(path) == {"E-NII-FORMAT"}


@pytest.mark.parametrize("make", ["missing", "folder", "loop"])
def test_what_cannot_be_opened_is_named(tmp_path, make):
    path = tmp_path / "a.nii.gz"
    if make == "folder":
        path.mkdir()
    if make == "loop":
        path.symlink_to(path)
    assert code_of(path) == {"E-IO"}


# --- Row 39: axes and components --------------------------------------------------------------


def test_trailing_axes_of_length_one_are_dropped(tmp_path):
    path = save(image(ramp()[..., None, None]), tmp_path / "a.nii")
    assert np.array_equal(read_volume(path)[0], ramp())


@pytest.mark.parametrize(
    "voxels",
    [
        pytest.param(np.zeros((4, 5, 6, 2), np.int16), id="a series"),
        pytest.param(np.zeros((4, 5), np.int16), id="a single slice without a third axis"),
        pytest.param(np.zeros((4, 5, 6), np.complex64), id="complex"),
        pytest.param(np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), id="colours"),
    ],
)
def test_more_than_one_number_a_voxel_is_refused(tmp_path, voxels):
    assert code_of(save(image(voxels), tmp_path / "a.nii")) == {"E-NII-DIM"}


# --- Row 41: types and scaling ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image], ids=["NIfTI-1", "NIfTI-2"])
@pytest.mark.parametrize(
    "dtype", ["u2", "i2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4", ">f8"]
)
def test_every_type_gives_the_same_voxels(tmp_path, dtype, kind, name):
    made = kind(ramp().astype(dtype), AFFINE, dtype=np.dtype(dtype))
    made.header.set_data_dtype(np.dtype(dtype))
    made = kind(made.dataobj, AFFINE, made.header.as_byteswapped(dtype[0] if ">" in dtype else "<"))
    made.header.set_xyzt_units("mm")
    nib.save(made, tmp_path / name)
    assert np.array_equal(read_volume(tmp_path / name)[0], ramp())


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [
        pytest.param(2.0, -10.0, lambda v: 2.0 * v - 10, id="scaled"),
        pytest.param(0.0, 5.0, lambda v: v, id="slope 0 is no scaling"),
        pytest.param(np.nan, np.nan, lambda v: v, id="slope NaN is no scaling"),
        pytest.param(1.0, 0.0, lambda v: v, id="slope 1"),
    ],
)
def test_the_scaling_of_the_header_is_applied(tmp_path, slope, intercept, expected):
    path = harmed(tmp_path / "a.nii", scl_slope=slope, scl_inter=intercept)
    assert np.array_equal(read_volume(path)[0], expected(ramp().astype(np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_voxels_that_are_not_finite_are_counted_and_placed(tmp_path, value):
    voxels = ramp().astype(np.float64)
    voxels[3, 4, 5] = voxels[6, 7, 8] = value
    path = save(image(voxels), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"E-NII-NAN.*2 voxels .*first is \(3, 4, 5\)"):
        read_volume(path)
    voxels[3, 4, 5] = voxels[6, 7, 8] = 0
    rescued = read_image(path, nan_to_min=True)
    assert np.array_equal(rescued.voxels, voxels)
    assert [problem.code for problem in rescued.warnings] == ["W-NII-NAN"]


def test_voxels_of_which_none_is_finite_cannot_be_rescued(tmp_path):
    path = save(image(np.full(SHAPE, np.nan, np.float32)), tmp_path / "a.nii")
    assert code_of(path, nan_to_min=True) == {"E-NII-NAN"}


# --- Row 31: label maps -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(0.9999, "0.9999", id="nearly one"),
        pytest.param(1.5, "1.5", id="between two codes"),
        pytest.param(np.nan, "nan", id="not a number"),
        pytest.param(-1.0, "-1", id="negative"),
        pytest.param(300.0, "300", id="beyond a byte"),
    ],
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_label_that_is_no_code_is_shown_with_its_place(tmp_path, value, shown, dtype):
    voxels = np.zeros(SHAPE, dtype)
    voxels[1, 2, 3] = value
    path = save(image(voxels), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=rf"E-LABEL.*1 voxels hold {shown}; .*\(1, 2, 3\)"):
        read_label_map(path)


def test_a_code_that_only_scaling_makes_is_checked_after_it(tmp_path):
    made = image(np.ones(SHAPE, np.int16))
    made.header["scl_slope"], made.header["scl_inter"] = 0.5, 0
    with pytest.raises(DataError, match=r"E-LABEL.*hold 0\.5"):
        read_label_map(save(made, tmp_path / "a.nii"))


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "i8"])
def test_whole_numbers_of_any_type_are_codes(tmp_path, dtype):
    voxels = (ramp() % 4).astype(dtype)
    made = nib.Nifti1Image(voxels, AFFINE, dtype=np.dtype(dtype))
    made.header.set_xyzt_units("mm")
    nib.save(made, tmp_path / "a.nii.gz")
    label_map, grid = read_label_map(tmp_path / "a.nii.gz")
    assert label_map.dtype == np.uint8
    assert np.array_equal(label_map, ramp() % 4)
    assert grid.shape == SHAPE


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_bytes_after_the_voxels_are_read_over(tmp_path, name):
    path = save(image(), tmp_path / "whole.nii")
    content = path.read_bytes() + b"more" * 1000
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert np.array_equal(read_volume(path)[0], ramp())
