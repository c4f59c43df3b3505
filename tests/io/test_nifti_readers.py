"""What is written lies at the same millimetre for nibabel, SimpleITK, plastimatch and ITK."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from landmark_grids import BEYOND_QFORM, GRIDS, LABELS, landmarks
from validators import said

from medseg.io.nifti import write_label_map


def places_by_nibabel(path):
    image = nib.load(path)
    voxels = np.asanyarray(image.dataobj)
    return {
        int(voxels[tuple(ijk)]): nib.affines.apply_affine(image.affine, ijk)
        for ijk in np.argwhere(voxels)
    }


def places_by_simpleitk(path):
    image = SimpleITK.ReadImage(str(path))
    found = {}
    for kji in np.argwhere(SimpleITK.GetArrayFromImage(image)):
        ijk = [int(n) for n in kji[::-1]]
        x, y, z = image.TransformIndexToPhysicalPoint(ijk)
        found[int(image[ijk])] = np.array([-x, -y, z])  # LPS to RAS
    return found


def places_by_plastimatch(path):
    """Read by plastimatch, a program of C++ with an ITK of its own, and turned into MetaImage."""
    turned = path.with_suffix(".mha")
    said("plastimatch", "convert", "--input", path, "--output-img", turned)
    return places_by_simpleitk(turned)


# ITK's Python modules end the interpreter with a crash when SimpleITK and MONAI are loaded too.
READ_BY_ITK = """
import json, sys
import itk
import numpy as np
places = []
for path in sys.argv[1:]:
    image, found = itk.imread(path), {}
    for kji in np.argwhere(itk.array_view_from_image(image)):
        ijk = [int(n) for n in kji[::-1]]
        x, y, z = image.TransformIndexToPhysicalPoint(ijk)
        found[int(image.GetPixel(ijk))] = [-x, -y, z]  # LPS to RAS
    places.append(found)
print(json.dumps(places))
"""


def places_by_itk(paths):
    """For each file the places by code, read by ITK in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", READ_BY_ITK, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [
        {int(code): place for code, place in found.items()} for found in json.loads(done.stdout)
    ]


def require_in_place(found, voxels, grid):
    assert sorted(found) == [1, 2, 3, 4]
    for ijk in np.argwhere(voxels):
        place = grid.to_ras_mm(ijk)
        assert np.abs(found[int(voxels[tuple(ijk)])] - place).max() < 1e-3


@pytest.mark.parametrize("grid", [*GRIDS, BEYOND_QFORM])
@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(places_by_nibabel, id="nibabel"),
        pytest.param(places_by_simpleitk, id="SimpleITK"),
        pytest.param(places_by_plastimatch, id="plastimatch"),
    ],
)
def test_other_readers_find_the_same_voxel_at_the_same_millimetre(tmp_path, grid, reader):
    voxels = landmarks(grid.shape)
    write_label_map(tmp_path / "a.nii.gz", voxels, grid, LABELS)
    require_in_place(reader(tmp_path / "a.nii.gz"), voxels, grid)


def test_itk_finds_the_same_voxel_at_the_same_millimetre(tmp_path):
    grids = [param.values[0] for param in (*GRIDS, BEYOND_QFORM)]
    paths = [tmp_path / f"{n}.nii.gz" for n in range(len(grids))]
    for path, grid in zip(paths, grids, strict=True):
        write_label_map(path, landmarks(grid.shape), grid, LABELS)
    for found, grid in zip(places_by_itk(paths), grids, strict=True):
        require_in_place(found, landmarks(grid.shape), grid)
