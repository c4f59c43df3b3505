"""Cleaned copies of DICOM files, under names that tell nothing."""

from pathlib import Path

import pydicom

from medseg.io.dicom_files import Held
from medseg.io.dicom_headers import read_header
from medseg.io.dicom_identity import Identity
from medseg.io.dicom_written import save, silenced


def write_cleaned(path: Path, folder: Path, identity: Identity) -> Path:
    """Write a DICOM image without whose it is, and return the file.

    Args:
        path: The image.
        folder: Where to write ``PSEUDONYM/SERIES/INSTANCE.dcm``, of the other identity.
        identity: Tells what stands for what.

    Raises:
        DataError: The file is faulty, or E-DEIDENTIFY, it may show what cannot be taken out.
        ResourceError: The disk is full.
    """
    with silenced():
        read_header(path)
        with Held(path) as stream:
            cleaned = identity.clean(pydicom.dcmread(stream))
    series = str(cleaned.get("SeriesInstanceUID", ""))[-12:]
    file = folder / str(cleaned.PatientID) / series / f"{cleaned.SOPInstanceUID}.dcm"
    save(file, cleaned)
    return file
