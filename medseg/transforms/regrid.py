"""From one grid to another whose axes are parallel: permute, flip, crop, pad, interpolate.

Axes are treated one at a time. Where a target axis runs through the source voxel by voxel, the
values are copied exactly; only axes with another spacing, or shifted by part of a voxel, are
interpolated: on a CPU by the kernels of `interpolate`, elsewhere by torch, with results that agree
to 1e-5 of the range of values. The same function takes a scan to the network's grid and a
prediction back.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.geometry import AxisMap, Grid, axis_maps
from medseg.transforms.interpolate import Index, between, blended, closest, picked

Mode = Literal["linear", "nearest"]

# Affines pass through float32 headers, which leaves some 1e-5 voxels of noise in an exact shift.
_TOLERANCE_VOX = 1e-3


class Line(NamedTuple):
    """One target axis: where its samples lie along a source axis, which of them are inside.

    Target samples ``first`` to ``stop`` lie in the source or within half a voxel of it, at
    `at_vox`, clamped to the source's voxel centres; the others are outside.
    """

    source_axis: int
    at_vox: NDArray[np.float64]
    first: int
    stop: int
    length: int
    exact: bool


def regrid(volume: Tensor, source: Grid, target: Grid, *, mode: Mode, fill: float = 0.0) -> Tensor:
    """Return the values of a volume on another grid with parallel axes.

    Args:
        volume: Values on `source`, ``(C, I, J, K)``, on any device. Any order of the axes in
            memory is kept.
        source: The grid of `volume`.
        target: The grid wanted.
        mode: ``linear`` interpolates along each axis, and turns integers into float32;
            ``nearest`` takes the closest voxel, the higher index where two are equally close.
        fill: The value of samples more than half a voxel outside the source. Closer ones take
            the value at the edge.

    Returns:
        ``(C, *target.shape)``. A view of `volume` where the target is just a crop of the source.

    Raises:
        GeometryError: The grids' axes are not parallel.
    """
    volume = volume.as_subclass(Tensor)
    through = lines_through(source, target)
    # Work in the order of memory, slowest axis first, so that slices stay contiguous.
    order = sorted(range(3), key=lambda t: -volume.stride(1 + through[t].source_axis))
    lines = [through[t] for t in order]
    volume = volume.permute(0, *(1 + line.source_axis for line in lines))
    shape = (volume.shape[0], *(line.length for line in lines))
    if all(line.stop > line.first for line in lines):
        volume = _padded(sampled(volume, lines, mode), lines, shape, fill)
    else:
        volume = _filled(shape, volume, fill)
    return volume.permute(0, *(1 + order.index(t) for t in range(3)))


def lines_through(source: Grid, target: Grid) -> tuple[Line, Line, Line]:
    """Return how each axis of `target` runs through `source`.

    Raises:
        GeometryError: The grids' axes are not parallel.
    """
    i, j, k = (
        _line(axis, source.shape[axis.source_axis], length)
        for axis, length in zip(axis_maps(source, target), target.shape, strict=True)
    )
    return i, j, k


def _line(axis: AxisMap, size: int, length: int) -> Line:
    at = axis.scale * np.arange(length) + axis.offset
    # Over the whole axis, not per voxel: a spacing that differs by little drifts.
    whole = np.rint(at)
    exact = bool(np.abs(at - whole).max(initial=0) < _TOLERANCE_VOX and _is_unit(axis.scale))
    at = whole if exact else at
    inside = np.flatnonzero((at >= -0.5 - _TOLERANCE_VOX) & (at <= size - 0.5 + _TOLERANCE_VOX))
    first, stop = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    return Line(axis.source_axis, at[first:stop].clip(0, size - 1), first, stop, length, exact)


def _is_unit(scale: float) -> bool:
    return abs(abs(scale) - 1) < _TOLERANCE_VOX


def sampled(volume: Tensor, lines: Sequence[Line], mode: Mode) -> Tensor:
    """Return the samples that lie inside, axis by axis; exact axes first, as they only slice.

    Args:
        volume: Values ``(C, ...)`` with the source axes in the order of `lines`.
        lines: How the target runs through them; none is empty.
        mode: As for `regrid`.
    """
    volume = _sliced(volume, lines)
    if all(line.exact for line in lines):
        return volume
    if volume.device.type == "cpu" and not volume.requires_grad:
        if mode == "linear" and volume.dtype != torch.float64:
            dtype = volume.dtype if volume.is_floating_point() else torch.float32
            return _by_kernel(volume.float(), lines, between, blended).to(dtype)
        if mode == "nearest" and volume.element_size() == 1:
            return _by_kernel(volume.view(torch.uint8), lines, closest, picked).view(volume.dtype)
    for dim, line in enumerate(lines, 1):
        if not line.exact:
            volume = _interpolated(volume, dim, line.at_vox, mode)
    return volume


def _sliced(volume: Tensor, lines: Sequence[Line]) -> Tensor:
    flips = []
    for dim, line in enumerate(lines, 1):
        if line.exact:
            begin, end = sorted((int(line.at_vox[0]), int(line.at_vox[-1])))
            volume = volume.narrow(dim, begin, end - begin + 1)
            if line.at_vox[0] > line.at_vox[-1]:
                flips.append(dim)
    return volume.flip(flips) if flips else volume


def _by_kernel(
    volume: Tensor,
    lines: Sequence[Line],
    place: Callable[[NDArray[np.float64], int], Any],
    sample: Callable[[NDArray[Any], Any, Any], NDArray[Any]],
) -> Tensor:
    """Return `volume` sampled along the outermost axis first, then along rows and columns."""
    values = np.ascontiguousarray(volume.numpy())
    channels, *sizes = values.shape
    outer, rows, columns = (
        place(np.arange(size, dtype=float) if line.exact else line.at_vox, size)
        for line, size in zip(lines, sizes, strict=True)
    )
    if not lines[0].exact:
        whole = sizes[1] * sizes[2]
        as_rows = values.reshape(channels, sizes[0], whole)
        values = sample(as_rows, outer, place(np.arange(whole, dtype=float), whole))
    if not (lines[1].exact and lines[2].exact):
        values = sample(values.reshape(-1, *sizes[1:]), rows, columns)
    return torch.from_numpy(values.reshape(channels, *(len(line.at_vox) for line in lines)))


def _interpolated(volume: Tensor, dim: int, at_vox: NDArray[np.float64], mode: Mode) -> Tensor:
    if mode == "nearest":
        return volume.index_select(dim, _index(closest(at_vox, volume.shape[dim]), volume))
    volume = volume if volume.is_floating_point() else volume.float()
    at = between(at_vox, volume.shape[dim])
    weight = _sent(at.weight, volume).to(volume.dtype)
    weight = weight.view([-1 if d == dim else 1 for d in range(volume.ndim)])
    low = volume.index_select(dim, _index(at.low, volume))
    return torch.lerp(low, volume.index_select(dim, _index(at.high, volume)), weight)


def _index(positions: Index, like: Tensor) -> Tensor:
    return _sent(positions.astype(np.int64), like)


def _sent(numbers: NDArray[Any], like: Tensor) -> Tensor:
    """Return numbers as a tensor on the device of another, which is not waited for."""
    return torch.from_numpy(numbers).to(like.device, non_blocking=True)


def _padded(inner: Tensor, lines: list[Line], shape: tuple[int, ...], fill: float) -> Tensor:
    if inner.shape == shape:
        return inner
    padded = _filled(shape, inner, fill)
    padded[:, *(slice(line.first, line.stop) for line in lines)] = inner
    return padded


def _filled(shape: tuple[int, ...], like: Tensor, fill: float) -> Tensor:
    n_bytes = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or n_bytes == 0:
        return like.new_full(shape, fill)
    # NumPy asks the system for large pages, clean ones: a third of the time that torch takes.
    zeros = torch.from_numpy(np.zeros(n_bytes, np.uint8)).view(like.dtype).view(shape)
    return zeros.fill_(fill) if fill else zeros
