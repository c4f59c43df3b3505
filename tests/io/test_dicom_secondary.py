"""DICOM series made of volumes: valid, marked as what they are, at their place, values kept."""

from itertools import permutations, product

import dicom_series
import numpy as np
import pydicom
import pytest
import validators

from medseg.errors import DataError, GeometryError, Problem, ResourceError, UsageError
from medseg.geometry import Grid
from medseg.io import dicom_secondary
from medseg.io.dicom_secondary import write_secondary

SHAPE = (5, 4, 3)
LANDMARKS = ((0, 0, 0), (4, 0, 1), (1, 3, 0), (2, 1, 2))
GRIDS = [
    pytest.param(np.diag([-0.8, -0.9, 3.0, 1.0]), id="as slices lie"),
    pytest.param(np.diag([0.8, 0.9, 3.0, 1.0]), id="as NIfTI has it"),
    pytest.param(np.diag([0.8, 0.9, -3.0, 1.0])[[2, 0, 1, 3]], id="sagittal"),
    pytest.param(np.diag([0.8, 0.9, 3.0, 1.0])[[0, 2, 1, 3]], id="coronal"),
    pytest.param(dicom_series.affine_ras_mm(dicom_series.OBLIQUE), id="oblique"),
]


def numbered(shape=SHAPE):
    """Every voxel has its own value."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def places_ras_mm(voxels, affine_ras_mm):
    """Where the landmarks of `numbered` lie in an image that holds the same values."""
    found = [np.argwhere(voxels == numbered()[at])[0] for at in LANDMARKS]
    return np.array(found) @ affine_ras_mm[:3, :3].T + affine_ras_mm[:3, 3]


def read(files):
    return validators.volume([str(file) for file in files])


@pytest.mark.parametrize("affine", GRIDS)
def test_simpleitk_finds_landmarks_at_their_place(tmp_path, affine):
    grid = Grid(SHAPE, affine)
    made = write_secondary(tmp_path, numbered(), grid)
    found = places_ras_mm(*read(made.files))
    np.testing.assert_allclose(found, grid.to_ras_mm(LANDMARKS), atol=1e-3)
    assert (made.error, made.grid.shape) == (0, read(made.files)[0].shape)


@pytest.mark.parametrize("affine", GRIDS)
def test_dcm2niix_finds_landmarks_at_their_place(tmp_path, affine):
    grid = Grid(SHAPE, affine)
    write_secondary(tmp_path / "series", numbered(), grid)
    validators.said("dcm2niix", "-f", "volume", "-o", tmp_path, tmp_path / "series")
    found = places_ras_mm(*validators.volume(tmp_path / "volume.nii"))
    np.testing.assert_allclose(found, grid.to_ras_mm(LANDMARKS), atol=1e-3)


def test_all_48_orientations_are_looked_at_as_usual(tmp_path):
    """Rows and columns grow to the left, back and feet, and slices along their normal."""
    usual = {"S": "LPS", "R": "PIR", "P": "LIP"}
    turn = dicom_series.affine_ras_mm(dicom_series.OBLIQUE, (1, 1, 1))[:3, :3]
    for number, (axes, signs) in enumerate(
        product(permutations(range(3)), product((1, -1), repeat=3))
    ):
        affine = np.eye(4)
        affine[:3, :3] = turn @ (np.eye(3)[:, axes] * signs) * (0.8, 0.9, 3.0)
        grid = Grid(SHAPE, affine)
        made = write_secondary(tmp_path / str(number), numbered(), grid)
        assert "".join(made.grid.axis_codes) == usual[made.grid.axis_codes[2]]
        voxels, found = read(made.files)
        np.testing.assert_allclose(found, made.grid.affine_ras_mm, atol=1e-6)
        places = places_ras_mm(voxels, found)
        np.testing.assert_allclose(places, grid.to_ras_mm(LANDMARKS), atol=1e-3)


@pytest.mark.parametrize(
    "scale",
    [pytest.param(1, id="whole"), pytest.param(-1, id="negative"), pytest.param(0.01, id="scaled")],
)
def test_validators_find_no_fault(tmp_path, scale):
    files = write_secondary(tmp_path, numbered() * scale, Grid(SHAPE, np.eye(4))).files
    assert len(files) == 3
    assert [validators.dciodvfy_errors(file) for file in files] == [[], [], []]
    assert validators.dcentvfy_faults(files) == []
    assert validators.gdcm_faults(files[0]) == []
    assert validators.dcmtk_faults(files[0]) == []


@pytest.mark.parametrize(
    ("low", "high", "representation", "rescaled"),
    [
        pytest.param(0, 65535, 0, False, id="unsigned"),
        pytest.param(-32768, 32767, 1, False, id="signed"),
        pytest.param(-1000, 60000, 0, True, id="fewer than 65536, shifted"),
        pytest.param(-70000, -4465, 0, True, id="far below, shifted"),
        pytest.param(0.25, 0.25, 0, True, id="one value that is not whole"),
        pytest.param(7, 7, 0, False, id="one value"),
    ],
)
def test_values_that_fit_are_kept(tmp_path, low, high, representation, rescaled):
    voxels = np.full(SHAPE, low, np.float32)
    voxels[2, 1, 1] = high
    made = write_secondary(tmp_path, voxels, Grid(SHAPE, np.diag([-1, -1, 1, 1])))
    np.testing.assert_array_equal(read(made.files)[0], voxels)
    dataset = pydicom.dcmread(made.files[0])
    assert made.error == 0
    assert dataset.PixelRepresentation == representation
    assert ("RescaleSlope" in dataset) == rescaled
    assert dataset.get("RescaleSlope", 1) == 1


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(0, 1, id="probabilities"),
        pytest.param(-1e6, 3e6, id="too wide"),
        pytest.param(1e-30, 2e-30, id="tiny"),
        pytest.param(0.5, 65535.5, id="a slope of 1"),
        pytest.param(0, 59 * 1200, id="whole, too high"),
        pytest.param(-59 * 1200, 0, id="whole, too low"),
    ],
)
def test_other_values_are_off_by_half_a_step(tmp_path, low, high):
    voxels = np.linspace(low, high, 60).astype(np.float32).reshape(SHAPE)
    made = write_secondary(tmp_path, voxels, Grid(SHAPE, np.diag([-1, -1, 1, 1])))
    step = (float(voxels.max()) - float(voxels.min())) / 65535
    assert made.error <= step * 0.501
    np.testing.assert_allclose(read(made.files)[0], voxels, rtol=1e-6, atol=step * 0.501)


def test_values_that_no_text_of_16_characters_tells_do_not_turn_over(tmp_path):
    voxels = 123456789.1234567 + np.linspace(0, 1e-5, 60).reshape(SHAPE)
    made = write_secondary(tmp_path, voxels, Grid(SHAPE, np.eye(4)))
    assert 0 < made.error < 1e-6


def test_a_window_shows_the_values(tmp_path):
    voxels = numbered((10, 10, 1)) * 0.1 - 2
    (file,) = write_secondary(tmp_path, voxels, Grid((10, 10, 1), np.eye(4))).files
    dataset = pydicom.dcmread(file)
    # From the 1st to the 99th of a hundred even values from -2 to 7.9.
    assert dataset.WindowCenter == pytest.approx(2.95, abs=0.01)
    assert dataset.WindowWidth == pytest.approx(9.702, abs=0.01)


def test_a_series_says_what_it_is(tmp_path):
    files = write_secondary(tmp_path / "a", numbered(), Grid(SHAPE, np.eye(4))).files
    first, last = pydicom.dcmread(files[0]), pydicom.dcmread(files[-1])
    assert first.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert first.DerivationDescription.startswith("Made by medseg")
    assert first.BurnedInAnnotation == "NO"
    assert first.PatientName == "medseg^demonstration"
    assert (first.InstanceNumber, last.InstanceNumber) == (1, 3)
    assert first.SOPInstanceUID != last.SOPInstanceUID
    assert first.SeriesInstanceUID == last.SeriesInstanceUID
    other = write_secondary(tmp_path / "b", numbered(), Grid(SHAPE, np.eye(4))).files
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert first[name].value != pydicom.dcmread(other[0])[name].value


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match=r"E-EXISTS.*holds files"):
        write_secondary(tmp_path, numbered(), Grid(SHAPE, np.eye(4)))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_series_is_whole_or_not_there(tmp_path, monkeypatch):
    save = dicom_secondary.save

    def full(path, dataset):
        if path.name == "0003.dcm":
            raise ResourceError(Problem("E-DISK", path.name, "is full"))
        save(path, dataset)

    monkeypatch.setattr(dicom_secondary, "save", full)
    with pytest.raises(ResourceError, match="E-DISK"):
        write_secondary(tmp_path, numbered(), Grid(SHAPE, np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_told_is_refused(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.01
    with pytest.raises(GeometryError, match=r"E-AFFINE.*0\.0\d+ mm off"):
        write_secondary(tmp_path, numbered(), Grid(SHAPE, sheared))
    with pytest.raises(GeometryError, match=r"E-GRID.*voxels \(5, 4, 3\)"):
        write_secondary(tmp_path, numbered(), Grid((5, 4, 4), np.eye(4)))
    with pytest.raises(DataError, match=r"E-VALUES.*not finite"):
        write_secondary(tmp_path, numbered() * np.nan, Grid(SHAPE, np.eye(4)))
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="E-IO"):
        write_secondary(tmp_path / "file" / "below", numbered(), Grid(SHAPE, np.eye(4)))
