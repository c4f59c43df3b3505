"""The headers of a DICOM series that was segmented, which its results refer to."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from medseg.errors import DataError, GeometryError, Problem
from medseg.io.dicom_files import Held
from medseg.io.dicom_written import silenced
from medseg.scan import Series

_SAME = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID")
_NEEDED = ("SOPInstanceUID", *_SAME[1:])
# Of the modules that tell a patient, a study and a frame of reference: what may be empty, but not
# absent, and what may be absent. The last ones tell that identifiers were removed.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator"),
)
_OPTIONAL = (
    *("SpecificCharacterSet", "IssuerOfPatientID", "PatientBirthTime", "StudyDescription"),
    *("PatientAge", "PatientSize", "PatientWeight"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
    *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    "LongitudinalTemporalInformationModified",
)
_FIX = "has it been changed meanwhile? Begin again"


def sources_of(
    series: Series, clean: Callable[[Dataset], Dataset] | None = None
) -> tuple[Dataset, ...]:
    """Return the headers of a series' files along K, without pixels; one if it is multi-frame.

    Args:
        series: As it was found.
        clean: Gives what is to be used in place of a header, such as one without identifiers.

    Raises:
        DataError: E-DCM-CHANGED, a file is not what it was when the series was found; all such
            files are told.
    """
    with silenced():
        headers = [_header(path) for path in series.files]
        found = [_changed(header, series, k) for k, header in enumerate(headers)]
        problems = [
            Problem("E-DCM-CHANGED", str(path), what, f"the file of {series.grid}", _FIX)
            for path, what in zip(series.files, found, strict=True)
            if what
        ]
        if problems:
            raise DataError(*problems)
        read = [header for header in headers if header is not None]
        return tuple(map(clean, read) if clean else read)


def require_one_study(sources: Sequence[Dataset], *, subject: str) -> None:
    """Raise DataError unless all headers are of one patient, study, series and frame of reference.

    Raises:
        DataError: E-DCM-MIXED, with the names of the elements that differ or are missing.
    """
    with silenced():
        told = {name: {str(header.get(name, "")) for header in sources} for name in _SAME}
        numbers = [str(header.get("SOPInstanceUID", "")) for header in sources]
    problems = [
        Problem("E-DCM-MIXED", subject, f"{len(values)} values of {name}", "one series' files")
        for name, values in told.items()
        if len(values) != 1
    ]
    problems += [
        Problem("E-DCM-MIXED", subject, f"{name} is missing", "the file of a scanner")
        for name in _NEEDED
        if "" in told.get(name, set(numbers))
    ]
    if len(set(numbers)) != len(numbers):
        problems.append(Problem("E-DCM-MIXED", subject, "a file is there twice", "each once"))
    if problems:
        raise DataError(*problems)


def require_fit(
    shape: tuple[int, ...], organs: int, sources: Sequence[Dataset], *, series: Series
) -> None:
    """Raise GeometryError unless masks are of a series' shape, and sources as many as its files.

    Args:
        shape: Of the masks.
        organs: How many there are to be.
        sources: The series' headers.
        series: What the masks are about.
    """
    want = (organs, *series.grid.shape)
    if shape != want:
        raise GeometryError(Problem("E-GRID", series.scan_id, f"masks {shape}", f"{want}"))
    if len(sources) != len(series.files):
        found = f"{len(sources)} headers"
        raise GeometryError(Problem("E-GRID", series.scan_id, found, f"{len(series.files)}"))


def adopt_study(dataset: Dataset, source: Dataset) -> None:
    """Make a result belong to its source's patient and study, in the source's own words.

    They are taken as they are, valid or not: what differs from the images is another patient's to
    an archive.

    Source: PS3.3 C.7.1.1, C.7.1.3, C.7.2.1, C.7.2.2, C.7.2.3, C.7.4.1.
    """
    with silenced():
        for name in (*_REQUIRED, *_OPTIONAL):
            if name in source:
                dataset[name] = source[name]
            elif name in _REQUIRED:
                setattr(dataset, name, None)
            else:
                dataset.pop(name, None)


def _header(path: Path) -> Dataset | None:
    try:
        with Held(path) as stream:
            return pydicom.dcmread(stream, stop_before_pixels=True)
    except (OSError, EOFError, InvalidDicomError, ValueError, KeyError, AttributeError):
        return None


def _changed(header: Dataset | None, series: Series, k: int) -> str:
    """Return what is wrong with file number `k` of a series, nothing where all is well."""
    if header is None:
        return "cannot be read"
    if not header.get("SOPInstanceUID"):
        return "has no SOPInstanceUID"
    held = (header.get("Columns"), header.get("Rows"))
    if held != series.grid.shape[:2]:
        return f"has {held[0]} x {held[1]} pixels"
    frames = int(header.get("NumberOfFrames") or 1)
    if frames < max(series.frames, default=1):
        return f"has {frames} frames"
    if not series.frames:
        place_lps_mm = np.array(header.get("ImagePositionPatient") or [np.inf] * 3, float)
        shift_mm = np.linalg.norm(place_lps_mm * (-1, -1, 1) - series.grid.to_ras_mm((0, 0, k)))
        # Real slices are not quite regular; one that is mixed up is off by a whole step.
        if not shift_mm < series.grid.spacing_mm[2] / 2:
            return f"lies {shift_mm:.3g} mm off its slice"
    return ""
