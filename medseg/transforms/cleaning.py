"""Rules that make masks better than the network left them, organ by organ.

Sizes are in mm and ml, so that they mean the same on every grid. *Slices* are those that the
network saw: they lie one behind the other along the axis of the grid that is nearest to the
body's head-feet axis, wherever that axis stands in the array; a scan that is turned is cleaned as
it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medseg.geometry import Grid
from medseg.transforms.cleaning_rules import Rules, checked

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

# Of the Gaussian, in standard deviations: beyond lies a quarter of a percent.
_TRUNCATE = 3.0
# What rounding may do to a sum that is one half.
_ROUNDING = 1e-5
_TOUCHING = np.ones((3, 3, 3), bool)
# Neighbours along rows and columns of one slice.
_IN_SLICE = np.zeros((3, 3, 3), bool)
_IN_SLICE[1] = ndimage.generate_binary_structure(2, 1)


class Cleaning:
    """Clean masks by the rules of each organ; without rules they stay as they are.

    The rules of an organ, in the order in which they are applied:

    - ``threshold``: the probability above which a voxel is organ, in place of one half. It is
      applied where logits become masks: see `medseg.transforms.postprocess.masks_of`.
    - ``smooth_mm``: the mask is blurred by a Gaussian of this standard deviation, in all three
      directions, and is where one half is reached. Beyond the scan's border its outermost voxels
      go on.
    - ``bridge_mm``: empty slices between two with the organ are filled where together they are at
      most as thick, by interpolation of the signed distances to both outlines. A gap that the
      interpolation would not close, as both sides have nothing in common, stays.
    - ``fill_holes``: background that is enclosed within its slice becomes organ. Enclosed is what
      no path along rows and columns joins to the slice's border.
    - ``largest``: only so many connected parts stay, the largest, and all that are as large as the
      last of them. Parts are connected where voxels share a face, an edge or a corner.
    - ``min_ml``: parts of a smaller volume are removed.
    - ``contiguous``: of all runs of consecutive slices with the organ only that of the largest
      volume stays; of equal ones that nearest to the head.

    A rule that adds voxels adds none that another organ had before.

    Args:
        organs: The organs in channel order.
        rules: Values by rule for any of the organs; null and false leave a rule out.

    Raises:
        UsageError: There is no such organ or rule, or a value has no meaning.
    """

    def __init__(self, organs: Sequence[str], *, rules: Rules) -> None:
        self.organs, self.rules = tuple(organs), checked(organs, rules)

    @property
    def thresholds(self) -> tuple[float | None, ...]:
        """The threshold of each organ, None where it has none; empty where none has one."""
        found = tuple(self.rules.get(name, {}).get("threshold") for name in self.organs)
        return found if any(found) else ()

    def __call__(self, masks: Tensor, grid: Grid) -> Tensor:
        """Return masks ``(organs, I, J, K)`` uint8 on the CPU cleaned; `masks` stay as they are."""
        found = masks
        for channel, name in enumerate(self.organs):
            if self.rules.get(name, {}).keys() - {"threshold"}:
                found = masks.clone() if found is masks else found
                own = cleaned(masks.numpy(), channel, rules=self.rules[name], grid=grid)
                found[channel] = torch.from_numpy(own)
        return found


def cleaned(
    masks: NDArray[np.uint8], channel: int, *, rules: Mapping[str, Any], grid: Grid
) -> NDArray[np.uint8]:
    """Return the mask ``(I, J, K)`` of one organ cleaned by its rules, but for the threshold.

    Args:
        masks: ``(organs, I, J, K)`` of 0 and 1: of all organs, as they were.
        channel: The organ.
        rules: The values of `Cleaning`'s rules.
        grid: The grid of the masks.
    """
    found: NDArray[np.uint8] = masks[channel].copy(order="K")
    reach = [smoothing_reach_vox(rules.get("smooth_mm", 0), mm) for mm in grid.spacing_mm]
    box = box_of(found.view(bool), reach)
    if box is None:
        return found
    order, step = _slices_first(grid)
    spacing_mm = [grid.spacing_mm[axis] for axis in order]

    def turned(mask: Mask) -> Mask:
        return np.ascontiguousarray(mask[box].transpose(order)[::step])

    before = turned(found.view(bool))
    after = _with_added(before, rules, spacing_mm)
    if after is not before:
        other = np.zeros_like(before)
        for index in range(len(masks)):
            other |= turned(masks[index].view(bool)) if index != channel else False
        after &= before | ~other
    after = _without_parts(after, rules, float(np.prod(spacing_mm)) / 1000)
    if rules.get("contiguous"):
        after = _heaviest_run(after)
    found[box] = after[::step].transpose(np.argsort(order))
    return found


def smoothing_reach_vox(smooth_mm: float, spacing_mm: float) -> int:
    """Return how far smoothing looks along an axis of this spacing, in voxels."""
    return int(_TRUNCATE * smooth_mm / spacing_mm + 0.5)


def box_of(mask: Mask, margin_vox: Sequence[int] = (0, 0, 0)) -> Box | None:
    """Return the box around a mask ``(I, J, K)`` with a margin inside the array; None if empty."""
    found: list[slice] = [slice(None)] * 3
    for axis in (2, 1, 0):  # slices first: that is how they lie in memory
        others = tuple(other for other in range(3) if other != axis)
        held = np.flatnonzero(mask[tuple(found)].any(axis=others))
        if not len(held):
            return None
        # What is cut off already holds nothing: the margin is added at the end.
        found[axis] = slice(int(held[0]), int(held[-1]) + 1)
    i, j, k = (
        slice(max(0, cut.start - margin), min(size, cut.stop + margin))
        for cut, margin, size in zip(found, margin_vox, mask.shape, strict=True)
    )
    return i, j, k


def _slices_first(grid: Grid) -> tuple[list[int], int]:
    """Return the axes with that of the slices in front, and the step that goes to the feet."""
    codes = grid.axis_codes
    along = next(axis for axis, code in enumerate(codes) if code in "IS")
    others = [axis for axis in (2, 1, 0) if axis != along]
    return [along, *others], 1 if codes[along] == "I" else -1


def _with_added(mask: Mask, rules: Mapping[str, Any], spacing_mm: Sequence[float]) -> Mask:
    """Return the mask ``(slices, rows, columns)`` after the rules that may add to it."""
    if smooth_mm := rules.get("smooth_mm"):
        sigma = np.divide(smooth_mm, spacing_mm)
        blurred = ndimage.gaussian_filter(
            mask.astype(np.float32), sigma, mode="nearest", truncate=_TRUNCATE
        )
        mask = blurred >= 0.5 - _ROUNDING
    if bridge_mm := rules.get("bridge_mm"):
        mask = _bridged(mask, bridge_mm, spacing_mm)
    if rules.get("fill_holes"):
        mask = _filled(mask)
    return mask


def _bridged(mask: Mask, bridge_mm: float, spacing_mm: Sequence[float]) -> Mask:
    runs = list(_runs(mask))
    mask = mask.copy()
    for (_, first), (last, _) in pairwise(runs):
        gap = last - first
        if gap * spacing_mm[0] > bridge_mm * (1 + _ROUNDING):
            continue
        one, other = (_inside_mm(mask[k], spacing_mm[1:]) for k in (first - 1, last))
        steps = np.arange(1, gap + 1)[:, None, None]
        between = (gap + 1 - steps) * one + steps * other > _ROUNDING
        if between.any(axis=(1, 2)).all():
            mask[first:last] = between
    return mask


def _inside_mm(mask: Mask, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Return the distance to the outline of a mask ``(rows, columns)``, negative outside."""
    framed = np.pad(mask, 1)
    inner = ndimage.distance_transform_edt(framed, spacing_mm)
    outer = ndimage.distance_transform_edt(~framed, spacing_mm)
    distances: NDArray[np.float64] = (inner - outer)[1:-1, 1:-1]
    return distances


def _filled(mask: Mask) -> Mask:
    regions, count = ndimage.label(~mask, _IN_SLICE)
    outside = np.zeros(count + 1, bool)
    for border in (regions[:, 0], regions[:, -1], regions[:, :, 0], regions[:, :, -1]):
        outside[border] = True
    outside[0] = False
    filled: Mask = ~outside[regions]
    return filled


def _without_parts(mask: Mask, rules: Mapping[str, Any], voxel_ml: float) -> Mask:
    most, least_ml = rules.get("largest"), rules.get("min_ml", 0)
    if not most and not least_ml:
        return mask
    parts, count = ndimage.label(mask, _TOUCHING)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    least = np.sort(sizes[1:])[-most] if most and most <= count else 1
    kept = (sizes >= max(least, 1)) & (sizes * voxel_ml >= least_ml * (1 - _ROUNDING))
    stays: Mask = kept[parts]
    return stays


def _heaviest_run(mask: Mask) -> Mask:
    runs = list(_runs(mask))
    kept = np.zeros_like(mask)
    if runs:
        first, stop = max(runs, key=lambda run: np.count_nonzero(mask[slice(*run)]))
        kept[first:stop] = mask[first:stop]
    return kept


def _runs(mask: Mask) -> Iterator[tuple[int, int]]:
    """Yield the first and the one after the last of each run of slices that hold something."""
    held = np.concatenate([[False], mask.any(axis=(1, 2)), [False]])
    edges = np.flatnonzero(held[1:] != held[:-1])
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
