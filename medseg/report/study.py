"""What a prediction found in a study: numbers by organ, remarks, and a picture in three planes."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.errors import Problem
from medseg.geometry import Grid
from medseg.labels import LabelSet
from medseg.report.figures import run_picture
from medseg.transforms import grid_of, moved, on_grid

Masks = NDArray[np.bool_]


class OrganFound(NamedTuple):
    """One organ of one study.

    Attributes:
        organ: Its name.
        voxels: How many there are, 0 for an organ that was not found.
        volume_ml: Their volume.
        slices: Slices along K that show it.
        first_slice: The first of these, counted from 1; None for none.
        last_slice: The last of these.
        mean_intensity: Of the image as measured, a number a channel; none without voxels.
    """

    organ: str
    voxels: int
    volume_ml: float
    slices: int
    first_slice: int | None
    last_slice: int | None
    mean_intensity: tuple[float, ...]


def organs_found(
    masks: Masks, image: NDArray[np.float32], grid: Grid, labels: LabelSet
) -> list[OrganFound]:
    """Return a row an organ.

    Args:
        masks: ``(organs, I, J, K)``.
        image: ``(C, I, J, K)`` on the same grid.
        grid: Where both lie.
        labels: The organs, in the masks' order.
    """
    voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
    return [
        _found(name, mask, image, voxel_ml=voxel_ml)
        for name, mask in zip(labels.names, masks, strict=True)
    ]


def _found(name: str, mask: Masks, image: NDArray[np.float32], *, voxel_ml: float) -> OrganFound:
    showing = np.flatnonzero(mask.any(axis=(0, 1)))
    voxels = int(np.count_nonzero(mask))
    if not voxels:
        return OrganFound(name, 0, 0.0, 0, None, None, ())
    first, last = int(showing[0]), int(showing[-1])
    box = np.s_[:, :, first : last + 1]
    means = tuple(float(channel[box][mask[box]].mean(dtype=np.float64)) for channel in image)
    slices = len(showing)
    return OrganFound(name, voxels, voxels * voxel_ml, slices, first + 1, last + 1, means)


def remarks(masks: Masks, labels: LabelSet, *, scan_id: str) -> Iterator[Problem]:
    """Yield what a reader should know of the masks ``(organs, I, J, K)``, as warnings."""
    for name, mask in zip(labels.names, masks, strict=True):
        if not mask.any():
            yield Problem("W-EMPTY", scan_id, f"{name} was not found", level="warning")
        elif touched := [axis for axis, at in zip("IJK", _ends(mask), strict=True) if at]:
            found = f"{name} reaches the end of the image along {', '.join(touched)}"
            yield Problem("W-CUT", scan_id, found, "an organ inside", level="warning")


def _ends(mask: Masks) -> Iterator[bool]:
    """Yield for each axis whether a mask reaches one of its ends; an axis of one slice has none."""
    for axis, size in enumerate(mask.shape):
        ends = (mask.take(end, axis) for end in (0, size - 1))
        yield size > 1 and any(end.any() for end in ends)


def preview(image: MetaTensor, masks: Masks, labels: LabelSet, *, title: str) -> Figure:
    """Return a study in three planes with its organs outlined, whatever way its grid is turned.

    Args:
        image: ``(C, I, J, K)``, as measured; the first channel is shown.
        masks: ``(organs, I, J, K)`` on its grid.
        labels: The organs, in the masks' order.
        title: What stands above the picture.
    """
    import torch

    grid = grid_of(image)
    upright = grid.reoriented(("L", "P", "I"))
    shown = moved(image[:1], upright, mode="nearest").numpy()[0]
    outlined = moved(on_grid(torch.from_numpy(masks), grid), upright, mode="nearest").numpy()
    spacing_mm = upright.spacing_mm
    return run_picture(shown, None, outlined, labels, spacing_mm=spacing_mm, title=title)


def as_rows(found: Sequence[OrganFound]) -> list[dict[str, Any]]:
    """Return what was found as plain JSON."""
    return [{**row._asdict(), "mean_intensity": list(row.mean_intensity)} for row in found]
