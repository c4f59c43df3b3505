"""What happens to the intensities of slices: one change after the other, all in place.

Each change leaves a sample exactly as it is whose parameter is neutral, so that a whole batch goes
through it.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.splitmix import ROUNDS, STEP
from medseg.transforms.draws import Draws, spread
from medseg.transforms.sending import sent
from medseg.transforms.spline import enlarged

BIAS_POINTS = (4, 4)  # one piece of a spline: a polynomial of the third degree along either axis


def shade(image: Tensor, draws: Draws) -> None:
    """Change the intensities of images ``(B, C, H, W)`` by what was drawn for each."""
    height, width = image.shape[2:]
    columns = np.stack([draws.gamma, draws.contrast, draws.brightness, draws.noise])
    (gamma, contrast, brightness, noise), points, kept, keys = sent(
        image.device,
        columns.astype(np.float32)[..., None, None, None],  # (4, B, 1, 1, 1)
        bias_points(draws),
        kept_px(draws, height, width),
        draws.noise_key.view(np.int64),
    )
    if (draws.gamma != 1).any():
        bend(image, gamma)
    if draws.bias.any():
        image.mul_(enlarged(points, (height, width), (height, width)).exp_())
    image.mul_(contrast).add_(brightness)
    if (draws.resolution != 1).any():
        coarsen(image, kept)
    if draws.noise.any():
        add_noise(image, noise, keys)


def bias_points(draws: Draws) -> NDArray[np.float32]:
    """Return logarithms of the bias fields at their control points, ``(B, 1, 4, 4)``."""
    return spread(draws.bias_key, draws.bias, (1, *BIAS_POINTS))


def kept_px(draws: Draws, height: int, width: int) -> NDArray[np.int64]:
    """Return how many rows and columns of a slice are kept, ``(B, 2)``, at least 1."""
    kept = np.rint(draws.resolution[:, None] * [height, width])
    return np.maximum(1, kept).astype(np.int64)


def bend(image: Tensor, gamma: Tensor) -> None:
    """Raise intensities to a power; those below 0 count as 0.

    Args:
        image: ``(B, C, H, W)``, changed in place.
        gamma: ``(B, 1, 1, 1)``.
    """
    # Not every device's pow returns its base for an exponent of 1.
    image.copy_(torch.where(gamma == 1, image, image.clamp(min=0).pow(gamma)))


def coarsen(image: Tensor, kept: Tensor) -> None:
    """Keep every so many rows and columns, the nearest ones, and fill linearly between them.

    Args:
        image: ``(B, C, H, W)``, changed in place.
        kept: Rows and columns to keep, ``(B, 2)``, at least 1.
    """
    coarse = image
    for dim in (2, 3):
        length = image.shape[dim]
        count = kept[:, dim - 2, None]
        # Centres of pixels, in halves: whole numbers, or devices would round them differently.
        halves = 2 * torch.arange(length, device=image.device) + 1
        at = (halves * count - length).clamp_(min=0)  # among the kept, in 2 * length
        below = at // (2 * length)
        above = torch.minimum(below + 1, count - 1)
        low, high = (
            _picked(coarse, (2 * each + 1) * length // (2 * count), dim) for each in (below, above)
        )
        weight = (at % (2 * length)).to(image.dtype) / (2 * length)
        coarse = torch.lerp(
            low, high, weight[:, None, :, None] if dim == 2 else weight[:, None, None]
        )
    image.copy_(coarse)


def add_noise(image: Tensor, deviation: Tensor, keys: Tensor) -> None:
    """Add normal noise to each pixel.

    Args:
        image: ``(B, C, H, W)``, changed in place.
        deviation: Standard deviations, ``(B, 1, 1, 1)``.
        keys: ``(B,)`` int64; the noise of a sample follows from its key.
    """
    count = image[0].numel()
    words = (keys[:, None] + _steps(-(-count // 4), image.device)).contiguous()
    for shift, factor in ROUNDS:
        words ^= words >> shift & (1 << 64 - shift) - 1  # a logical shift; int64 knows only its own
        words *= _signed(factor)
    # Each word serves four pixels.
    chosen = words.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
    values = normals(image.device).index_select(0, chosen[:, :count].reshape(-1))
    image.addcmul_(values.view(image.shape), deviation)


def _picked(image: Tensor, index: Tensor, dim: int) -> Tensor:
    """Return the rows (dim 2) or columns (dim 3) that `index` ``(B, L)`` names for each sample."""
    index = index[:, None, :, None] if dim == 2 else index[:, None, None]
    return image.gather(dim, index.expand_as(image))


def _signed(word: int) -> int:
    """Return 64 bits as the int64 that has them.

    >>> _signed(2**64 - 1), _signed(5)
    (-1, 5)
    """
    return word - (1 << 64) if word >> 63 else word


@lru_cache(maxsize=8)
def _steps(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, device=device) * _signed(STEP)


@lru_cache(maxsize=8)
def normals(device: torch.device) -> Tensor:
    """Return the 65,536 quantiles of the normal distribution, with a variance of exactly 1.

    A table, not logarithms and cosines: all devices look up the same values.
    """
    share = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    values = torch.special.ndtri(share)
    table: Tensor = (values / values.std(correction=0)).float()
    return table.to(device)
