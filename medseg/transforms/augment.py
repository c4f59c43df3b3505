"""Random changes of training slices: draw parameters, then apply them to a whole batch.

`draw` needs a random generator and no pixels, `apply` needs pixels and no chance; each is tested
alone. What a sample goes through depends on its own seed and on nothing else in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


class Draw(NamedTuple):
    """What happens to one sample: flip, then rotate, scale and shift about the slice's centre.

    Attributes:
        rotation_deg: Counter-clockwise as the slice is seen, rows downwards.
        translation: Shift to the right and downwards, as a share of width and height.
        scale: Magnification.
        flip_x: Whether columns are mirrored.
        flip_y: Whether rows are mirrored.
        brightness: Added to the intensities, after the contrast.
        contrast: Factor on the intensities.
    """

    rotation_deg: float = 0.0
    translation: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    flip_x: bool = False
    flip_y: bool = False
    brightness: float = 0.0
    contrast: float = 1.0

    @property
    def moves(self) -> bool:
        """Whether pixels come to lie between pixels, so that they must be interpolated."""
        return (self.rotation_deg, *self.translation, self.scale) != (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class BatchAugment:
    """Augment batches of slices on their device; its fields are the limits of the draws.

    Attributes:
        rotate_deg: Rotations lie within plus and minus this.
        translate: Shifts lie within plus and minus this share of width and height.
        scale: Magnifications lie between 1 - scale and 1 + scale.
        flip: Whether columns and rows are mirrored, each every other time.
        brightness: Added intensities lie within plus and minus this, for images in [0, 1].
        contrast: Factors on intensities lie between 1 - contrast and 1 + contrast.
    """

    rotate_deg: float = 15.0
    translate: float = 0.06
    scale: float = 0.15
    flip: bool = True
    brightness: float = 0.1
    contrast: float = 0.2

    def __call__(self, image: Tensor, masks: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented images ``(B, C, H, W)`` and masks ``(B, K, H, W)``, a seed a sample."""
        return apply(image, masks, [draw(np.random.default_rng(s), self) for s in seeds.tolist()])


def draw(rng: np.random.Generator, limits: BatchAugment) -> Draw:
    """Return parameters drawn evenly within `limits`."""

    def within(limit: float) -> float:
        return float(rng.uniform(-limit, limit))

    return Draw(
        rotation_deg=within(limits.rotate_deg),
        translation=(within(limits.translate), within(limits.translate)),
        scale=1 + within(limits.scale),
        flip_x=bool(rng.random() < 0.5) and limits.flip,
        flip_y=bool(rng.random() < 0.5) and limits.flip,
        brightness=within(limits.brightness),
        contrast=1 + within(limits.contrast),
    )


def apply(image: Tensor, masks: Tensor, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
    """Return images and masks changed by one draw a sample.

    Images are interpolated linearly, masks take the nearest pixel, and what comes in from outside
    the slice is zero. A sample that is only flipped, or left alone, is copied exactly.

    Args:
        image: ``(B, C, H, W)``, floating point.
        masks: ``(B, K, H, W)`` uint8 of 0 and 1, at most 24 channels.
        draws: One for each of the B samples.
    """
    image, masks = image.clone(), masks.clone()
    moving = [b for b, drawn in enumerate(draws) if drawn.moves]
    for b, drawn in enumerate(draws):
        mirrored = [dim for dim, flip in ((-1, drawn.flip_x), (-2, drawn.flip_y)) if flip]
        if mirrored and not drawn.moves:
            image[b], masks[b] = image[b].flip(mirrored), masks[b].flip(mirrored)
    if moving:
        image[moving], masks[moving] = _warped(
            image[moving], masks[moving], [draws[b] for b in moving]
        )
    factor = image.new_tensor([drawn.contrast for drawn in draws])
    shift = image.new_tensor([drawn.brightness for drawn in draws])
    return image.mul_(factor[:, None, None, None]).add_(shift[:, None, None, None]), masks


def _warped(image: Tensor, masks: Tensor, draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
    height, width = image.shape[-2:]
    theta = np.stack([_sampling(drawn, width, height) for drawn in draws])
    grid = affine_grid(image.new_tensor(theta), [len(draws), 1, height, width], align_corners=False)
    # All masks in one channel, a bit each: float32 holds whole numbers up to 2 ** 24.
    bits = 1 << torch.arange(masks.shape[1], device=masks.device)
    packed = (masks * bits[:, None, None]).sum(1, keepdim=True).to(grid.dtype)
    packed = grid_sample(packed, grid, mode="nearest", align_corners=False)
    unpacked = (packed.long() & bits[:, None, None]).ne(0).to(masks.dtype)
    return grid_sample(image, grid, mode="bilinear", align_corners=False), unpacked


def _sampling(drawn: Draw, width: int, height: int) -> NDArray[np.float64]:
    """Return where each target pixel is taken from: ``(2, 3)``, slice edges at -1 and 1."""
    angle = np.deg2rad(drawn.rotation_deg)
    # Inverse of flip, rotate, scale. Rows grow downwards, so counter-clockwise turns x to -y.
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([-1.0 if drawn.flip_x else 1.0, -1.0 if drawn.flip_y else 1.0])
    inverse = mirror @ turned / drawn.scale
    half = np.array([width, height]) / 2  # pixels, or all slices would be squares
    shift = inverse @ (np.array(drawn.translation) * 2 * half)
    return np.column_stack([inverse * half / half[:, None], -shift / half])
