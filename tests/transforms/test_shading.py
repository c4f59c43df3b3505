"""Each change of intensity equals its formula, worked out another way."""

import numpy as np
import pytest
import torch
from scipy import stats

from medseg.transforms import shading
from medseg.transforms.draws import still, uniforms, words
from medseg.transforms.shading import shade
from medseg.transforms.slicewise import changed_slices

IMAGE = torch.rand(4, 3, 37, 50, generator=torch.Generator().manual_seed(0))


def slice_by_slice(image, draws):
    return changed_slices(image, torch.zeros(len(image), 0, *image.shape[2:]).byte(), draws)[0]


def as_a_batch(image, draws):
    image = image.clone()
    shade(image, draws)
    return image


@pytest.fixture(params=[slice_by_slice, as_a_batch], ids=["slice by slice", "as a batch"])
def shaded(request):
    """Either way to change intensities, given the columns of the draws that are not neutral."""

    def change(image=IMAGE, **columns):
        draws = still(len(image))._replace(
            **{name: np.broadcast_to(value, len(image)).copy() for name, value in columns.items()}
        )
        return request.param(image, draws)

    return change


def test_gamma_is_a_power(shaded):
    gammas = np.array([0.5, 1.0, 1.3, 2.0])
    expected = np.power(IMAGE.double().numpy(), gammas[:, None, None, None])
    np.testing.assert_allclose(shaded(gamma=gammas), expected, rtol=1e-5)


def test_gamma_takes_what_lies_below_zero_as_zero(shaded):
    assert shaded(torch.tensor([[[[-0.5, 0.25]]]]), gamma=0.5).tolist() == [[[[0.0, 0.5]]]]


def test_contrast_comes_before_brightness(shaded):
    torch.testing.assert_close(shaded(contrast=1.5, brightness=0.1), IMAGE * 1.5 + 0.1)


def test_a_bias_field_is_the_exponential_of_a_polynomial(shaded):
    key = np.arange(4, dtype=np.uint64)
    field = shaded(torch.ones(4, 3, 37, 50), bias=0.4, bias_key=key)
    points = 0.4 * (2 * uniforms(key, 16).reshape(4, 4, 4) - 1)
    # Coefficients of the four pieces of a uniform cubic B-spline, from the third power down.
    basis = np.array([[-1, 3, -3, 1], [3, -6, 0, 4], [-3, 3, 3, 1], [1, 0, 0, 0]]) / 6
    down, right = (
        np.stack([np.polyval(piece, (np.arange(n) + 0.5) / n) for piece in basis]) for n in (37, 50)
    )
    expected = np.exp(np.einsum("bij,ih,jw->bhw", points, down, right))
    for channel in range(3):
        np.testing.assert_allclose(field[:, channel], expected, rtol=1e-5)
    assert np.abs(np.log(expected)).max() < 0.4
    assert np.log(expected).std() > 0.05


def coarse(plane, rows, columns):
    """Keep the nearest of the pixels, and fill linearly between them: pixel by pixel."""
    height, width = plane.shape

    def kept(k, count, length):
        return int(np.floor((k + 0.5) * length / count))

    def between(x, count, length):
        at = max((x + 0.5) * count / length - 0.5, 0)
        low = int(at)
        return kept(low, count, length), kept(min(low + 1, count - 1), count, length), at - low

    out = np.empty_like(plane)
    for y in range(height):
        top, bottom, v = between(y, rows, height)
        for x in range(width):
            left, right, u = between(x, columns, width)
            upper = plane[top, left] * (1 - u) + plane[top, right] * u
            lower = plane[bottom, left] * (1 - u) + plane[bottom, right] * u
            out[y, x] = upper * (1 - v) + lower * v
    return out


def test_low_resolution_equals_a_loop_over_pixels(shaded):
    kept = np.array([1.0, 0.75, 0.5, 0.31])
    found = shaded(resolution=kept)
    for b, share in enumerate(kept):
        for channel in range(3):
            plane = IMAGE[b, channel].double().numpy()
            expected = coarse(plane, round(37 * share), round(50 * share))
            np.testing.assert_allclose(found[b, channel], expected, atol=1e-5)


def test_low_resolution_does_not_shift_the_slice(shaded):
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    found = shaded(ramp, resolution=0.4)
    assert (found - ramp).mean().abs() < 1e-3


def test_noise_is_that_of_the_hash_and_the_quantiles(shaded):
    key = np.array([2**63 + 5], np.uint64)
    found = shaded(torch.zeros(1, 1, 3, 7), noise=0.1, noise_key=key).flatten()
    parts = words(key, 6).view("<u2").ravel()[:21]
    quantiles = stats.norm.ppf((parts + 0.5) / 65536)
    np.testing.assert_allclose(found, 0.1 * quantiles, rtol=2e-4)


def test_noise_is_normal_and_independent(shaded):
    keys = words(np.arange(6, dtype=np.uint64), 1)[:, 0]
    noise = shaded(torch.zeros(6, 3, 64, 64), noise=1.0, noise_key=keys).double().numpy()
    assert noise.mean() == pytest.approx(0, abs=5 / np.sqrt(noise.size))
    assert noise.std() == pytest.approx(1, abs=5 / np.sqrt(2 * noise.size))
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.001
    planes = noise.reshape(18, -1)
    between = np.corrcoef(planes) - np.eye(18)  # samples and channels
    assert np.abs(between).max() < 5 / 64
    flat = noise.ravel()
    for lag in (1, 2, 3, 4, 5, 64, 128, 4096):
        assert abs(np.corrcoef(flat[:-lag], flat[lag:])[0, 1]) < 5 / np.sqrt(flat.size)
        squares = flat**2
        assert abs(np.corrcoef(squares[:-lag], squares[lag:])[0, 1]) < 5 / np.sqrt(flat.size)


def test_the_table_of_normals_is_exact():
    values = shading.normals(torch.device("cpu")).double().numpy()
    assert values.mean() == pytest.approx(0, abs=1e-7)
    assert values.var() == pytest.approx(1, abs=1e-6)
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(values, stats.norm.ppf((np.arange(65536) + 0.5) / 65536), rtol=2e-4)


def test_a_neutral_sample_stays_as_it_is_beside_others(shaded):
    some = [True, False, True, False]
    found = shaded(
        gamma=np.where(some, 0.7, 1),
        bias=np.where(some, 0.2, 0),
        contrast=np.where(some, 1.2, 1),
        brightness=np.where(some, 0.1, 0),
        resolution=np.where(some, 0.5, 1),
        noise=np.where(some, 0.1, 0),
    )
    assert [torch.equal(found[b], IMAGE[b]) for b in range(4)] == [False, True, False, True]
