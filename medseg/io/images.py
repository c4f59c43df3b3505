"""An image from whatever file format it is in."""

from pathlib import Path

from medseg.errors import DataError, Problem
from medseg.io.nifti import Image, read_image
from medseg.io.nifti_names import SUFFIXES
from medseg.scan import Series


def read_source(source: Path | Series) -> Image:
    """Return the image of a file or a DICOM series, strictly read.

    Its `warnings` are the caller's to tell.

    Raises:
        DataError: E-FORMAT, the format is not known; or what the format's own reader found.
    """
    if isinstance(source, Series):
        raise DataError(Problem("E-FORMAT", source.scan_id, "is a DICOM series", "a file"))
    if source.name.endswith(SUFFIXES):
        return read_image(source)
    raise DataError(Problem("E-FORMAT", str(source), "is of no known format", ", ".join(SUFFIXES)))
