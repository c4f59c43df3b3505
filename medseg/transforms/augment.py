"""Random changes of training slices: draw parameters, then apply them to a whole batch.

`draw` needs seeds and no pixels, `apply` needs pixels and no chance; each is tested alone. What a
sample goes through depends on its own seed and on nothing else in the batch. All is decided on the
host, so that a device is never waited for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from medseg.errors import Problem, UsageError
from medseg.transforms.draws import Draws, Reals, uniforms, words
from medseg.transforms.shading import shade
from medseg.transforms.slicewise import changed_slices
from medseg.transforms.warp import ELASTIC_LIMIT_PX, warped

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class BatchAugment:
    """Augment batches of slices on their device; its fields are the limits of the draws.

    What is drawn is drawn evenly. Every sample is moved, and changes in brightness and contrast;
    the changes from `elastic_px` on come to a share of the samples. A limit of 0 turns its change
    off. Intensities are expected in [0, 1].

    Attributes:
        rotate_deg: Rotations lie within plus and minus this.
        translate: Shifts lie within plus and minus this share of width and height.
        scale: Magnifications lie between 1 - scale and 1 + scale.
        flip: Whether columns and rows are mirrored, each every other time.
        brightness: Added intensities lie within plus and minus this.
        contrast: Factors on intensities lie between 1 - contrast and 1 + contrast.
        elastic_px: Control points 32 pixels apart are displaced by up to a drawn length along
            either axis, which lies between 0 and this; at most 15, or the slice would fold.
        gamma: Exponents of intensities lie between 1 - gamma and 1 + gamma.
        bias: The logarithm of a smooth field that multiplies the intensities reaches a drawn size,
            which lies between 0 and this.
        low_resolution: Slices keep between 1 - low_resolution and all of their rows and columns.
        noise: Standard deviations of normal noise lie between 0 and this.
        chance: The share of samples to which each of the changes from `elastic_px` on comes.

    Raises:
        UsageError: A limit lies out of its range.
    """

    rotate_deg: float = 15.0
    translate: float = 0.06
    scale: float = 0.15
    flip: bool = True
    brightness: float = 0.1
    contrast: float = 0.2
    elastic_px: float = 0.0
    gamma: float = 0.0
    bias: float = 0.0
    low_resolution: float = 0.0
    noise: float = 0.0
    chance: float = 0.25

    def __post_init__(self) -> None:
        most = {"scale": 0.99, "elastic_px": ELASTIC_LIMIT_PX, "gamma": 1.0, "chance": 1.0}
        most["low_resolution"] = 0.99
        problems = [
            Problem(
                "E-CONFIG",
                f"augmentation {field.name}",
                f"{value:g}",
                f"0 to {limit:g}" if (limit := most.get(field.name)) else "0 or more",
            )
            for field in fields(self)
            if not 0 <= (value := getattr(self, field.name)) <= most.get(field.name, _LARGEST)
        ]
        if problems:
            raise UsageError(*problems)

    def __call__(
        self, image: Tensor, masks: Tensor, seeds: Tensor | ArrayLike
    ) -> tuple[Tensor, Tensor]:
        """Return augmented images ``(B, C, H, W)`` and masks ``(B, K, H, W)``.

        Args:
            image: Floating point, on any device.
            masks: uint8 of 0 and 1, at most 24 channels, on the same device.
            seeds: A whole number a sample, in the host's memory.
        """
        return apply(image, masks, draw(seeds, self))


def draw(seeds: Tensor | ArrayLike, limits: BatchAugment) -> Draws:
    """Return parameters for each of B seeds, drawn evenly within `limits`."""
    keys = np.asarray(seeds, np.int64).view(np.uint64)
    # A column a parameter: one more at the end leaves those before it as they were.
    columns: Iterator[Reals] = iter(uniforms(keys, 18).T)
    own_keys = words(keys, 21).T[18:]

    def within(limit: float) -> Reals:
        return (2 * next(columns) - 1) * limit

    def rarely(drawn: Reals, otherwise: float) -> Reals:
        return np.where(next(columns) < limits.chance, drawn, otherwise)

    return Draws(
        flip_x=(next(columns) < 0.5) & limits.flip,
        flip_y=(next(columns) < 0.5) & limits.flip,
        rotation_deg=within(limits.rotate_deg),
        scale=1 + within(limits.scale),
        shift_x=within(limits.translate),
        shift_y=within(limits.translate),
        contrast=1 + within(limits.contrast),
        brightness=within(limits.brightness),
        elastic_px=rarely(next(columns) * limits.elastic_px, 0),
        gamma=rarely(1 + within(limits.gamma), 1),
        bias=rarely(next(columns) * limits.bias, 0),
        resolution=rarely(1 - next(columns) * limits.low_resolution, 1),
        noise=rarely(next(columns) * limits.noise, 0),
        elastic_key=own_keys[0],
        bias_key=own_keys[1],
        noise_key=own_keys[2],
    )


def apply(image: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return images and masks changed by what was drawn for each sample; none is left as it was.

    Images are interpolated linearly, masks take the nearest pixel, and what comes in from outside
    the slice is zero. A sample that is only flipped, or left alone, is copied exactly.

    Args:
        image: ``(B, C, H, W)``, floating point.
        masks: ``(B, K, H, W)`` uint8 of 0 and 1, at most 24 channels.
        draws: For the B samples.

    Raises:
        UsageError: Images, masks and draws are not of the same samples.
    """
    _require_alike(image, masks, draws)
    if image.device.type == "cpu" and image.dtype == torch.float32:
        return changed_slices(image, masks, draws)
    return changed_batch(image, masks, draws)


def changed_batch(image: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return a batch changed all at once, on any device, which is not waited for."""
    image, masks = warped(image, masks, draws)
    if len(image):
        shade(image, draws)
    return image, masks


def _require_alike(image: Tensor, masks: Tensor, draws: Draws) -> None:
    of_image, of_masks = ((len(part), *part.shape[2:]) for part in (image, masks))
    if not of_image == of_masks == (len(draws.gamma), *of_image[1:]):
        found = f"images {tuple(image.shape)}, masks {tuple(masks.shape)}, {len(draws.gamma)} seeds"
        expected = "as many of each, and slices of one size"
        raise UsageError(Problem("E-SHAPE", "a batch to augment", found, expected))
