"""ITK's part: images in its formats NRRD and MetaImage, and its N4 bias-field correction.

ITK's own readers are not asked to read: they write damaged voxels into the image without a word,
and repair a header that makes no sense. Both formats are a text and the voxels as they are, or
deflated.
"""

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

# Of N4ITK's own program: a quarter of the voxels along each axis, as the field is smooth.
_SHRINK = 4
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


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that an image consists of: a header that stands alone has another.

    Raises:
        DataError: The header cannot be read.
    """
    return tuple(dict.fromkeys((path, claims_of(path).data)))


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

    The field is estimated on fewer voxels, above Otsu's threshold, and divided out at full
    resolution. A constant image is returned as it is.

    Args:
        image: Values from 0.
        spacing_mm: Of the voxels.

    References:
        Tustison et al. (2010), N4ITK: improved N3 bias correction.
    """
    import SimpleITK as sitk  # noqa: N813 - as everyone calls it; most of a second

    if image.min() == image.max():
        return image
    whole = sitk.GetImageFromArray(image.T)
    whole.SetSpacing([float(side_mm) for side_mm in spacing_mm])
    small = sitk.Shrink(whole, [min(_SHRINK, side) for side in image.shape])
    body = sitk.OtsuThreshold(small, 0, 1, 200)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(_ITERATIONS)
    corrector.Execute(small, body)
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(whole))
    corrected: NDArray[np.float32] = sitk.GetArrayFromImage(whole / field)
    return corrected.T
