"""The volumes that the viewer is served are the originals, voxel for voxel and in their place."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from PIL import Image
from predicted_folder import MISSED, moved, predicted

from medseg.data import read_manifest, read_scans
from medseg.data.label_files import LabelFiles, read_reference
from medseg.errors import DataError, GeometryError
from medseg.geometry import Grid, lpi_grid
from medseg.io.nifti import write_image, write_label_map, write_mask
from medseg.report.viewer_cases import Case, find_cases
from medseg.report.viewer_volumes import Volumes

MANIFEST = read_manifest("uwmgi")
LABELS = MANIFEST.labels
GRID = lpi_grid((6, 5, 4), (1.5, 1.25, 3.0))


@pytest.fixture(scope="module")
def phantom(tiny_phantom, tmp_path_factory):
    """The scans, the cases and their volumes of predictions of the tiny phantom."""
    folder = tmp_path_factory.mktemp("predictions")
    scans = predicted(folder, tiny_phantom)
    cases = find_cases(folder, MANIFEST, images=tiny_phantom, reference=tiny_phantom)
    return list(scans.values()), Volumes(cases, LABELS)


def opened(data):
    """Return voxels and affine as nibabel reads them from compressed bytes."""
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    return np.asanyarray(image.dataobj), image.affine


def one_case(tmp_path, *, voxels=None, grid=GRID, mask_grid=GRID, label_map=None):
    """Return the volumes of a case `a`: an image, or none, and a label map as prediction."""
    image = None
    if voxels is not None:
        image = tmp_path / "a.nii.gz"
        write_image(image, voxels, grid)
    label_map = np.zeros(mask_grid.shape, np.uint8) if label_map is None else label_map
    write_label_map(tmp_path / "pred.nii.gz", label_map, mask_grid, LABELS)
    files = LabelFiles("a", tmp_path / "pred.nii.gz")
    return Volumes([Case("a", image, None, files, ())], LABELS)


@pytest.mark.parametrize("number", [pytest.param(0, id="first"), pytest.param(3, id="other size")])
def test_a_scan_of_slices_is_their_stack_on_the_scans_own_grid(phantom, number):
    scans, volumes = phantom
    voxels, affine = opened(volumes.image(number))
    stack = np.stack([np.asarray(Image.open(file)) for file in scans[number].slice_files])
    assert voxels.dtype.itemsize == 2
    np.testing.assert_array_equal(voxels, stack.transpose(2, 1, 0))
    np.testing.assert_allclose(affine, scans[number].grid.affine_ras_mm, rtol=1e-6)
    assert nibabel.aff2axcodes(affine) == ("L", "P", "I")


@pytest.mark.parametrize("organ", [pytest.param(name, id=name) for name in LABELS.names])
def test_masks_are_the_labels_and_the_predictions(phantom, organ):
    scans, volumes = phantom
    number, scan = 4, scans[4]
    truth = read_reference(scan, LABELS).masks[LABELS.channel(organ)]
    assert truth.any()
    for kind, mask in (("truth", truth), ("pred", moved(truth, number))):
        voxels, affine = opened(volumes.mask(number, kind, organ))
        np.testing.assert_array_equal(voxels, mask.astype(np.uint8))
        np.testing.assert_allclose(affine, scan.grid.affine_ras_mm, rtol=1e-6)


def test_a_missed_organ_is_an_empty_mask_without_surface(phantom):
    scans, volumes = phantom
    number = next(n for n, scan in enumerate(scans) if scan.scan_id == MISSED)
    assert not opened(volumes.mask(number, "pred", "large_bowel"))[0].any()
    assert volumes.surface(number, "pred", "large_bowel")[4:12] == bytes(8)
    assert opened(volumes.mask(number, "truth", "large_bowel"))[0].any()


def test_a_surface_lies_around_its_mask(phantom):
    scans, volumes = phantom
    data = volumes.surface(1, "truth", "stomach")
    _, _, faces, n, _ = struct.unpack_from("<2sHIII", data)
    vertices = np.frombuffer(data, "<f4", 3 * n, 16 + 12 * faces).reshape(n, 3)
    mask = read_reference(scans[1], LABELS).masks[LABELS.channel("stomach")]
    places = scans[1].grid.to_ras_mm(np.argwhere(mask))
    # Between the centres of the outermost voxels and those of their neighbours.
    voxel_mm = np.array(scans[1].grid.spacing_mm) + 1e-3
    for sign in (-1, 1):
        beyond = (sign * vertices).max(axis=0) - (sign * places).max(axis=0)
        assert (beyond > 0).all()
        assert (beyond < voxel_mm).all()


def test_a_label_map_is_parted_by_code(tmp_path):
    label_map = np.zeros(GRID.shape, np.uint8)
    label_map[1, 2, 3], label_map[4, 0, 0] = LABELS.organs[0].code, LABELS.organs[2].code
    volumes = one_case(tmp_path, label_map=label_map)
    found = [np.argwhere(opened(volumes.mask(0, "pred", name))[0]) for name in LABELS.names]
    assert [places.tolist() for places in found] == [[[1, 2, 3]], [], [[4, 0, 0]]]


def test_overlapping_masks_stay_whole(tmp_path):
    mask = np.zeros(GRID.shape, bool)
    mask[2] = True
    files = LabelFiles("a")
    for name in LABELS.names:
        files.masks[name] = tmp_path / f"a_{name}.nii.gz"
        write_mask(files.masks[name], mask, GRID, organ=name)
    volumes = Volumes([Case("a", None, None, files, ())], LABELS)
    for name in LABELS.names:
        np.testing.assert_array_equal(opened(volumes.mask(0, "pred", name))[0], mask)


@pytest.mark.parametrize(
    ("voxels", "dtype"),
    [
        pytest.param([0.0, 1.5, 2.0], np.float32, id="fractions"),
        pytest.param([-32768.0, 0.0, 32767.0], np.int16, id="small whole numbers"),
        pytest.param([0.0, 1.0, 65535.0], np.uint16, id="large whole numbers"),
        pytest.param([0.0, 1.0, 65536.0], np.float32, id="whole numbers too large for 16 bits"),
        pytest.param([-1.0, 0.0, 32768.0], np.float32, id="a wider range than 16 bits"),
    ],
)
def test_an_image_keeps_its_numbers(tmp_path, voxels, dtype):
    image = np.resize(np.array(voxels, np.float32), GRID.shape)
    served, affine = opened(one_case(tmp_path, voxels=image).image(0))
    assert served.dtype == dtype
    np.testing.assert_array_equal(served, image)
    np.testing.assert_allclose(affine, GRID.affine_ras_mm, rtol=1e-6)


def test_masks_come_on_the_images_grid_however_they_were_stored(tmp_path):
    turned = GRID.reoriented(("A", "S", "R"))
    label_map = np.zeros(turned.shape, np.uint8)
    label_map[1, 2, 3] = 3
    place_mm = turned.to_ras_mm([1, 2, 3])
    volumes = one_case(
        tmp_path, voxels=np.ones(GRID.shape, np.float32), mask_grid=turned, label_map=label_map
    )
    voxels, affine = opened(volumes.mask(0, "pred", LABELS.names[2]))
    np.testing.assert_allclose(affine, GRID.affine_ras_mm, rtol=1e-6)
    np.testing.assert_allclose(GRID.to_ras_mm(np.argwhere(voxels)), [place_mm], atol=1e-9)


def test_without_an_image_the_background_is_empty_on_the_masks_grid(tmp_path):
    voxels, affine = opened(one_case(tmp_path).image(0))
    assert voxels.shape == GRID.shape
    assert not voxels.any()
    np.testing.assert_allclose(affine, GRID.affine_ras_mm, rtol=1e-6)


def test_masks_of_another_place_are_refused(tmp_path):
    shifted = Grid(GRID.shape, GRID.affine_ras_mm + np.outer([1, 0, 0, 0], [0, 0, 0, 1]))
    volumes = one_case(tmp_path, voxels=np.ones(GRID.shape, np.float32), mask_grid=shifted)
    volumes.image(0)
    with pytest.raises(GeometryError, match=r"E-GRID.*a, pred: lies 1\.000 mm off"):
        volumes.mask(0, "pred", "stomach")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match=r"E-MISSING.*a: has no truth"):
        one_case(tmp_path).mask(0, "truth", "stomach")


def test_a_slice_of_another_size_is_told(kaggle):
    (scan,) = read_scans(kaggle.add("case1_day0").save(), MANIFEST)
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(scan.slice_files[1])
    with pytest.raises(DataError, match=r"E-SIZE.*3 x 3 pixels"):
        Volumes([Case(scan.scan_id, scan, scan, None, ())], LABELS).image(0)


def test_the_same_volume_is_made_once(phantom):
    _, volumes = phantom
    assert volumes.image(2) is volumes.image(2)
    assert volumes.mask(2, "pred", "stomach") is volumes.mask(2, "pred", "stomach")
    assert volumes.mask(2, "pred", "stomach") != volumes.mask(2, "truth", "stomach")
