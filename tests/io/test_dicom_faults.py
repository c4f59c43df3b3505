"""Slices that make no volume: gaps, tilt, duplicates, mixtures, places that are not told."""

import shutil

import dicom_series
import numpy as np
import pytest
from dicom_series import (
    SHAPE,
    SPACING_MM,
    codes_of,
    message_of,
    only,
    save,
    slices,
    uid,
    write_series,
)

# --- Gaps and uneven distances -----------------------------------------------------------------


def move(dataset, mm, axis=2):
    position = list(dataset.ImagePositionPatient)
    position[axis] = f"{float(position[axis]) + mm:.10g}"
    dataset.ImagePositionPatient = position


def test_a_missing_slice_is_told_with_its_neighbours(tmp_path):
    write_series(tmp_path)[5].unlink()
    message = message_of(tmp_path)
    assert "E-DCM-GAP" in message
    assert "004.dcm and 006.dcm lie 6 mm apart" in message
    assert "expected 3 mm" in message


def test_two_missing_slices_are_both_told(tmp_path):
    paths = write_series(tmp_path)
    paths[3].unlink()
    paths[8].unlink()
    message = message_of(tmp_path)
    assert "002.dcm and 004.dcm" in message
    assert "007.dcm and 009.dcm" in message


def test_a_gap_among_three_slices_is_found(tmp_path):
    write_series(tmp_path, slices()[:2] + slices()[3:4])
    assert "001.dcm and 002.dcm lie 6 mm apart" in message_of(tmp_path)


def test_slices_at_uneven_distances_are_refused(tmp_path):
    datasets = slices()
    for k, dataset in enumerate(datasets):
        move(dataset, 1.2 * (-1) ** k / 2)
    write_series(tmp_path, datasets)
    assert codes_of(tmp_path) == {"E-DCM-GAP"}
    assert "000.dcm and 001.dcm lie 1.8 mm apart" not in message_of(tmp_path)
    assert "expected 1.8 mm" in message_of(tmp_path)


def test_two_slices_that_nearly_touch_do_not_set_the_distance(tmp_path):
    datasets = slices()
    move(datasets[5], -2.9)
    write_series(tmp_path, datasets)
    message = message_of(tmp_path)
    assert "004.dcm and 005.dcm lie 0.1 mm apart" in message
    assert "expected 3 mm" in message


def test_a_distance_that_changes_half_way_is_refused(tmp_path):
    datasets = slices()
    for k, dataset in enumerate(datasets[6:]):
        move(dataset, -1.5 * (k + 1))
    write_series(tmp_path, datasets)
    message = message_of(tmp_path)
    assert "E-DCM-GAP" in message
    assert "and 2 more pairs" in message


def test_a_slow_drift_of_distances_is_refused_though_neighbours_agree(tmp_path):
    datasets = slices()
    for k, dataset in enumerate(datasets):
        move(dataset, 0.004 * k * k)
    write_series(tmp_path, datasets)
    assert codes_of(tmp_path) == {"E-DCM-GAP"}


def test_positions_written_to_two_digits_are_regular(tmp_path):
    datasets = slices(spacing_mm=(0.8, 0.9, 10 / 3))
    for dataset in datasets:
        dataset.ImagePositionPatient = [f"{mm:.2f}" for mm in dataset.ImagePositionPatient]
    write_series(tmp_path, datasets)
    assert only(tmp_path).grid.spacing_mm[2] == pytest.approx(10 / 3, abs=1e-3)


# --- Tilt --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift_mm", "angle"),
    [
        pytest.param(0.9, "16.70 degrees", id="a tilted gantry"),
        pytest.param(0.009, "0.17 degrees", id="a sixth of a degree"),
    ],
)
def test_slices_shifted_against_each_other_are_refused_with_the_angle(tmp_path, shift_mm, angle):
    datasets = slices()
    for k, dataset in enumerate(datasets):
        move(dataset, shift_mm * k, axis=1)
    write_series(tmp_path, datasets)
    message = message_of(tmp_path)
    assert "E-DCM-TILT" in message
    assert angle in message


def test_one_slice_shifted_sideways_is_refused(tmp_path):
    datasets = slices()
    move(datasets[4], 0.5, axis=0)
    write_series(tmp_path, datasets)
    message = message_of(tmp_path)
    assert "E-DCM-TILT" in message
    assert "004.dcm" in message


def test_rows_that_do_not_stand_on_columns_are_refused(tmp_path):
    write_series(tmp_path, iop=(1, 0, 0, 0.01, np.sqrt(1 - 0.01**2), 0))
    assert "meet at 89.43 degrees" in message_of(tmp_path)


# --- Duplicates --------------------------------------------------------------------------------


def test_two_slices_at_one_place_are_refused_with_both_names(tmp_path):
    extra = slices()[5]
    extra.SOPInstanceUID = uid("another")
    write_series(tmp_path, [*slices(), extra])
    message = message_of(tmp_path)
    assert "E-DCM-DUP" in message
    assert "005.dcm and 012.dcm lie at one place" in message


def test_two_echoes_in_one_series_are_refused_and_nothing_else_is_wrong(tmp_path):
    second = slices()
    for k, dataset in enumerate(second):
        dataset.SOPInstanceUID = uid("second echo", k)
    write_series(tmp_path, slices() + second)
    assert codes_of(tmp_path) == {"E-DCM-DUP"}
    assert "and so do 11 more" in message_of(tmp_path)


def test_an_exact_copy_is_left_out_with_a_warning(tmp_path):
    paths = write_series(tmp_path)
    (tmp_path / "again").mkdir()
    for path in paths[:2]:
        shutil.copy(path, tmp_path / "again" / path.name)
    series = only(tmp_path)
    assert len(series.files) == SHAPE[2]
    (warning,) = series.warnings
    assert warning.code == "W-DCM-DUP"
    assert warning.level == "warning"
    assert warning.found.startswith("2 files")


def test_one_identifier_on_two_contents_is_refused(tmp_path):
    paths = write_series(tmp_path)
    changed = bytearray(paths[3].read_bytes())
    changed[-1] ^= 1
    (tmp_path / "other.dcm").write_bytes(changed)
    message = message_of(tmp_path)
    assert "other.dcm: has the SOPInstanceUID of 003.dcm, and other content" in message


# --- Mixed in one series -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        pytest.param({"FrameOfReferenceUID": uid("other")}, "FrameOfReferenceUID", id="frame"),
        pytest.param({"StudyInstanceUID": uid("other")}, "StudyInstanceUID", id="study"),
        pytest.param({"PixelSpacing": [0.9, 0.81]}, "pixel spacing", id="spacing"),
        pytest.param(
            {"ImageOrientationPatient": [1, 0, 0, 0, 0.9999875, 0.005]}, "orientation", id="turned"
        ),
        pytest.param({"Modality": "CT"}, "Modality", id="modality"),
        pytest.param(
            {"PhotometricInterpretation": "MONOCHROME1"}, "PhotometricInterpretation", id="inverse"
        ),
    ],
)
def test_a_series_of_which_one_slice_differs_is_refused(tmp_path, elements, named):
    datasets = slices()
    for keyword, value in elements.items():
        setattr(datasets[3], keyword, value)
    write_series(tmp_path, datasets)
    assert codes_of(tmp_path) == {"E-DCM-MIXED"}
    message = message_of(tmp_path)
    assert named in message
    assert "000.dcm" in message
    assert "003.dcm" in message


def test_slices_of_several_sizes_are_refused(tmp_path):
    datasets = slices()
    (datasets[3],) = slices(dicom_series.ramp((24, 20, 1)))
    move(datasets[3], 9)
    datasets[3].SOPInstanceUID = uid("turned")
    write_series(tmp_path, datasets)
    message = message_of(tmp_path)
    assert "Rows of 000.dcm is not that of 003.dcm" in message
    assert "Columns of 000.dcm is not that of 003.dcm" in message


def test_an_orientation_that_differs_in_its_last_digits_is_the_same(tmp_path):
    datasets = slices(iop=dicom_series.OBLIQUE)
    datasets[3].ImageOrientationPatient = [f"{c:.5f}" for c in dicom_series.OBLIQUE]
    write_series(tmp_path, datasets)
    assert only(tmp_path).grid.shape == SHAPE


# --- Places that are missing or cannot be ------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        pytest.param("PixelSpacing", None, id="no spacing"),
        pytest.param("PixelSpacing", [0, 0.8], id="zero spacing"),
        pytest.param("PixelSpacing", [0.9, -0.8], id="negative spacing"),
        pytest.param("PixelSpacing", 0.9, id="one spacing"),
        pytest.param("ImagePositionPatient", None, id="no position"),
        pytest.param("ImagePositionPatient", [1, 2], id="a position in a plane"),
        pytest.param("ImagePositionPatient", [1, 2, 1e7], id="a position ten kilometres off"),
        pytest.param("ImageOrientationPatient", None, id="no orientation"),
        pytest.param("ImageOrientationPatient", [0] * 6, id="an orientation of zeros"),
        pytest.param("ImageOrientationPatient", [2, 0, 0, 0, 1, 0], id="no unit vectors"),
    ],
)
@pytest.mark.parametrize("absent", [False, True], ids=["set", "absent"])
def test_a_place_that_is_not_told_is_refused(tmp_path, keyword, value, absent):
    datasets = slices()
    for dataset in datasets[2:4]:
        if absent:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    write_series(tmp_path, datasets)
    message = message_of(tmp_path)
    assert f"002.dcm: no usable {keyword}; so are 1 more files" in message


@pytest.mark.parametrize("written", ["nan", "x", "1e99"])
def test_a_position_that_is_no_number_is_refused(tmp_path, written):
    path = write_series(tmp_path)[3]
    position, content = b"-7.5\\11.25\\-31", path.read_bytes()
    assert position in content
    path.write_bytes(content.replace(position, f"{written}\\11.25\\-31".encode().ljust(14)))
    assert codes_of(tmp_path) == {"E-DCM-GEOM"}


def test_decimals_longer_than_the_standard_allows_are_read_in_full(tmp_path):
    cosines = [f"{c:.17f}" for c in dicom_series.OBLIQUE]
    for path in write_series(tmp_path, iop=dicom_series.OBLIQUE):
        content = path.read_bytes()
        at = content.index(b"\x20\x00\x37\x00DS")
        length = int.from_bytes(content[at + 6 : at + 8], "little")
        value = "\\".join(cosines).encode()
        value += b" " * (len(value) % 2)
        element = content[at : at + 6] + len(value).to_bytes(2, "little") + value
        path.write_bytes(content[:at] + element + content[at + 8 + length :])
    affine = dicom_series.affine_ras_mm(dicom_series.OBLIQUE)
    # The positions were worked out from cosines of 12 digits.
    assert np.allclose(only(tmp_path).grid.affine_ras_mm, affine, rtol=0, atol=1e-9)


def test_a_lone_slice_is_as_thick_as_it_says(tmp_path):
    (dataset,) = slices(dicom_series.ramp((20, 24, 1)))
    path = save(dataset, tmp_path / "alone.dcm")
    assert only(path).grid.spacing_mm == pytest.approx(SPACING_MM)
    assert only(path).scan_id == "alone"
    dataset.SliceThickness = 5  # thicker than far apart: slices overlap
    save(dataset, path)
    assert only(path).grid.spacing_mm[2] == 3
    del dataset.SpacingBetweenSlices
    dataset.SliceThickness = 2.5
    save(dataset, path)
    assert only(path).grid.spacing_mm[2] == 2.5
    dataset.SliceThickness = 0
    save(dataset, path)
    assert codes_of(path) == {"E-DCM-GEOM"}
