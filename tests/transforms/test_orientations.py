"""However a volume lies in memory, its voxels get the same masks, on exactly its own grid."""

from itertools import permutations, product

import dicom_series
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medseg.engine import VolumeInferer
from medseg.geometry import Grid, lpi_grid
from medseg.io.dicom_series import find_series
from medseg.io.nifti import read_label_map, write_image
from medseg.labels import LabelSet, Organ
from medseg.transforms import SaveMasks, moved, on_grid, preprocessing

CODES = [
    tuple(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for signs in product((0, 1), repeat=3)
]
SHAPE, SPACING_MM = (14, 11, 5), (1.2, 1.7, 3.0)
ORGANS = {1: "a", 2: "b"}


def turned(about, degrees):
    """A rotation about two of the body's axes."""
    first, second = about
    matrix = np.eye(3)
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix[[first, second], [first, second]] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


def grid_with(axes):
    """A grid whose columns, rows and slices run along `axes`, in RAS."""
    affine = np.eye(4)
    affine[:3, :3] = axes * SPACING_MM
    affine[:3, 3] = (31.25, -12.5, 4.75)
    return Grid(SHAPE, affine)


AXIAL = np.diag([-1.0, -1.0, 1.0])
SAGITTAL = np.array([[0, 0, -1.0], [-1, 0, 0], [0, -1, 0]])
CORONAL = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
PLANES = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "tilted": turned((0, 1), 7) @ turned((1, 2), -11) @ AXIAL,
    "45 degrees": turned((0, 1), 45) @ AXIAL,
    "45 degrees twice": turned((1, 2), 45) @ turned((0, 1), 45) @ SAGITTAL,
    "along a diagonal": turned((0, 2), -45) @ CORONAL,
}


def values(shape=SHAPE):
    return torch.from_numpy(np.random.default_rng(0).uniform(50, 900, (1, *shape))).float()


def network():
    """Sees three slices, answers for two organs, and never learnt anything."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect").eval()


@torch.inference_mode()
def segmented(image, *, spacing_mm=(1.5, 1.5, 3.0), roi_px=(12, 12)):
    """Return masks of an image, a MetaTensor or a path, on its own grid."""
    item = preprocessing(("image",), spacing_mm=spacing_mm, roi_px=roi_px)({"image": image})
    inferer = VolumeInferer(roi_px, label_mode="overlapping", neighbours=3, amp=False)
    masks, _ = inferer(item["image"], network(), native=item["native"])
    return on_grid(masks, item["native"]), item


@pytest.fixture(scope="module")
def reference():
    """The masks of each plane as its voxels were made."""
    return {name: segmented(on_grid(values(), grid_with(PLANES[name])))[0] for name in PLANES}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("codes", CODES, ids="".join)
def test_masks_of_a_reoriented_copy_are_the_reoriented_masks(reference, plane, codes):
    image = on_grid(values(), grid_with(PLANES[plane]))
    grid = grid_with(PLANES[plane]).reoriented(codes)
    copy = moved(image, grid, mode="nearest")
    masks, item = segmented(copy)
    assert item["native"].shape == grid.shape
    assert np.array_equal(item["native"].affine_ras_mm, grid.affine_ras_mm)
    assert 0.2 < reference[plane].float().mean() < 0.8
    back = moved(masks, grid_with(PLANES[plane]), mode="nearest")
    assert torch.equal(back.as_tensor(), reference[plane].as_tensor())


@given(
    angles=st.tuples(*[st.sampled_from([0, 30, 45, 60, 90, 44.99, 45.01])] * 3),
    noise=st.integers(0, 2**32 - 1),
)
def test_which_axis_is_which_does_not_depend_on_their_order(angles, noise):
    about = turned((0, 1), angles[0]) @ turned((1, 2), angles[1]) @ turned((0, 2), angles[2])
    grid = grid_with(about @ AXIAL)
    # What a file leaves of an affine.
    rounded = np.random.default_rng(noise).uniform(-1e-6, 1e-6, (48, 3, 3))
    found = []
    for codes, error in zip(CODES, rounded, strict=True):
        affine = grid.reoriented(codes).affine_ras_mm.copy()
        affine[:3, :3] += error
        found.append(Grid(grid.reoriented(codes).shape, affine).reoriented(("L", "P", "I")))
    for each in found:
        np.testing.assert_allclose(each.affine_ras_mm, found[0].affine_ras_mm, atol=1e-4)


@pytest.mark.parametrize("degrees", [-44.9, -20, 0, 20, 44.9])
@pytest.mark.parametrize("about", [(0, 1), (1, 2), (0, 2)], ids=["feet", "left", "back"])
def test_away_from_45_degrees_the_closest_axis_is_taken(degrees, about):
    assert grid_with(turned(about, degrees) @ AXIAL).axis_codes == ("L", "P", "S")


def test_a_file_of_any_orientation_gets_a_mask_on_its_own_grid(tmp_path):
    labels = LabelSet(tuple(Organ(n, c, (1, 2, c), "", n) for c, n in ORGANS.items()), ("a", "b"))
    found = {}
    for plane in ("sagittal", "tilted", "45 degrees"):
        for codes in (("L", "P", "S"), ("I", "R", "A"), ("A", "S", "L")):
            grid = grid_with(PLANES[plane]).reoriented(codes)
            image = moved(on_grid(values(), grid_with(PLANES[plane])), grid, mode="nearest")
            name = f"{plane}{''.join(codes)}".replace(" ", "_")
            write_image(tmp_path / f"{name}.nii.gz", image[0].numpy(), grid)
            masks, item = segmented(tmp_path / f"{name}.nii.gz")
            save = SaveMasks(tmp_path / "out", labels=labels)
            save({**item, "scan_id": name, "pred": masks})
            label_map, own = read_label_map(tmp_path / "out" / f"{name}.nii.gz")
            stored = grid.affine_ras_mm.astype(np.float32)
            assert np.array_equal(own.affine_ras_mm, stored)
            written = on_grid(torch.from_numpy(label_map)[None], grid)
            found[plane, codes] = moved(written, grid_with(PLANES[plane]), mode="nearest")[0]
        assert all(torch.equal(found[plane, c], v) for (p, c), v in found.items() if p == plane)


@pytest.mark.parametrize(
    ("plane", "codes"),
    [
        pytest.param(dicom_series.AXIAL, ("L", "P", "S"), id="axial"),
        pytest.param(dicom_series.SAGITTAL, ("P", "I", "R"), id="sagittal"),
        pytest.param(dicom_series.CORONAL, ("L", "I", "P"), id="coronal"),
    ],
)
def test_a_dicom_series_in_any_plane_gets_the_masks_of_the_same_voxels(tmp_path, plane, codes):
    stored = np.random.default_rng(0).integers(0, 4096, (1, *SHAPE)).astype(np.uint16)
    made = on_grid(torch.from_numpy(stored.astype(np.float32)), grid_with(AXIAL))
    grid = grid_with(AXIAL).reoriented(codes)
    dicom_series.write_series(
        tmp_path / "series",
        voxels=moved(made, grid, mode="nearest")[0].numpy().astype(np.uint16),
        iop=plane,
        spacing_mm=grid.spacing_mm,
        origin_lps_mm=grid.affine_ras_mm[:3, 3] * (-1, -1, 1),
    )
    (series,) = find_series(tmp_path / "series")
    masks, _ = segmented(series)
    expected, _ = segmented(made)
    assert torch.equal(moved(masks, grid_with(AXIAL), mode="nearest"), expected)


# Small and odd volumes


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 9, 4), (7, 1, 1), (5, 3, 2), (13, 17, 1), (11, 12, 3), (31, 6, 2)],
    ids=lambda shape: " x ".join(map(str, shape)),
)
@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 3.0), (0.7, 2.1, 4.0)], ids=["own", "other"])
def test_every_size_gets_masks_of_its_shape(shape, spacing_mm):
    masks, item = segmented(on_grid(values(shape), lpi_grid(shape, spacing_mm)))
    assert masks.shape == (2, *shape)
    assert set(masks.unique().tolist()) <= {0, 1}
    assert item["native"].shape == shape
