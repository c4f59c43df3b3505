"""What the header of an NRRD or MetaImage file claims, and whether to believe it.

The claims are gathered by ``itk_headers`` and judged here, before a voxel is read; all that is
wrong with them is raised at once. ITK's own readers fill in what is missing, turn a negative
spacing round and give damaged voxels for good ones, so nothing is left to them. No text of a
header gets into a message: it may name a patient.
"""

from itertools import combinations
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.geometry import Affine, Grid, Shape
from medseg.io.nifti_claims import MAX_BYTES, MAX_SIDE_VOX, MAX_VOXELS, TOLERANCE
from medseg.io.nifti_stream import MAX_INFLATION

Packing = Literal["", "gzip", "zlib"]


class Claims(NamedTuple):
    """What a header says; None where it does not say it, or nonsense.

    Attributes:
        sizes: Voxels along each axis, the first fastest.
        spatial: Which of these axes lie in the patient.
        dtype: One voxel as it is stored.
        steps_ras_mm: The way to the next voxel along each spatial axis, a row an axis.
        spacing_mm: The length of these ways; also where their directions are not told.
        origin_ras_mm: The place of the first voxel.
        data: The file that holds the voxels.
        offset_bytes: Where they begin in it.
        packed: How they are compressed.
        problems: What is wrong with the header's own format.
    """

    sizes: tuple[int, ...] | None
    spatial: tuple[int, ...]
    dtype: np.dtype[np.generic] | None
    steps_ras_mm: NDArray[np.float64] | None
    spacing_mm: NDArray[np.float64] | None
    origin_ras_mm: NDArray[np.float64] | None
    data: Path
    offset_bytes: int
    packed: Packing
    problems: tuple[Problem, ...]


class Layout(NamedTuple):
    """What sound claims come to; `placed` tells whether the file says where it lies."""

    shape: Shape
    dtype: np.dtype[np.generic]
    grid: Grid
    placed: bool
    data: Path
    offset_bytes: int
    packed: Packing

    @property
    def n_bytes(self) -> int:
        """Bytes that the voxels fill."""
        return prod(self.shape) * self.dtype.itemsize


def layout_of(claims: Claims, *, subject: str, assume_ras: bool = False) -> Layout:
    """Return the layout of claims, with the voxels that they claim known to have room.

    Raises:
        DataError: One problem for each thing wrong, with the codes E-ITK-FORMAT, -DIM, -NOFORM,
            -AFFINE and -UNITS, or E-TOO-LARGE, E-ITK-TRUNC, E-ITK-SIZE and E-IO of the voxels.
    """
    problems = list(claims.problems)
    if any(problem.code == "E-ITK-FORMAT" for problem in problems):
        raise DataError(*problems)  # what it says of the rest need not be what it means
    shape = _shape(claims, problems, subject)
    affine = _affine(claims, problems, subject, assume_ras=assume_ras)
    if problems or shape is None or affine is None or claims.dtype is None:
        raise DataError(*problems)
    place = claims.data, claims.offset_bytes, claims.packed
    placed = claims.steps_ras_mm is not None
    layout = Layout(shape, claims.dtype, Grid(shape, affine), placed, *place)
    _require_room(layout, subject)
    return layout


def _shape(claims: Claims, problems: list[Problem], subject: str) -> Shape | None:
    """Return the shape along the spatial axes; others must have length 1."""
    if claims.sizes is None:
        return None
    others = [n for axis, n in enumerate(claims.sizes) if axis not in claims.spatial]
    if min(claims.sizes) < 1:
        found = f"sizes are {claims.sizes}"
        problems.append(Problem("E-ITK-FORMAT", subject, found, "at least one voxel a side"))
    elif len(claims.spatial) != 3 or max(others, default=1) > 1:
        found, fix = f"sizes are {claims.sizes}", "give each volume a file of its own"
        problems.append(Problem("E-ITK-DIM", subject, found, "three axes in space", fix))
    else:
        i, j, k = (claims.sizes[axis] for axis in claims.spatial)
        return i, j, k
    return None


def _affine(
    claims: Claims, problems: list[Problem], subject: str, *, assume_ras: bool
) -> Affine | None:
    """Return the affine of a box of voxels; else tell why there is none."""
    steps, spacing, origin = claims.steps_ras_mm, claims.spacing_mm, claims.origin_ras_mm
    if spacing is None or not (np.isfinite(spacing).all() and (spacing > 1e-6).all()):
        told = "not told" if spacing is None else " ".join(f"{mm:.6g}" for mm in spacing)
        expected = "three positive numbers of mm"
        problems.append(Problem("E-ITK-AFFINE", subject, f"voxel sizes are {told}", expected))
    elif steps is None and assume_ras:
        return np.diag([*spacing, 1.0])
    elif steps is None or origin is None:
        found, expected = "does not say where its voxels lie", "directions in space and an origin"
        problems.append(Problem("E-ITK-NOFORM", subject, found, expected, "export it again"))
    elif not np.isfinite(origin).all():
        problems.append(Problem("E-ITK-AFFINE", subject, "its origin is not finite", "numbers"))
    else:
        cosines = steps / spacing[:, None]
        lean = max(abs(float(cosines[a] @ cosines[b])) for a, b in combinations(range(3), 2))
        if lean <= TOLERANCE:
            affine = np.eye(4)
            affine[:3, :3], affine[:3, 3] = steps.T, origin
            return affine
        found = f"is sheared: two axes have the cosine {lean:.4f}"
        problems.append(Problem("E-ITK-AFFINE", subject, found, "right angles", "resample it"))
    return None


def _require_room(layout: Layout, subject: str) -> None:
    """Refuse a claim beyond the limits or beyond what the file can hold."""
    try:
        held = layout.data.stat().st_size - layout.offset_bytes
    except OSError as error:
        found = f"its voxels cannot be read: {error.strerror}"
        raise DataError(Problem("E-IO", subject, found, "a readable file")) from error
    claimed = layout.n_bytes
    found = f"the header claims {layout.shape} voxels, {claimed} bytes"
    code, fix = "E-TOO-LARGE", "export it again"
    if max(layout.shape) > MAX_SIDE_VOX or prod(layout.shape) > MAX_VOXELS or claimed > MAX_BYTES:
        expected = f"sides up to {MAX_SIDE_VOX}, at most {MAX_BYTES >> 30} GiB"
    elif claimed > held * MAX_INFLATION:
        expected = f"at most the {held * MAX_INFLATION} bytes that the file can hold"
    elif not layout.packed and claimed != held:
        found, expected = f"holds {held} bytes of voxels", f"{claimed} for {layout.shape}"
        code, fix = ("E-ITK-TRUNC", "copy it again") if held < claimed else ("E-ITK-SIZE", fix)
    else:
        return
    raise DataError(Problem(code, subject, found, expected, fix))
