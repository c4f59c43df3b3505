"""Rules that make masks better than the network left them, organ by organ."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medseg.errors import Problem, UsageError
from medseg.geometry import Grid


class Cleaning:
    """Clean masks by the rules of each organ; without rules they stay as they are.

    Args:
        organs: The organs in channel order.
        rules: For an organ's name its rules: ``min_ml`` removes connected parts that are smaller.

    Raises:
        UsageError: A rule is for an organ that is not there.
    """

    def __init__(self, organs: Sequence[str], *, rules: Mapping[str, Mapping[str, Any]]) -> None:
        if unknown := [name for name in rules if name not in organs]:
            found = f"rules for {', '.join(unknown)}"
            raise UsageError(Problem("E-CONFIG", "cleaning", found, ", ".join(organs)))
        self.organs, self.rules = tuple(organs), {name: dict(rules[name]) for name in rules}

    def __call__(self, masks: Tensor, grid: Grid) -> Tensor:
        """Return the masks ``(organs, I, J, K)`` uint8 cleaned."""
        for channel, name in enumerate(self.organs):
            if least_ml := self.rules.get(name, {}).get("min_ml"):
                voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
                masks[channel] = torch.from_numpy(
                    _large_parts(masks[channel].numpy(), least_ml / voxel_ml)
                )
        return masks


def _large_parts(mask: NDArray[np.uint8], least_vox: float) -> NDArray[np.uint8]:
    parts, _ = ndimage.label(mask)
    large = np.bincount(parts.ravel()) >= least_vox
    large[0] = False
    kept: NDArray[np.uint8] = large[parts].view(np.uint8)
    return kept
