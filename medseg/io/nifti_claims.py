"""What a NIfTI header claims and whether to believe it, and what a header can hold.

The claims are the fields of nifti1.h as they stand, not repaired, and are judged before a voxel is
read. All that is wrong with them is collected, then raised once.
"""

from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, GeometryError, Problem
from medseg.geometry import TOLERANCE_MM, Affine, Grid, Shape, corner_shift_mm

Form = Literal["sform", "qform"]

MAX_SIDE_VOX = 8192
MAX_VOXELS = 2**31
MAX_BYTES = 2**32
MAX_OFFSET_BYTES = 2**24
# Forms, spacings and axes must agree to 1e-3: mm, and direction cosines. A qform holds a rotation
# by half a turn and a little no better than to 7e-4, because the quaternion's fourth component is
# what float32 leaves of the other three.
TOLERANCE = 1e-3

_REAL = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_REAL |= {1024: "i8", 1280: "u8"}
_OTHER = {1: "a bit", 32: "complex", 128: "RGB", 1536: "float128", 1792: "complex"}
_OTHER |= {2048: "complex", 2304: "RGBA"}
_UNITS = {0: "unknown", 1: "metre", 2: "mm", 3: "micrometre"}


class Claims(NamedTuple):
    """The fields of a header that decide how its voxels are read, and where they lie.

    Attributes:
        dim: The number of axes, then their lengths, 8 integers.
        datatype: The code of the voxels' type, such as 16 for float32.
        byte_order: ``<`` or ``>``.
        offset_bytes: Where the voxels begin.
        scaling: Slope and intercept.
        pixdim_mm: Edge lengths of a voxel along I, J and K.
        units: The code of the unit of length.
        codes: The code of each form, 0 where it means nothing.
        forms: The affine of each form; None for a qform whose quaternion is impossible.
    """

    dim: tuple[int, ...]
    datatype: int
    byte_order: str
    offset_bytes: float
    scaling: tuple[float, float]
    pixdim_mm: NDArray[np.float64]
    units: int
    codes: dict[Form, int]
    forms: dict[Form, Affine | None]


class Layout(NamedTuple):
    """What sound claims come to: how the voxels are stored, and where they lie.

    Attributes:
        scaling: Slope and intercept; None where the stored numbers are the values.
    """

    shape: Shape
    dtype: np.dtype[np.generic]
    offset_bytes: int
    scaling: tuple[float, float] | None
    grid: Grid
    form_code: int
    warnings: tuple[Problem, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes that the voxels fill."""
        i, j, k = self.shape
        return i * j * k * self.dtype.itemsize


class Reader:
    """Reads claims one by one and keeps what is wrong with them.

    Args:
        claims: What the header says.
        subject: The file's name in messages.
        use: The form to believe where the two disagree; None believes neither.
        assume_ras: Whether a file without any form grows to the right, the front and the head.
    """

    def __init__(
        self, claims: Claims, *, subject: str, use: Form | None = None, assume_ras: bool = False
    ) -> None:
        self.claims = claims
        self.subject = subject
        self.use = use
        self.assume_ras = assume_ras
        self.problems: list[Problem] = []

    def layout(self, *, capacity_bytes: int = 2**63) -> Layout:
        """Return the layout of the claims.

        Args:
            capacity_bytes: The most bytes that the file can hold once it is inflated.

        Raises:
            DataError: One problem for each thing wrong, with the codes E-NII-SIZE, -DIM, -FORMAT,
                -UNITS, -AFFINE, -NOFORM and -FORMS.
        """
        self._check_unit()
        shape, dtype = self._shape(), self._dtype()
        offset, scaling = self._offset_bytes(), self._scaling()
        affine, code = self._affine()
        errors = [problem for problem in self.problems if problem.level == "error"]
        if errors or shape is None or dtype is None or affine is None:
            raise DataError(*errors)
        grid = Grid(shape, affine)
        layout = Layout(shape, dtype, offset, scaling, grid, code, tuple(self.problems))
        self._require_room(layout, capacity_bytes)
        return layout

    def _tell(self, code: str, found: str, expected: str = "", fix: str = "") -> None:
        self.problems.append(Problem(code, self.subject, found, expected, fix))

    def _shape(self) -> Shape | None:
        n, *sides = self.claims.dim
        if not 1 <= n <= 7 or min(sides[:n]) < 1:
            found = f"dim is {self.claims.dim}"
            self._tell("E-NII-SIZE", found, "1 to 7 axes of at least one voxel")
            return None
        if n < 3 or any(side > 1 for side in sides[3:n]):
            found = f"shape is {tuple(sides[:n])}"
            self._tell("E-NII-DIM", found, "three axes", "give each volume a file of its own")
            return None
        i, j, k = sides[:3]
        return i, j, k

    def _dtype(self) -> np.dtype[np.generic] | None:
        code = self.claims.datatype
        if code in _REAL:
            return np.dtype(self.claims.byte_order + _REAL[code])
        if code in _OTHER:
            self._tell("E-NII-DIM", f"a voxel is {_OTHER[code]}", "one real number")
        else:
            self._tell("E-NII-FORMAT", f"data type {code}", "one that nifti1.h knows")
        return None

    def _offset_bytes(self) -> int:
        offset = self.claims.offset_bytes
        if not 352 <= offset <= MAX_OFFSET_BYTES or offset % 1:
            self._tell("E-NII-FORMAT", f"voxels begin at byte {offset:g}", "352 or more")
            return 0
        return int(offset)

    def _scaling(self) -> tuple[float, float] | None:
        slope, intercept = self.claims.scaling
        if slope == 0 or not np.isfinite(slope):  # nifti1.h: then there is no scaling
            return None
        if not np.isfinite(intercept):
            self._tell("E-NII-FORMAT", f"scl_inter is {intercept}", "a number")
        return None if (slope, intercept) == (1, 0) else (slope, intercept)

    def _check_unit(self) -> None:
        code = self.claims.units & 7
        if code == 0:
            found = "does not say its unit; mm is assumed"
            self.problems.append(Problem("W-NII-UNITS", self.subject, found, level="warning"))
        elif code != 2:
            found = f"the unit is {_UNITS.get(code, code)}"
            self._tell("E-NII-UNITS", found, "mm", "export it in mm")

    def _affine(self) -> tuple[Affine | None, int]:
        """Return the affine to believe and its code; None where there is a problem."""
        pixdim = self.claims.pixdim_mm
        if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
            self._tell("E-NII-AFFINE", f"voxel sizes are {_row(pixdim)}", "positive numbers of mm")
            return None, 0
        coded: list[Form] = [form for form, code in self.claims.codes.items() if code > 0]
        if not coded and self.assume_ras:
            return np.diag([*pixdim, 1.0]), 2
        wanted = [form for form in coded if self.use in (None, form)]
        if not wanted:
            found = f"has no {self.use or 'form'}: nothing says where its voxels lie"
            self._tell("E-NII-NOFORM", found, "a coded sform or qform", "export it again")
            return None, 0
        boxes = [self._box(form) for form in wanted]
        believed = boxes[0]
        if believed is not None and boxes[-1] is not None and self.use is None:
            self._compare(believed, boxes[-1])
        return believed, self.claims.codes[wanted[0]]

    def _box(self, form: Form) -> Affine | None:
        """Return the affine of a form that is a box of voxels; else tell why it is none."""
        affine = self.claims.forms[form]
        if affine is None or not np.isfinite(affine).all():
            self._tell("E-NII-AFFINE", f"its {form} is not finite: {_rows(affine)}", "numbers")
            return None
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        cosines = affine[:3, :3] / np.maximum(spacing, 1e-9)
        lean = max(abs(float(cosines[:, a] @ cosines[:, b])) for a, b in combinations(range(3), 2))
        if spacing.min() < 1e-6 or lean > 1 - TOLERANCE:
            self._tell("E-NII-AFFINE", f"its {form} is singular: {_rows(affine)}", "three axes")
            return None
        if lean > TOLERANCE:
            found = f"its {form} is sheared: two axes have the cosine {lean:.4f}"
            self._tell("E-NII-AFFINE", found, "perpendicular axes", "resample it")
            return None
        return affine

    def _compare(self, believed: Affine, other: Affine) -> None:
        """Tell where two forms, or a lone form and the voxel sizes, disagree."""
        pixdim = self.claims.pixdim_mm
        cosines = np.abs((believed - other)[:3, :3] / pixdim).max()
        origin = np.abs((believed - other)[:3, 3]).max()
        spacing = np.linalg.norm(believed[:3, :3], axis=0)
        if max(cosines, origin) > TOLERANCE:
            found = f"sform {_rows(believed)} is not qform {_rows(other)}"
            self._tell("E-NII-FORMS", found, "one place", "find out which is right and keep it")
        elif np.abs(spacing - pixdim).max() > TOLERANCE:
            found = f"its form has spacing {_row(spacing)}, its pixdim {_row(pixdim)}"
            self._tell("E-NII-AFFINE", found, "the same to 0.001 mm", "export it again")

    def _require_room(self, layout: Layout, capacity_bytes: int) -> None:
        """Refuse a claim beyond the limits or beyond what the file can hold."""
        claim, (i, j, k) = layout.offset_bytes + layout.n_bytes, layout.shape
        if max(i, j, k) > MAX_SIDE_VOX or i * j * k > MAX_VOXELS or layout.n_bytes > MAX_BYTES:
            expected = f"sides up to {MAX_SIDE_VOX}, at most {MAX_BYTES >> 30} GiB"
        elif claim > capacity_bytes:
            expected = f"at most the {capacity_bytes} bytes that the file can hold"
        else:
            return
        found = f"the header claims {i} x {j} x {k} voxels, {claim} bytes"
        raise DataError(Problem("E-NII-SIZE", self.subject, found, expected, "export it again"))


def require_writable(grid: Grid, *, subject: str) -> None:
    """Raise GeometryError unless NIfTI holds the grid: sides of at most 8192, and no shear.

    A qform is a rotation and three spacings. An affine that the nearest such form, or float32,
    moves by more than 0.001 mm at a corner is refused: readers would disagree about it.
    """
    spacing = np.array(grid.spacing_mm)
    left, _, right = np.linalg.svd(grid.affine_ras_mm[:3, :3] / spacing)
    rigid = grid.affine_ras_mm.copy()
    rigid[:3, :3] = left @ right * spacing
    stored = grid.affine_ras_mm.astype(np.float32).astype(np.float64)
    shift = max(corner_shift_mm(grid, Grid(grid.shape, a)) for a in (rigid, stored))
    if shift > TOLERANCE_MM:
        raise GeometryError(
            Problem(
                "E-NII-AFFINE",
                subject,
                f"its affine is sheared: a qform is {shift:.3f} mm off",
                f"at most {TOLERANCE_MM} mm",
                "resample it onto a grid with perpendicular axes",
            )
        )
    if max(grid.shape) > MAX_SIDE_VOX or min(grid.shape) < 1:
        raise GeometryError(
            Problem("E-NII-SIZE", subject, f"shape is {grid.shape}", f"sides 1 to {MAX_SIDE_VOX}")
        )


def _row(numbers: NDArray[np.float64]) -> str:
    return " ".join(f"{number:.6g}" for number in numbers)


def _rows(affine: Affine | None) -> str:
    return "impossible" if affine is None else f"[{'; '.join(_row(row) for row in affine[:3])}]"
