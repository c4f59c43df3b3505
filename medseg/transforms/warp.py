"""Where the pixels of a slice go: flips, an affine map and a bend, in one interpolation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from medseg.transforms.draws import Draws, spread
from medseg.transforms.placing import in_threads, parts, sent
from medseg.transforms.spline import control_shape, enlarged
from medseg.transforms.warp_kernel import warp_slice

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
        by_one = image.device.type == "cpu" and image.dtype == torch.float32
        out = (by_slice if by_one else by_batch)(image, masks, draws)
    for b in map(int, np.flatnonzero(~moves)):
        mirrored = [dim for dim, flip in ((-1, draws.flip_x[b]), (-2, draws.flip_y[b])) if flip]
        for target, source in zip(out, (image, masks), strict=True):
            target[b] = source[b].flip(mirrored) if mirrored else source[b]
    return out


def by_slice(image: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return float32 images and masks moved on the processor, a slice a thread.

    This is two to three times as fast there as `by_batch`. What does not move is left unfilled.
    """
    height, width = image.shape[-2:]
    sampling = sampling_px(draws, width, height)
    points = torch.from_numpy(_displacements(draws, height, width))
    sources = image.detach().contiguous().numpy(), masks.contiguous().numpy()
    targets = np.empty(image.shape, np.float32), np.empty(masks.shape, np.uint8)
    bends = dict.fromkeys(range(len(image)), np.empty((0, 2, width), np.float32))
    for b in map(int, np.flatnonzero(draws.elastic_px)):
        bend = enlarged(points[b], (height, width), ELASTIC_SPACING_PX)  # (2, H, W)
        bends[b] = bend.transpose(0, 1).contiguous().numpy()

    def move(b: int) -> None:
        warp_slice(*(s[b] for s in sources), sampling[b], bends[b], *(t[b] for t in targets))

    in_threads(move, map(int, np.flatnonzero(draws.moves)))
    return torch.from_numpy(targets[0]), torch.from_numpy(targets[1])


def by_batch(image: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return images and masks moved all at once, with torch, on any device."""
    grid = _grid(draws, image)
    return _linear(image, grid), _nearest(masks, grid)


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


def _displacements(draws: Draws, height: int, width: int) -> NDArray[np.float32]:
    """Return how far the control points of each sample go, along x and y."""
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
            _displacements(draws, height, width),
        )
    )
    x, y = (
        torch.arange(length, dtype=exact, device=image.device) - (length - 1) / 2
        for length in (width, height)
    )
    along_x = theta[:, :, 0, None] * x
    along_y = theta[:, :, 1, None] * y + theta[:, :, 2, None]
    grid = along_x[:, :, None] + along_y[..., None]  # (B, 2, H, W)
    for part in parts(draws.elastic_px > 0, image.device):
        bend = enlarged(points[part], (height, width), ELASTIC_SPACING_PX)
        for axis in range(2):
            grid[part] += theta[part, :, axis, None, None] * bend[:, axis, None]
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
