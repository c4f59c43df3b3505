"""Where voxels lie: the same place in millimetres as other readers put them, whatever the plane."""

import dicom_series
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everyone calls it
from dicom_series import AXIAL, CORONAL, OBLIQUE, SAGITTAL, slices, write_series
from validators import said

from medseg.io.dicom_pixels import read_series
from medseg.io.dicom_series import find_series

LANDMARKS = ((0, 0, 0), (17, 2, 1), (4, 21, 3), (6, 5, 10))
TWISTED = (0.36, 0.48, -0.8, -0.8, 0.6, 0)  # no axis of the body lies in its plane

PLANES = {
    "axial": AXIAL,
    "axial, growing to the feet": (-1, 0, 0, 0, 1, 0),
    "axial, rows to the back": (0, 1, 0, 1, 0, 0),
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": OBLIQUE,
    "twisted": TWISTED,
}


@pytest.fixture(params=[pytest.param(iop, id=name) for name, iop in PLANES.items()])
def iop(request):
    return request.param


@pytest.fixture
def image(iop, tmp_path):
    """The image that medseg reads of the generated series, its files in the wrong order."""
    write_series(tmp_path / "series", slices(iop=iop)[::-1])
    (series,) = find_series(tmp_path / "series")
    return read_series(series)


def test_voxels_lie_where_the_standard_says(image, iop):
    affine = dicom_series.affine_ras_mm(iop)
    assert np.allclose(image.grid.affine_ras_mm, affine, rtol=0, atol=1e-8)
    for ijk in LANDMARKS:
        assert image.voxels[ijk] == dicom_series.ramp()[ijk] * 2.0 - 1024


def test_simpleitk_puts_voxels_at_the_same_place(image, tmp_path):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "series"))
    other = sitk.ReadImage(names)
    for ijk in LANDMARKS:
        lps_mm = image.grid.to_ras_mm(ijk) * (-1, -1, 1)
        there = other.TransformPhysicalPointToContinuousIndex(lps_mm.tolist())
        nearest = [round(index) for index in there]
        shift_mm = np.array(other.TransformIndexToPhysicalPoint(nearest)) - lps_mm
        assert np.abs(shift_mm).max() < 1e-3
        assert other[nearest] == image.voxels[ijk]


def test_dcm2niix_puts_voxels_at_the_same_place(image, tmp_path):
    said("dcm2niix", "-o", tmp_path, "-f", "there", "-b", "n", tmp_path / "series")
    other = nib.load(tmp_path / "there.nii")
    stored = other.get_fdata()
    for ijk in LANDMARKS:
        ras_mm = image.grid.to_ras_mm(ijk)
        there = nib.affines.apply_affine(np.linalg.inv(other.affine), ras_mm)
        nearest = np.rint(there).astype(int)
        assert np.abs(nib.affines.apply_affine(other.affine, nearest) - ras_mm).max() < 1e-3
        assert stored[tuple(nearest)] == image.voxels[ijk]
