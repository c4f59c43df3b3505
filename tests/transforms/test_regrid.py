"""From one grid to another: exact where it can be, like scipy's interpolation where it cannot."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medseg.errors import GeometryError
from medseg.geometry import Grid, lpi_grid
from medseg.transforms import regrid

SHAPE = (5, 7, 4)
GRID = lpi_grid(SHAPE, (1.5, 1.5, 3.0))
ORIENTATIONS = [
    tuple(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for signs in product((0, 1), repeat=3)
]


def numbered(shape=SHAPE, channels=1):
    """Return a volume whose voxels all differ."""
    return torch.arange(channels * np.prod(shape), dtype=torch.float32).reshape(channels, *shape)


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("codes", [pytest.param(c, id="".join(c)) for c in ORIENTATIONS])
def test_every_voxel_stays_at_its_millimetre_in_every_orientation(codes):
    volume, target = numbered(), GRID.reoriented(codes)
    turned = regrid(volume, GRID, target, mode="linear")
    order = turned[0].flatten().argsort()
    mm = target.to_ras_mm(np.indices(target.shape).reshape(3, -1).T[order])
    np.testing.assert_allclose(mm, GRID.to_ras_mm(np.indices(SHAPE).reshape(3, -1).T), atol=1e-9)
    assert torch.equal(regrid(turned, target, GRID, mode="linear"), volume)


def test_a_crop_is_a_view():
    volume = numbered()
    part = regrid(volume, GRID, GRID.boxed((1, 2, 0), (3, 4, 4)), mode="linear")
    assert torch.equal(part, volume[:, 1:4, 2:6])
    assert part.untyped_storage().data_ptr() == volume.untyped_storage().data_ptr()


def test_what_lies_outside_is_filled():
    wide = regrid(numbered(), GRID, GRID.boxed((-2, 0, -1), (8, 7, 5)), mode="linear", fill=-1)
    assert torch.equal(wide[:, 2:7, :, 1:], numbered())
    assert (wide[:, :2] == -1).all()
    assert (wide[:, 7:] == -1).all()
    assert (wide[..., 0] == -1).all()


def test_a_grid_far_away_is_all_fill():
    far = regrid(numbered(), GRID, GRID.boxed((100, 0, 0), SHAPE), mode="nearest", fill=3)
    assert far.shape == (1, *SHAPE)
    assert (far == 3).all()


def test_crop_and_pad_there_and_back_is_exact_where_both_overlap():
    box = GRID.boxed((-3, 2, 1), (9, 4, 6))
    there = regrid(numbered(channels=2), GRID, box, mode="linear")
    back = regrid(there, box, GRID, mode="linear", fill=-1)
    expected = torch.full_like(back, -1)
    expected[:, :, 2:6, 1:] = numbered(channels=2)[:, :, 2:6, 1:]
    assert torch.equal(back, expected)


def random_target(rng):
    """Return a grid with other spacing, offset, axis order and directions, partly outside."""
    spacing = rng.uniform(0.7, 4.0, 3)
    shape = tuple(int(n) for n in rng.integers(3, 12, 3))
    affine = np.diag([*(-spacing), 1.0])
    affine[:3, 3] = GRID.to_ras_mm(rng.uniform(-1.5, 2.0, 3))
    return Grid(shape, affine).reoriented(ORIENTATIONS[rng.integers(48)])


@pytest.mark.parametrize("seed", [pytest.param(s, id=f"grid {s}") for s in range(12)])
def test_linear_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    target = random_target(rng)
    values = rng.normal(size=SHAPE).astype(np.float32)
    found = regrid(torch.from_numpy(values)[None], GRID, target, mode="linear", fill=9.0)[0]
    mm = target.to_ras_mm(np.indices(target.shape).reshape(3, -1).T)
    ijk = (np.linalg.inv(GRID.affine_ras_mm) @ np.c_[mm, np.ones(len(mm))].T)[:3]
    inside = ((ijk >= -0.5) & (ijk <= np.array(SHAPE)[:, None] - 0.5)).all(0)
    expected = np.where(inside, map_coordinates(values, ijk, order=1, mode="nearest"), 9.0)
    np.testing.assert_allclose(found.numpy().ravel(), expected, atol=1e-5)
    assert inside.any()


def test_nearest_takes_the_closest_voxel_and_keeps_the_type():
    masks = (numbered() % 3 == 0).byte()
    fine = regrid(masks, GRID, GRID.resampled((0.5, 0.5, 1.0)), mode="nearest")
    assert fine.dtype == torch.uint8
    assert torch.equal(
        fine, masks.repeat_interleave(3, 1).repeat_interleave(3, 2).repeat_interleave(3, 3)
    )


def test_nearest_settles_ties_upwards():
    row = numbered((4, 1, 1))
    grid = lpi_grid((4, 1, 1), (1.0, 1.0, 1.0))
    # Voxels twice as long: their centres lie between 0 and 1, and between 2 and 3.
    coarse = regrid(row, grid, grid.resampled((2.0, 1.0, 1.0)), mode="nearest")
    assert coarse.flatten().tolist() == [1, 3]


def test_linear_turns_integers_into_floats():
    grid = lpi_grid((2, 1, 1), (1.0, 1.0, 1.0))
    halved = regrid(
        torch.tensor([0, 8], dtype=torch.uint8).view(1, 2, 1, 1),
        grid,
        grid.resampled((0.5, 1.0, 1.0)),
        mode="linear",
    )
    assert halved.flatten().tolist() == [0, 2, 6, 8]


def test_half_precision_stays():
    fine = regrid(numbered().half(), GRID, GRID.resampled((1.0, 1.0, 2.0)), mode="linear")
    assert fine.dtype == torch.float16


MEMORY = [
    pytest.param((0, 1, 2, 3), id="columns first"),
    pytest.param((0, 3, 2, 1), id="slices first"),
    pytest.param((3, 0, 2, 1), id="channels last"),
]


def laid_out(values, order):
    """Return the same values with the axes in memory in `order`, slowest first."""
    return values.permute(order).contiguous().permute(tuple(np.argsort(order)))


@pytest.mark.parametrize("seed", [pytest.param(s, id=f"grid {s}") for s in range(20, 26)])
@pytest.mark.parametrize("order", MEMORY)
def test_kernel_and_torch_agree(order, seed):
    rng = np.random.default_rng(seed)
    target = random_target(rng)
    volume = laid_out(torch.from_numpy(rng.normal(size=(3, *SHAPE))), order)
    by_torch = regrid(volume, GRID, target, mode="linear", fill=-1)  # no kernel takes float64
    by_kernel = regrid(volume.float(), GRID, target, mode="linear", fill=-1)
    assert by_kernel.dtype == torch.float32
    torch.testing.assert_close(
        by_kernel.double(), by_torch, rtol=0, atol=1e-5 * float(np.ptp(volume.numpy()))
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.bool])
@pytest.mark.parametrize("seed", [pytest.param(s, id=f"grid {s}") for s in range(30, 34)])
@pytest.mark.parametrize("order", MEMORY)
def test_kernel_and_torch_take_the_same_voxels(order, seed, dtype):
    rng = np.random.default_rng(seed)
    target = random_target(rng)
    masks = laid_out(torch.from_numpy(rng.integers(0, 2, (2, *SHAPE))).to(dtype), order)
    by_kernel = regrid(masks, GRID, target, mode="nearest", fill=1)
    assert by_kernel.dtype == dtype
    by_torch = regrid(masks.short(), GRID, target, mode="nearest", fill=1)
    assert torch.equal(by_kernel.short(), by_torch)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_an_axis_that_agrees_is_copied(axis, mode):
    spacing = [1.0, 1.0, 2.0]
    spacing[axis] = GRID.spacing_mm[axis]
    line = numbered().mul(0).add(torch.rand(SHAPE[axis]).view([-1, *([1] * (2 - axis))]))
    found = regrid(line, GRID, GRID.resampled(tuple(spacing)), mode=mode)
    assert torch.allclose(found.select(1 + axis, 2), line.select(1 + axis, 2)[0, 0, 0], atol=1e-7)


def test_gradients_pass_through():
    volume = numbered().requires_grad_()
    fine = regrid(volume, GRID, GRID.resampled((1.0, 1.2, 3.0)), mode="linear")
    fine.sum().backward()
    # Weights of a sample sum to one, so all gradients together count the samples.
    assert volume.grad.sum().item() == pytest.approx(fine.numel())


@pytest.mark.parametrize("count", [pytest.param(0, id="no masks"), pytest.param(1, id="one")])
def test_a_single_slice_and_no_masks_pass(count):
    grid = lpi_grid((6, 4, 1), (1.63, 1.63, 3.0))
    found = regrid(
        torch.ones(count, 6, 4, 1, dtype=torch.uint8),
        grid,
        grid.resampled((1.5, 1.5, 3.0)),
        mode="nearest",
    )
    assert found.shape == (count, 7, 4, 1)
    assert found.all()


def test_the_order_in_memory_is_kept():
    slices_first = torch.zeros(2, 4, 7, 5).permute(0, 3, 2, 1)
    for target in (GRID.resampled((1.0, 1.2, 3.0)), GRID.boxed((-1, -1, 0), (9, 9, 4))):
        moved = regrid(slices_first, GRID, target, mode="linear")
        assert moved.shape == (2, *target.shape)
        assert moved.permute(0, 3, 2, 1).is_contiguous()


def test_noise_of_a_float32_header_is_no_shift():
    noisy = GRID.affine_ras_mm.copy()
    noisy[:3, 3] += 2e-5
    volume = numbered()
    assert torch.equal(regrid(volume, GRID, Grid(SHAPE, noisy), mode="linear"), volume)


def test_grids_that_are_turned_to_each_other_are_refused():
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    with pytest.raises(GeometryError, match="axes are not parallel"):
        regrid(numbered(), GRID, Grid(SHAPE, turn @ GRID.affine_ras_mm), mode="linear")
