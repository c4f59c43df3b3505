"""De-identify: copies of DICOM images that do not tell whose they are."""

from pathlib import Path

from medseg.errors import DataError, PartialError, Problem, UsageError
from medseg.io.dicom_copies import write_cleaned
from medseg.io.dicom_files import list_dicom
from medseg.io.dicom_identity import read_identity
from medseg.stages.display import Display


def deidentify(folder: Path, out: Path, *, key: Path, display: Display) -> list[Path]:
    """Write cleaned copies of all DICOM images in a folder, and return them.

    Args:
        folder: Searched with all folders in it; other files are passed over.
        out: A folder elsewhere; copies of an earlier run with the same key are replaced.
        key: The file of the key; made if it is not there.
        display: Where to show progress.

    Raises:
        UsageError: `out` lies in `folder`, or the key file holds something else.
        PartialError: Some files cannot be cleaned; the others are written.
        DataError: No file can be cleaned, or there is none.
    """
    if out.resolve().is_relative_to(folder.resolve()):
        found, fix = "lies among the files to clean", "write to a folder elsewhere"
        raise UsageError(Problem("E-EXISTS", str(out), found, fix=fix))
    listing = list_dicom(folder)
    if not listing.files and not listing.problems:
        raise DataError(Problem("E-FORMAT", str(folder), "holds no DICOM files"))
    identity = read_identity(key)
    display.begin("clean", len(listing.files))
    written: list[Path] = []
    problems = list(listing.problems)
    for done, path in enumerate(listing.files, 1):
        try:
            written.append(write_cleaned(path, out, identity))
        except DataError as error:
            problems += error.problems
        display.advance(done, len(listing.files))
    if problems:
        raise (PartialError if written else DataError)(*problems)
    return written
