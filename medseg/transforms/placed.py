"""Tensors that know where they lie: MONAI's MetaTensor with the affine of a `Grid`.

Nothing is recorded for MONAI's own inversion: the grids of two tensors say all that is needed to
go from one to the other.
"""

from collections.abc import Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch import Tensor

from medseg.errors import cause_of
from medseg.geometry import Grid, corner_shift_mm
from medseg.transforms.regrid import Mode, regrid

Item = Mapping[str, Any]


def on_grid(volume: Tensor, grid: Grid) -> MetaTensor:
    """Return `volume`, ``(C, *grid.shape)``, as a MetaTensor on `grid`; the values are shared."""
    return MetaTensor(
        volume.as_subclass(Tensor), affine=torch.tensor(grid.affine_ras_mm, dtype=torch.float64)
    )


def grid_of(volume: MetaTensor) -> Grid:
    """Return the grid of a MetaTensor ``(C, I, J, K)``."""
    i, j, k = volume.shape[-3:]
    return Grid((i, j, k), volume.affine.numpy())


def moved(volume: MetaTensor, target: Grid, *, mode: Mode, fill: float = 0.0) -> MetaTensor:
    """Return `volume` on another grid as `regrid` does; itself where it already lies there."""
    source = grid_of(volume)
    if source.shape == target.shape and corner_shift_mm(source, target) == 0:
        return volume
    return on_grid(regrid(volume, source, target, mode=mode, fill=fill), target)


class Chain(Compose):  # type: ignore[misc]
    """A Compose whose faults stay what they are.

    MONAI wraps whatever a transform raises into a RuntimeError that prints the transform; an
    error about the data must reach the user as it was raised.
    """

    def __call__(self, item: Item, *args: object, **kwargs: object) -> dict[str, Any]:
        """Apply the transforms one after another.

        Raises:
            MedsegError: What a transform raised on purpose.
        """
        try:
            prepared: dict[str, Any] = super().__call__(item, *args, **kwargs)
        except RuntimeError as error:
            raise cause_of(error) or error from None
        return prepared
