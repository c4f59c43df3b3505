"""Voxels are numbers: not a number and infinity are refused, or replaced where asked for."""

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, Problem

Voxels = NDArray[np.number]


def are_finite(voxels: Voxels) -> bool:
    """Tell whether all voxels are numbers; no voxels are."""
    # The extremes are NaN where a voxel is, and take no array of their own to find.
    return bool(np.isfinite([voxels.min(initial=0), voxels.max(initial=0)]).all())


def made_finite(
    voxels: NDArray[np.float32], subject: str, *, kind: str, nan_to_min: bool
) -> tuple[Problem, ...]:
    """Replace voxels that are not finite by the smallest finite one, and return a warning.

    Args:
        voxels: Changed in place.
        subject: The file's name in messages.
        kind: What the codes say between E- or W- and -NAN, such as ``NII``.
        nan_to_min: Whether it may be done.

    Returns:
        Nothing where all are finite.

    Raises:
        DataError: E-…-NAN, it may not be done, or no voxel is finite.
    """
    if are_finite(voxels):
        return ()
    broken = ~np.isfinite(voxels)
    if not nan_to_min or broken.all():
        raise DataError(not_finite(broken, subject, kind=kind))
    voxels[broken] = voxels[~broken].min()
    found = f"{_counted(broken)}; they take the smallest finite value"
    return (Problem(f"W-{kind}-NAN", subject, found, level="warning"),)


def not_finite(broken: NDArray[np.bool_], subject: str, *, kind: str) -> Problem:
    """Return the problem of an image with broken voxels; there is at least one."""
    fix = "mask or fill them before"
    return Problem(f"E-{kind}-NAN", subject, _counted(broken), "numbers", fix)


def _counted(broken: NDArray[np.bool_]) -> str:
    first = tuple(int(n) for n in np.argwhere(broken)[0])
    return f"{int(broken.sum())} voxels are not finite; the first is {first}"
