"""Where the pixels of slices go: flips, an affine map and a bend, in one interpolation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from medseg.transforms.draws import Draws, spread
from medseg.transforms.sending import sent
from medseg.transforms.spline import control_shape, enlarged

ELASTIC_SPACING_PX = (32, 32)
# Below 0.48 of the spacing no two pixels change places (Choi & Lee 2000, Graphical Models 62(1)).
ELASTIC_LIMIT_PX = 15


def warped(image: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return images ``(B, C, H, W)`` and masks ``(B, K, H, W)`` with their pixels moved.

    Images are interpolated linearly, masks take the nearest pixel, and what comes in from outside
    is zero. A sample that is only flipped, or left alone, is copied exactly.
    """
    moves = draws.moves
    out = torch.empty_like(image), torch.empty_like(masks)
    if moves.any():
        grid = _grid(draws, image)
        out = _linear(image, grid), _nearest(masks, grid)
    for b in map(int, np.flatnonzero(~moves)):
        for target, source in zip(out, (image, masks), strict=True):
            target[b] = source[b].flip(mirrored(draws, b))
    return out


def mirrored(draws: Draws, b: int) -> tuple[int, ...]:
    """Return the axes along which a sample is mirrored, from the last."""
    return (-1,) * bool(draws.flip_x[b]) + (-2,) * bool(draws.flip_y[b])


def sampling_px(draws: Draws, width: int, height: int) -> NDArray[np.float64]:
    """Return ``(B, 2, 3)``: from a target pixel's place to the place it is taken from.

    Both are counted to the right of the slice's centre and below it.
    """
    angle = np.deg2rad(draws.rotation_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    # Inverse of flip, rotate, scale. Rows grow downwards, so counter-clockwise turns x to -y.
    turned = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)
    mirror = np.where([draws.flip_x, draws.flip_y], -1.0, 1.0).T[:, :, None]
    inverse = mirror * turned / draws.scale[:, None, None]
    shift = np.stack([draws.shift_x * width, draws.shift_y * height], 1)
    return np.concatenate([inverse, -inverse @ shift[:, :, None]], 2)


def displacements_px(draws: Draws, height: int, width: int) -> NDArray[np.float32]:
    """Return how far control points go, along x and y: ``(B, 2, rows, columns)``."""
    shape = control_shape((height, width), ELASTIC_SPACING_PX)
    return spread(draws.elastic_key, draws.elastic_px, (2, *shape))


def _grid(draws: Draws, image: Tensor) -> Tensor:
    """Return where each pixel is taken from: ``(B, H, W, 2)``, slice edges at -1 and 1."""
    height, width = image.shape[-2:]
    exact = torch.promote_types(image.dtype, torch.float32)
    to_edges = 2 / np.array([width, height])[:, None]
    theta, points = (
        each.to(exact)
        for each in sent(
            image.device,
            sampling_px(draws, width, height) * to_edges,
            displacements_px(draws, height, width),
        )
    )
    x, y = (
        torch.arange(length, dtype=exact, device=image.device) - (length - 1) / 2
        for length in (width, height)
    )
    along_x = theta[:, :, 0, None] * x
    along_y = theta[:, :, 1, None] * y + theta[:, :, 2, None]
    grid = along_x[:, :, None] + along_y[..., None]  # (B, 2, H, W)
    if draws.elastic_px.any():
        bend = enlarged(points, (height, width), ELASTIC_SPACING_PX)
        for axis in range(2):
            grid += theta[:, :, axis, None, None] * bend[:, axis, None]
    return grid.permute(0, 2, 3, 1)


def _linear(image: Tensor, grid: Tensor) -> Tensor:
    found = grid_sample(image.to(grid.dtype), grid, mode="bilinear", align_corners=False)
    return found.to(image.dtype)


def _nearest(masks: Tensor, grid: Tensor) -> Tensor:
    """Sample all masks as one channel with a bit for each: float32 holds 24 of them exactly."""
    channels = masks.shape[1]
    if not channels:
        return masks.clone()
    whole = torch.uint8 if channels <= 8 else torch.int32
    packed = masks[:, :1].to(whole)
    for channel in range(1, channels):
        packed = packed | masks[:, channel : channel + 1].to(whole) << channel
    packed = grid_sample(packed.to(grid.dtype), grid, mode="nearest", align_corners=False).to(whole)
    shifts = torch.arange(channels, dtype=whole, device=masks.device)[:, None, None]
    return (packed >> shifts & 1).to(masks.dtype)
