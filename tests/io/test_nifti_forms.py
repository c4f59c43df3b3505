"""Where voxels lie: forms, affines, orientations and units of NIfTI input."""

import logging

import nibabel as nib
import numpy as np
import pytest
from nifti_files import AFFINE, SHAPE, code_of, harmed, image, ramp, save

from medseg.errors import DataError
from medseg.geometry import Grid, corner_shift_mm
from medseg.io.nifti import read_image, read_volume

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
