"""ITK's part: images in its formats NRRD and MetaImage, its N4 bias-field correction, its opinion.

ITK's own readers are not asked to read: they write damaged voxels into the image without a word,
and repair a header that makes no sense. Both formats are a text and the voxels as they are, or
deflated.
"""

import math
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.geometry import Spacing
from medseg.io.finite import made_finite
from medseg.io.itk_claims import Layout, layout_of
from medseg.io.itk_headers import claims_of
from medseg.io.nifti import ASSUMED, Frame, Image

_STEP_BYTES = 1 << 20
_EITHER = 47  # zlib.h: 15 bits of window, 32 for a header of zlib or gzip, whichever is there

# A coil's shading is smooth over centimetres: voxels of 12 mm show it as those of 8 mm do, in a
# third of the time. 24 a side at least keep it apart from the organs.
_COARSE_MM, _LEAST_VOX = 12.0, 24
_PICTURE_VOX = 16
# No coil does more; far from the body a spline may.
_LOG_LIMIT = math.log(10)
_ITERATIONS = (50, 50, 30, 20)


def read_itk(path: Path, *, assume_ras: bool = False, nan_to_min: bool = False) -> Image:
    """Read an image.

    Args:
        path: A ``.nrrd``, ``.mha``, ``.nhdr`` or ``.mhd`` file with one real number a voxel; axes
            of length 1 outside of space are dropped. A header may name one file of its folder.
        assume_ras: Take the axes of a file that tells spacing alone as right, front and head.
        nan_to_min: Replace voxels that are not finite by the smallest finite one, with a warning.

    Returns:
        The image, first index fastest in memory. Its form code is 1 where the file says where its
        voxels lie in the patient, else 2.

    Raises:
        DataError: Codes E-IO, E-TOO-LARGE, E-ITK-FORMAT, -TRUNC, -CRC, -SIZE, -DIM, -NOFORM,
            -AFFINE, -UNITS, -DETACHED and -NAN; all that is wrong with the header in one pass.
    """
    layout = layout_of(claims_of(path), subject=str(path), assume_ras=assume_ras)
    try:
        stored = _voxel_bytes(layout, path)
    except OSError as error:
        found = f"its voxels cannot be read: {error.strerror or error}"
        raise DataError(Problem("E-IO", str(path), found, "a readable file")) from error
    with np.errstate(over="ignore"):
        voxels = np.asarray(
            stored.view(layout.dtype).reshape(layout.shape, order="F"), np.float32, order="F"
        )
    warnings = made_finite(voxels, str(path), kind="ITK", nan_to_min=nan_to_min)
    return Image(voxels, layout.grid, Frame(1, "medseg") if layout.placed else ASSUMED, warnings)


def _voxel_bytes(layout: Layout, path: Path) -> NDArray[np.uint8]:
    if not layout.packed:
        return np.fromfile(layout.data, np.uint8, layout.n_bytes, offset=layout.offset_bytes)
    stored, held = np.empty(layout.n_bytes, np.uint8), 0
    inflater = isal_zlib.decompressobj(_EITHER)
    with layout.data.open("rb") as stream:
        stream.seek(layout.offset_bytes)
        # To the end, where the checksum is, even when there are voxels enough.
        while not inflater.eof and (chunk := inflater.unconsumed_tail or stream.read(_STEP_BYTES)):
            room = min(_STEP_BYTES, len(stored) - held + 1)
            try:
                part = np.frombuffer(inflater.decompress(chunk, room), np.uint8)
            except isal_zlib.error as error:  # type: ignore[misc]
                found = "its compressed stream is damaged"
                problem = Problem("E-ITK-CRC", str(path), found, fix="copy it again")
                raise DataError(problem) from error
            stored[held : held + len(part)] = part[: len(stored) - held]
            held += len(part)
            if held > len(stored):
                break
    if held <= len(stored) and not inflater.eof:
        found = f"its compressed stream ends early, after {held} bytes of voxels"
        raise DataError(Problem("E-ITK-TRUNC", str(path), found, fix="copy it again"))
    if held != len(stored):
        found = f"holds {'more' if held > len(stored) else f'{held} bytes of voxels'}"
        expected = f"{len(stored)} for {layout.shape}"
        raise DataError(Problem("E-ITK-SIZE", str(path), found, expected, "export it again"))
    return stored


def n4_corrected(image: NDArray[np.float32], spacing_mm: Spacing) -> NDArray[np.float32]:
    """Return an image ``(I, J, K)`` without its slowly varying shading.

    The field is estimated on fewer voxels, those above both Otsu's threshold and 0, and divided out
    at full resolution. The same image gives the same bits on any number of cores. One that shows
    nothing, of one value or without any above 0, is returned as it is, and so is one that is
    smaller than 16 x 16.

    Args:
        image: Values that are 0 where there is no signal; any others are divided like it.
        spacing_mm: Of the voxels.

    References:
        Tustison et al. (2010), N4ITK: improved N3 bias correction.
    """
    import SimpleITK as sitk  # noqa: N813 - as everyone calls it; most of a second

    flat = image.min() == image.max() or image.max() <= 0
    if flat or sorted(image.shape)[1] < _PICTURE_VOX:
        return image
    # Sums over threads depend on how many there are; and whoever prepares scans has several at it.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    # ITK cannot place splines along a side of one voxel.
    doubled = np.pad(image, [(0, int(side == 1)) for side in image.shape], mode="edge")
    whole = sitk.GetImageFromArray(doubled.T)
    whole.SetSpacing([float(side_mm) for side_mm in spacing_mm])
    small = sitk.Shrink(whole, [*map(_shrunk, doubled.shape, spacing_mm)])
    body = sitk.And(sitk.OtsuThreshold(small, 0, 1, 200), small > 0)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(_ITERATIONS)
    corrector.Execute(small, body)
    log_field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(whole)).T
    i, j, k = image.shape
    corrected: NDArray[np.float32] = image / np.exp(
        log_field[:i, :j, :k].clip(-_LOG_LIMIT, _LOG_LIMIT)
    )
    return corrected


def _shrunk(side_vox: int, side_mm: float) -> int:
    """Return how many voxels along an axis are taken as one."""
    return max(1, min(round(_COARSE_MM / side_mm), side_vox // _LEAST_VOX))


def places_in_label_map(path: Path) -> dict[int, tuple[float, ...]]:
    """Return where ITK puts the centre of each label of a NIfTI file, in mm RAS, by its number.

    A second look at what was written: nothing of it is asked of nibabel.
    """
    import SimpleITK as sitk  # noqa: N813 - as everyone calls it; most of a second

    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayViewFromImage(image)  # (K, J, I)
    places: dict[int, tuple[float, ...]] = {}
    for number in np.unique(labels[labels > 0]).tolist():
        ijk = np.argwhere(labels == number).mean(axis=0)[::-1].tolist()
        left, back, up = image.TransformContinuousIndexToPhysicalPoint(ijk)
        places[int(number)] = (-left, -back, up)
    return places
