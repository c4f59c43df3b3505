"""An image from whatever file format it is in."""

from pathlib import Path
from typing import NamedTuple

from medseg.errors import DataError, Problem
from medseg.io import nifti_names
from medseg.io.image_names import ITK_SUFFIXES, SUFFIXES
from medseg.io.nifti import Image, read_image
from medseg.io.nifti_claims import Form
from medseg.scan import Series


class Reading(NamedTuple):
    """What a user allows of files that are not sound. Nothing by default.

    An item's entry ``reading`` brings it to `ReadVolumed`; no entry is the default.

    Attributes:
        use: The form to believe where a NIfTI file's sform and qform disagree (``--use``).
        assume_ras: Take the axes of a file that does not say where it lies as right, front and
            head (``--assume-ras``).
        nan_to_min: Replace voxels that are not finite by the smallest finite one
            (``--nan-to-min``).
    """

    use: Form | None = None
    assume_ras: bool = False
    nan_to_min: bool = False


AS_IT_IS = Reading()


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that an image consists of: a header of ITK's may have voxels beside it.

    Raises:
        DataError: A header that would tell cannot be read.
    """
    if path.suffix not in ITK_SUFFIXES:
        return (path,)
    from medseg.io.itk_headers import claims_of

    return tuple(dict.fromkeys((path, claims_of(path).data)))


def read_source(source: Path | Series, reading: Reading = AS_IT_IS) -> Image:
    """Return the image of a file or a DICOM series, strictly read but for what `reading` allows.

    Its `warnings` are the caller's to tell.

    Raises:
        DataError: E-FORMAT, the format is not known; or what the format's own reader found.
    """
    if isinstance(source, Series):
        from medseg.io.dicom_pixels import read_series

        return read_series(source)
    if source.name.endswith(nifti_names.SUFFIXES):
        return read_image(source, **reading._asdict())
    if source.name.endswith(ITK_SUFFIXES):
        from medseg.io.itk import read_itk

        return read_itk(source, assume_ras=reading.assume_ras, nan_to_min=reading.nan_to_min)
    raise DataError(Problem("E-FORMAT", str(source), "is of no known format", ", ".join(SUFFIXES)))
