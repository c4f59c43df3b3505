"""N4: the shading of a coil is divided out, and nothing else is."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everyone calls it
import torch

from medseg.data import read_manifest
from medseg.geometry import lpi_grid
from medseg.io.itk import n4_corrected
from medseg.io.nifti import write_image, write_label_map
from medseg.transforms import on_grid, preprocessing
from medseg.transforms.bias import BiasCorrectiond

SPACING_MM = (4.0, 4.0, 6.0)


def tissues(shape):
    """0 is air, 1 to 3 are ellipses of tissue."""
    i, j, _ = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    body = ((i / 0.8) ** 2 + (j / 0.6) ** 2 < 1) + np.zeros(shape, np.uint8)
    body[np.broadcast_to(((i - 0.2) / 0.4) ** 2 + ((j + 0.1) / 0.3) ** 2 < 1, shape)] = 2
    body[np.broadcast_to(((i + 0.4) / 0.2) ** 2 + (j / 0.25) ** 2 < 1, shape)] = 3
    return body.astype(np.uint8)


def shaded(shape):
    """Tissues of 200, 400 and 700, brighter by half to the left and in front, without noise."""
    i, j, k = np.ogrid[tuple(slice(-1, 1, max(n, 2) * 1j) for n in shape)]
    k = k[..., : shape[2]]
    field = np.exp(0.5 * (0.8 * i + 0.6 * j * np.cos(k) + 0.5 * i * j))
    values = np.array([0, 200, 400, 700])[tissues(shape)]
    return (values * field).astype(np.float32)


def variation(image, body):
    """The coefficient of variation within each tissue."""
    return np.array([image[body == n].std() / image[body == n].mean() for n in (1, 2, 3)])


@pytest.mark.parametrize("slices", [1, 2, 3, 12])
def test_within_a_tissue_the_variation_drops_to_a_fifth(slices):
    shape = (64, 64, slices)
    image, body = shaded(shape), tissues(shape)
    before = variation(image, body)
    corrected = n4_corrected(image, SPACING_MM)
    assert corrected.shape == shape
    assert corrected.dtype == np.float32
    assert (before > [0.15, 0.07, 0.03]).all()
    assert (variation(corrected, body) < before / 5).all()
    means = [corrected[body == n].mean() for n in (1, 2, 3)]
    np.testing.assert_allclose(means / means[0], [1, 2, 3.5], rtol=0.03)
    assert (corrected[body == 0] == 0).all()


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.full((8, 8, 4), 5, np.float32), id="constant"),
        pytest.param(np.zeros((8, 8, 4), np.float32), id="zeros"),
        pytest.param(-shaded((8, 8, 4)), id="nothing above zero"),
        pytest.param(np.full((1, 1, 1), 7, np.float32), id="one voxel"),
        pytest.param(shaded((15, 15, 15)), id="too small to tell"),
    ],
)
def test_what_shows_nothing_is_left_as_it_is(image):
    assert np.array_equal(n4_corrected(image, SPACING_MM), image)


@pytest.mark.parametrize(
    "shape",
    [(2, 1, 1), (16, 16, 1), (64, 1, 20), (1, 40, 17)],
    ids=lambda shape: " x ".join(map(str, shape)),
)
def test_small_and_flat_volumes_stay_finite(shape):
    image = np.random.default_rng(0).uniform(0, 900, shape).astype(np.float32)
    corrected = n4_corrected(image, SPACING_MM)
    assert corrected.shape == shape
    assert np.isfinite(corrected).all()
    assert (corrected <= image * 10.001).all()


def test_values_below_zero_do_not_spoil_the_field():
    image, body = shaded((64, 64, 8)), tissues((64, 64, 8))
    noisy = image + np.where(body == 0, -30, 0).astype(np.float32)
    corrected = n4_corrected(noisy, SPACING_MM)
    assert np.isfinite(corrected).all()
    assert (variation(corrected, body) < variation(image, body) / 5).all()


def test_the_same_image_gives_the_same_bits_however_many_threads_there_were():
    image = shaded((48, 48, 6))
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    first = n4_corrected(image, SPACING_MM)
    assert np.array_equal(first, n4_corrected(np.ascontiguousarray(image.T).T, SPACING_MM))


def test_each_channel_is_corrected_by_itself_and_lies_in_memory_as_before():
    first, second = shaded((32, 24, 3)), np.ones((32, 24, 3), np.float32)
    channels = torch.from_numpy(np.stack([first.T, second.T])).permute(0, 3, 2, 1)
    item = {"image": on_grid(channels, lpi_grid((32, 24, 3), SPACING_MM))}
    image = BiasCorrectiond("image")(item)["image"]
    assert torch.equal(image.affine, item["image"].affine)
    assert np.array_equal(image[0].numpy(), n4_corrected(first, SPACING_MM))
    assert np.array_equal(image[1].numpy(), second)
    assert image.permute(0, 3, 2, 1).is_contiguous()


def test_a_scan_is_prepared_for_training_as_for_inference(tmp_path):
    shape, grid = (48, 50, 6), lpi_grid((48, 50, 6), SPACING_MM)
    labels = read_manifest("uwmgi").labels
    write_image(tmp_path / "image.nii.gz", shaded(shape), grid)
    write_label_map(tmp_path / "label.nii.gz", tissues(shape), grid, labels)
    options = {"organs": labels.names, "roi_px": (52, 48), "spacing_mm": SPACING_MM}
    item = {"image": tmp_path / "image.nii.gz", "label": tmp_path / "label.nii.gz"}
    corrected = preprocessing(bias_correction=True, **options)(item)
    alone = preprocessing(("image",), bias_correction=True, **options)({"image": item["image"]})
    assert torch.equal(corrected["image"].as_tensor(), alone["image"].as_tensor())
    as_it_is = preprocessing(**options)(item)
    assert torch.equal(corrected["label"].as_tensor(), as_it_is["label"].as_tensor())
    body = corrected["label"].as_tensor().numpy().argmax(0) + corrected["label"].numpy().any(0)
    before, after = (variation(each["image"].numpy()[0], body) for each in (as_it_is, corrected))
    assert (after[:2] < before[:2] / 2).all()
