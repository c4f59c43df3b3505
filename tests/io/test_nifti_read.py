"""Faults of NIfTI input, and the variants that must all give the same voxels."""

import gzip
import logging

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import DataError
from medseg.geometry import Grid, corner_shift_mm
from medseg.io.nifti import read_image, read_label_map, read_volume

SHAPE = (20, 24, 12)
AFFINE = np.array([[-0.8, 0, 0, 5], [0, -0.9, 0, 6], [0, 0, 3.0, -7], [0, 0, 0, 1]])


def ramp(shape=SHAPE):
    """Every voxel has its own value."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def image(voxels=None, affine=AFFINE, *, kind=nib.Nifti1Image):
    """A sound image, its header open to harm; `save` writes it."""
    made = kind(ramp() if voxels is None else voxels, affine)
    made.header.set_sform(affine, 1)
    made.header.set_qform(affine, 1)
    made.header.set_xyzt_units("mm")
    return made


def save(made, path):
    """Write header and voxels as they are, without the checks and repairs of nibabel."""
    header = made.header.copy()
    voxels = np.asanyarray(made.dataobj)
    header["vox_offset"] = header["vox_offset"] or 352
    content = header.binaryblock + bytes(4) + voxels.astype(header.get_data_dtype()).tobytes("F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def harmed(path, **fields):
    """Write a sound image whose header fields are then set to `fields`."""
    made = image()
    for name, value in fields.items():
        made.header[name] = value
    return save(made, path)


def code_of(path, **options):
    with pytest.raises(DataError, match=path.name) as caught:
        read_image(path, **options)
    return {problem.code for problem in caught.value.problems}


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


# --- Rows 36 and 37: two forms, or none -------------------------------------------------------


def with_forms(path, *, sform=AFFINE, qform=AFFINE, s_code=1, q_code=1):
    made = image()
    made.header.set_qform(qform, q_code)
    made.header.set_sform(sform, s_code)
    return save(made, path)


MOVED = AFFINE + np.array([[0, 0, 0, 4.0], [0] * 4, [0] * 4, [0] * 4])
MIRRORED = AFFINE @ np.diag([1, 1, -1, 1])
SPACED = AFFINE @ np.diag([1.5, 1, 1, 1])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(MOVED, id="moved"),
        pytest.param(MIRRORED, id="mirrored"),
        pytest.param(SPACED, id="spaced"),
    ],
)
def test_forms_that_disagree_are_both_printed_and_the_user_may_choose(tmp_path, other):
    path = with_forms(tmp_path / "a.nii", qform=other)
    with pytest.raises(DataError, match=r"E-NII-FORMS.*sform \[-0.8.*is not qform \["):
        read_image(path)
    assert np.allclose(read_image(path, use="sform").grid.affine_ras_mm, AFFINE, atol=1e-5)
    assert np.allclose(read_image(path, use="qform").grid.affine_ras_mm, other, atol=1e-5)


@pytest.mark.parametrize(
    ("s_code", "q_code"),
    [pytest.param(1, 0, id="sform alone"), pytest.param(0, 1, id="qform alone")],
)
def test_one_form_is_enough(tmp_path, s_code, q_code):
    path = with_forms(tmp_path / "a.nii", s_code=s_code, q_code=q_code)
    found = read_image(path)
    assert np.allclose(found.grid.affine_ras_mm, AFFINE, atol=1e-5)
    assert found.frame.form_code == 1


def test_an_uncoded_form_is_not_believed_even_where_asked_for(tmp_path):
    path = with_forms(tmp_path / "a.nii", q_code=0)
    assert code_of(path, use="qform") == {"E-NII-NOFORM"}


def test_a_file_without_forms_is_read_only_where_its_axes_are_said(tmp_path):
    path = with_forms(tmp_path / "a.nii", s_code=0, q_code=0)
    assert code_of(path) == {"E-NII-NOFORM"}
    grid = read_image(path, assume_ras=True).grid
    assert np.allclose(grid.affine_ras_mm, np.diag([0.8, 0.9, 3.0, 1.0]))


def test_the_rounding_of_a_quaternion_is_no_disagreement(tmp_path):
    # Half a turn and 0.0003 rad: float32 leaves nothing of the fourth component.
    tilt = np.array([[1, 0, 0], [0, 1, -3e-4], [0, 3e-4, 1]])
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ tilt @ np.diag([0.8, 0.9, 3.0])
    grid = read_image(with_forms(tmp_path / "a.nii", sform=affine, qform=affine)).grid
    assert corner_shift_mm(grid, Grid(SHAPE, affine)) < 1e-4


# --- Row 38: affines that are no box of voxels ------------------------------------------------


def changed(row, column, value):
    affine = AFFINE.copy()
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    "sform",
    [
        pytest.param(changed(0, 0, np.nan), id="not a number"),
        pytest.param(changed(0, 0, np.inf), id="infinite"),
        pytest.param(changed(0, 0, 0), id="a zero axis"),
        pytest.param(changed(0, 1, 0.3), id="sheared"),
        pytest.param(AFFINE[:, [0, 0, 2, 3]], id="two equal axes"),
        pytest.param(SPACED, id="spacing unlike pixdim"),
    ],
)
def test_an_affine_that_is_no_box_of_voxels_is_refused(tmp_path, sform):
    path = save(image(), tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[252:254] = bytes(2)  # the qform's code
    content[280:328] = np.float32(sform[:3]).tobytes()
    path.write_bytes(content)
    assert code_of(path) == {"E-NII-AFFINE"}


@pytest.mark.parametrize("size", [0.0, -0.8, np.nan])
def test_voxel_sizes_must_be_positive(tmp_path, size):
    made = image()
    made.header["pixdim"][1] = size
    assert code_of(save(made, tmp_path / "a.nii")) == {"E-NII-AFFINE"}


def test_an_impossible_quaternion_is_refused(tmp_path):
    path = harmed(tmp_path / "a.nii", quatern_b=0.9, quatern_c=0.9)
    assert code_of(path) == {"E-NII-AFFINE"}


def test_a_qfac_of_zero_stands_for_one(tmp_path):
    made = image(affine=np.diag([0.8, 0.9, 3.0, 1.0]))
    made.header["pixdim"][0] = 0
    assert read_image(save(made, tmp_path / "a.nii")).grid.axis_codes == ("R", "A", "S")


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


# --- Row 40: any orientation ------------------------------------------------------------------


def all_orientations():
    codes = ((a, b, c) for a in "LRPAIS" for b in "LRPAIS" for c in "LRPAIS")
    pairs = ({"L", "R"}, {"P", "A"}, {"I", "S"})
    return [c for c in codes if all(len(pair & set(c)) == 1 for pair in pairs)]


@pytest.mark.parametrize("codes", all_orientations(), ids="".join)
def test_each_of_the_48_orientations_keeps_each_voxel_at_its_place(tmp_path, codes):
    target = nib.orientations.axcodes2ornt(codes)
    turned = image().as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(AFFINE), target)
    )
    made = image(np.asanyarray(turned.dataobj), turned.affine)
    voxels, grid = read_volume(save(made, tmp_path / "a.nii"))
    assert grid.axis_codes == codes
    for ijk in ((0, 0, 0), (3, 17, 2), (19, 1, 11), (7, 23, 5)):
        here = np.argwhere(voxels == ramp()[ijk])
        assert np.allclose(grid.to_ras_mm(here), nib.affines.apply_affine(AFFINE, ijk), atol=1e-4)


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


# --- Row 42: units ----------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "name"), [(1, "metre"), (3, "micrometre"), (5, "5")])
def test_another_unit_than_mm_is_refused(tmp_path, unit, name):
    path = harmed(tmp_path / "a.nii", xyzt_units=unit)
    with pytest.raises(DataError, match=f"E-NII-UNITS.*unit is {name}"):
        read_volume(path)


def test_an_unknown_unit_is_taken_as_mm_and_said(tmp_path, caplog):
    path = harmed(tmp_path / "a.nii", xyzt_units=0)
    assert [problem.code for problem in read_image(path).warnings] == ["W-NII-UNITS"]
    with caplog.at_level(logging.WARNING):
        assert read_volume(path)[1].spacing_mm == pytest.approx((0.8, 0.9, 3.0))
    assert "mm is assumed" in caplog.text


def test_the_unit_of_time_does_not_matter(tmp_path):
    path = harmed(tmp_path / "a.nii", xyzt_units=2 + 8)  # mm and seconds, as ITK writes
    assert read_image(path).warnings == ()


# --- All at once ------------------------------------------------------------------------------


def test_all_faults_of_a_header_are_told_in_one_pass(tmp_path):
    path = harmed(
        tmp_path / "a.nii", xyzt_units=1, dim=[4, 20, 24, 6, 2, 1, 1, 1], sform_code=0, qform_code=0
    )
    assert code_of(path) == {"E-NII-UNITS", "E-NII-DIM", "E-NII-NOFORM"}


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
