"""NIfTI files: read strictly, and written so that every viewer puts them at the same place.

A NIfTI file can say twice where its voxels lie: the *sform* is an affine, the *qform* a rotation
(a quaternion in float32) with the voxel sizes of ``pixdim``. Each has a *code*: 0 unknown, 1 the
scanner's frame, 2 aligned to something else. Readers differ in which form they believe, so a file
is read only if its coded forms agree, and written with both forms equal and coded; a qform that
cannot hold the affine to 0.001 mm is left uncoded, and no reader is misled by it. Nothing is
guessed, nothing repaired, and nothing but voxels, grid and form code passes from input to output:
free text in a header may name a patient.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

import nibabel as nib
import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from medseg.errors import DataError, GeometryError, Problem, ResourceError
from medseg.geometry import TOLERANCE_MM, Grid, corner_shift_mm
from medseg.io.atomic import replacing
from medseg.io.finite import Voxels, are_finite, made_finite, not_finite
from medseg.io.nifti_claims import Claims, Form, Layout, Reader, require_writable
from medseg.io.nifti_label_table import label_table
from medseg.io.nifti_names import SUFFIXES
from medseg.io.nifti_stream import (
    MAX_INFLATION,
    holds,
    opened,
    require_bytes,
    voxel_bytes,
    write_content,
)
from medseg.labels import LabelSet

_LOG = logging.getLogger(__name__)
_INTENT_LABEL = 1002
_HEADERS = {348: (nib.Nifti1Header, b"n+1"), 540: (nib.Nifti2Header, b"n+2")}


class Frame(NamedTuple):
    """What the millimetres refer to: the form code, and a note for whoever opens the header."""

    form_code: int
    note: str


ASSUMED = Frame(2, "medseg: orientation assumed, not scanner")


class _Kind(NamedTuple):
    """What voxels are: the intent's name of labels, and what stands between header and voxels."""

    label: str = ""
    extension: bytes = bytes(4)


_IMAGE = _Kind()


class Image(NamedTuple):
    """What an image file holds: voxels ``(I, J, K)``, their grid and frame, and any warnings."""

    voxels: NDArray[np.float32]
    grid: Grid
    frame: Frame
    warnings: tuple[Problem, ...]


class _Content(NamedTuple):
    """What a file holds: scaled voxels ``(I, J, K)`` and how and where they lie."""

    voxels: Voxels
    layout: Layout


def read_volume(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Read the voxels ``(I, J, K)`` and the grid of an image; warnings go to the log.

    Raises:
        DataError: As `read_image`.
    """
    image = read_image(path)
    for warning in image.warnings:
        _LOG.warning("%s", warning)
    return image.voxels, image.grid


def read_image(
    path: Path, *, use: Form | None = None, assume_ras: bool = False, nan_to_min: bool = False
) -> Image:
    """Read an image.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file with one real number a voxel; trailing axes of
            length 1 are dropped.
        use: The form to believe where sform and qform disagree.
        assume_ras: Take the axes of a file without any form as right, front and head.
        nan_to_min: Replace voxels that are not finite by the smallest finite one, with a warning.

    Returns:
        The image, scaled as its header says, first index fastest in memory. An unknown unit is
        taken as mm, with a warning.

    Raises:
        DataError: Codes E-IO, E-NII-FORMAT, -TRUNC, -CRC, -SIZE, -DIM, -FORMS, -NOFORM, -AFFINE,
            -UNITS and -NAN; all that is wrong with the header in one pass.
    """
    content = _read(path, use=use, assume_ras=assume_ras)
    layout = content.layout
    with np.errstate(over="ignore"):
        voxels = np.asarray(content.voxels, np.float32, order="F")
    broken = made_finite(voxels, str(path), kind="NII", nan_to_min=nan_to_min)
    frame = Frame(layout.form_code, "medseg")
    return Image(voxels, layout.grid, frame, (*layout.warnings, *broken))


def read_grid(path: Path) -> Grid:
    """Return the grid of a file by its header; no voxel is read.

    Raises:
        DataError: As `read_image`, as far as the header tells.
    """
    with _voxels_of(path) as (_, layout):
        return layout.grid


def read_label_map(
    path: Path, *, use: Form | None = None, assume_ras: bool = False
) -> tuple[NDArray[np.uint8], Grid]:
    """Read a label map ``(I, J, K)``, first index fastest, and its grid in mm.

    Numbers stored as floats are taken where they are whole, and never rounded. `use` and
    `assume_ras` are those of `read_image`.

    Raises:
        DataError: As `read_image`, but E-LABEL in place of E-NII-DIM, and for a voxel that is no
            whole number from 0 to 255.
    """
    try:
        voxels, layout = _read(path, use=use, assume_ras=assume_ras)
    except DataError as error:
        raise DataError(*(_of_labels(problem) for problem in error.problems)) from error
    if voxels.dtype != np.uint8:
        _require_codes(voxels, path)
    return np.asarray(voxels, np.uint8, order="F"), layout.grid


def write_label_map(
    path: Path,
    label_map: NDArray[np.uint8],
    grid: Grid,
    labels: LabelSet,
    *,
    frame: Frame = ASSUMED,
) -> None:
    """Write a label map ``(I, J, K)``; one without any organ is written as zeros.

    Raises:
        DataError: E-LABEL, a voxel holds a code that no organ of `labels` has.
        GeometryError: See `require_writable`.
        ResourceError: The disk is full or the file cannot be written.
    """
    _require_known(path, label_map, {0, *(organ.code for organ in labels.organs)})
    kind = _Kind("label map", label_table(labels))
    _write(path, label_map.astype(np.uint8, copy=False), grid, frame=frame, kind=kind)


def write_mask(
    path: Path,
    mask: NDArray[np.generic],
    grid: Grid,
    *,
    organ: str = "mask",
    frame: Frame = ASSUMED,
) -> None:
    """Write one organ's mask ``(I, J, K)`` as 0 and 1; `organ` is kept as the intent's name."""
    _write(path, np.asarray(mask, bool).view(np.uint8), grid, frame=frame, kind=_Kind(organ))


def write_probs(
    path: Path, probs: NDArray[np.float32], grid: Grid, *, frame: Frame = ASSUMED
) -> None:
    """Write one organ's probabilities ``(I, J, K)`` as float32.

    Raises:
        DataError: E-PROBS, a value is not a number from 0 to 1.
    """
    # The extremes are NaN where a value is, and NaN fails both.
    if not (probs.min(initial=0) >= 0 and probs.max(initial=0) <= 1):
        low, high = float(np.min(probs)), float(np.max(probs))
        raise DataError(Problem("E-PROBS", str(path), f"values from {low:g} to {high:g}", "0 to 1"))
    _write(path, probs.astype(np.float32, copy=False), grid, frame=frame)


def write_image(path: Path, voxels: Voxels, grid: Grid, *, frame: Frame = ASSUMED) -> None:
    """Write an image ``(I, J, K)`` in its own type, unscaled: float32, uint8, int16 or uint16.

    Raises:
        DataError: E-NII-NAN, a voxel is not finite: `read_image` would refuse the file.
    """
    if not are_finite(voxels):
        raise DataError(not_finite(~np.isfinite(voxels), str(path), kind="NII"))
    _write(path, voxels, grid, frame=frame)


def _write(path: Path, voxels: Voxels, grid: Grid, *, frame: Frame, kind: _Kind = _IMAGE) -> None:
    """Write a file, read it back with the strict reader, and only then give it its name."""
    if voxels.shape != grid.shape:
        raise GeometryError(Problem("E-GRID", str(path), f"shape {voxels.shape}", f"{grid.shape}"))
    _require_suffix(path)
    require_writable(grid, subject=str(path))
    header = _new_header(voxels, grid, frame, kind)

    dtype = header.get_data_dtype()
    stored = voxels.ravel(order="F").astype(dtype, copy=False).view(np.uint8)
    meant = (grid.shape, dtype, None, ())

    def verify(written: Path) -> None:
        with _voxels_of(written) as (stream, layout):
            found = (layout.shape, layout.dtype, layout.scaling, layout.warnings)
            affine = grid.affine_ras_mm.astype(np.float32)
            same = found == meant and np.array_equal(layout.grid.affine_ras_mm, affine)
            if not (holds(stream, stored) and same):
                raise ResourceError(
                    Problem("E-IO", str(path), "what the disk holds is not what was written")
                )

    with replacing(path, verify=verify) as stream:
        parts = [header.binaryblock, kind.extension, stored.data]
        write_content(stream, parts, packed=path.suffix == ".gz")


def _new_header(voxels: Voxels, grid: Grid, frame: Frame, kind: _Kind) -> "nib.Nifti1Header":
    header = nib.Nifti1Header()
    header.set_data_shape(voxels.shape)
    header.set_data_dtype(voxels.dtype)
    header.set_sform(grid.affine_ras_mm, frame.form_code)
    header.set_qform(grid.affine_ras_mm, frame.form_code)
    if _qform_shift_mm(header, grid) > TOLERANCE_MM:
        # ITK 5.4 believes a coded qform unless the sform's code is 1. Half a turn and a little,
        # such as a tilted axial scan, float32 keeps to 7e-4 rad only: leave it to the sform then.
        header["qform_code"] = 0
    header.set_xyzt_units("mm")
    header["vox_offset"] = 348 + len(kind.extension)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["descrip"] = frame.note.encode("ascii")
    if kind.label:
        header["intent_code"] = _INTENT_LABEL
        header["intent_name"] = kind.label.encode("ascii", "replace")[:15]
    return header


def _qform_shift_mm(header: "nib.Nifti1Header", grid: Grid) -> float:
    """Return how far a corner of the grid is off, as nibabel or as nifti1_io.c reads the qform."""
    by_nibabel = header.get_qform()
    quaternion = header.get_qform_quaternion()
    if quaternion[0] ** 2 < 1e-7:  # nifti1_io.c: nifti_quatern_to_mat44
        quaternion[0] = 0
    by_c = by_nibabel.copy()
    by_c[:3, :3] = quat2mat(quaternion) * header["pixdim"][1:4]
    by_c[:3, 2] *= header["pixdim"][0]
    return max(corner_shift_mm(grid, Grid(grid.shape, form)) for form in (by_nibabel, by_c))


def _read(path: Path, *, use: Form | None = None, assume_ras: bool = False) -> _Content:
    with _voxels_of(path, use=use, assume_ras=assume_ras) as (stream, layout):
        stored = voxel_bytes(stream, layout, path).view(layout.dtype)
    stored = stored.reshape(layout.shape, order="F")
    voxels = stored if layout.scaling is None else apply_read_scaling(stored, *layout.scaling)
    return _Content(voxels, layout)


@contextmanager
def _voxels_of(
    path: Path, *, use: Form | None = None, assume_ras: bool = False
) -> Iterator[tuple[BinaryIO, Layout]]:
    """Open a file where its voxels begin; all that its header says has been checked."""
    _require_suffix(path)
    with opened(path) as stream:
        header = _header(stream, path)
        reader = Reader(_claims(header), subject=str(path), use=use, assume_ras=assume_ras)
        size = path.stat().st_size
        if path.suffix == ".gz":
            layout = reader.layout(capacity_bytes=size * MAX_INFLATION)
        else:
            layout = reader.layout()
            require_bytes(layout, size - layout.offset_bytes, path, intact=False)
        stream.read(layout.offset_bytes - int(header["sizeof_hdr"]))
        yield stream, layout


def _require_suffix(path: Path) -> None:
    if not path.name.endswith(SUFFIXES):
        raise DataError(
            Problem("E-NII-FORMAT", str(path), "is not named as NIfTI", ".nii or .nii.gz")
        )


def _header(stream: BinaryIO, path: Path) -> "nib.Nifti1Header | nib.Nifti2Header":
    """Read a header, either version and byte order, without nibabel's repairs."""
    start = stream.read(4)
    for order, endianness in (("little", "<"), ("big", ">")):
        n_bytes = int.from_bytes(start, cast(Literal["little", "big"], order))
        if n_bytes in _HEADERS:
            kind, magic = _HEADERS[n_bytes]
            block = start + stream.read(n_bytes - 4)
            if len(block) < n_bytes:
                found = f"ends within its header, after {len(block)} bytes"
                raise DataError(Problem("E-NII-TRUNC", str(path), found, fix="copy it again"))
            header = kind(block, endianness, check=False)
            if header["magic"].item()[:3] == magic:
                return header
    empty = "is empty" if not start else "is not a NIfTI file: its magic is missing"
    code = "E-NII-FORMAT" if start else "E-NII-TRUNC"
    raise DataError(Problem(code, str(path), empty, "one file of NIfTI-1 or NIfTI-2"))


def _claims(header: "nib.Nifti1Header | nib.Nifti2Header") -> Claims:
    pixdim = header["pixdim"].astype(np.float64)
    if pixdim[0] == 0:
        header["pixdim"][0] = 1  # nifti1.h: "if it is 0, set to 1"
    try:
        qform = header.get_qform()
    except (HeaderDataError, ValueError):
        qform = None
    return Claims(
        dim=tuple(int(n) for n in header["dim"]),
        datatype=int(header["datatype"]),
        byte_order=header.endianness,
        offset_bytes=float(header["vox_offset"]),
        scaling=(float(header["scl_slope"]), float(header["scl_inter"])),
        pixdim_mm=pixdim[1:4],
        units=int(header["xyzt_units"]),
        codes={"sform": int(header["sform_code"]), "qform": int(header["qform_code"])},
        forms={"sform": header.get_sform().astype(np.float64), "qform": qform},
    )


def _of_labels(problem: Problem) -> Problem:
    # Several numbers a voxel are a fault of the image elsewhere; here they are no label.
    return replace(problem, code="E-LABEL") if problem.code == "E-NII-DIM" else problem


def _require_codes(voxels: Voxels, path: Path) -> None:
    with np.errstate(invalid="ignore"):
        wrong = ~((voxels >= 0) & (voxels <= 255) & (voxels == np.rint(voxels)))
    if wrong.any():
        shown = ", ".join(f"{value:g}" for value in np.unique(voxels[wrong])[:5])
        first = tuple(int(n) for n in np.argwhere(wrong)[0])
        found = f"{int(wrong.sum())} voxels hold {shown}; the first is {first}"
        fix = "was it resampled with interpolation? Export it again with nearest neighbour"
        raise DataError(Problem("E-LABEL", str(path), found, "whole numbers 0 to 255", fix))


def _require_known(path: Path, label_map: NDArray[np.generic], known: set[int]) -> None:
    if len(known) == max(known) + 1 and label_map.dtype.kind == "u":
        # Without gaps the highest code tells, ten times as fast as counting each.
        fine = int(label_map.max(initial=0)) in known
    else:
        held = sum(int(np.count_nonzero(label_map == code)) for code in known)
        fine = held == label_map.size
    if not fine:
        unknown = sorted({*np.unique(label_map).tolist()} - known)
        raise DataError(
            Problem("E-LABEL", str(path), f"codes {unknown}", f"{sorted(known)}", "check the map")
        )
