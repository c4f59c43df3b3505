"""Organs as contours in a DICOM RT Structure Set, which treatment planning systems read.

One ROI an organ, in the patient's frame of reference, on the planes of the slices that were
segmented. Every contour is CLOSED_PLANAR, holes are reached by keyholes (see `io.contours`): so the
contours are right for readers that unite an ROI's contours, as much as for those that combine them
by XOR; CLOSEDPLANAR_XOR, the standard's other way, is not known to most of them.

Source: PS3.3 A.19 and C.8.8.5, C.8.8.6, C.8.8.8.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset, uid
from pydicom.dataset import FileMetaDataset

from medseg.io.contours import Contour, closed_contours
from medseg.io.dicom_sources import adopt_study, require_fit, require_one_study
from medseg.io.dicom_written import (
    SERIES_NUMBERS,
    Algorithm,
    add_equipment,
    as_standard,
    date_and_time,
    meaning_of,
    new_uid,
    save,
    silenced,
)
from medseg.labels import LabelSet, Organ
from medseg.scan import Series

# Retired, and still what is put in the place of a study's class: PS3.3 C.8.8.5.4.
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
# A tenth of a micrometre keeps what is midway between two voxels midway.
_DECIMALS = 4


def write_rtstruct(
    path: Path,
    masks: NDArray[np.generic],
    labels: LabelSet,
    *,
    sources: Sequence[Dataset],
    series: Series,
    algorithm: Algorithm,
) -> None:
    """Write an RT Structure Set: an ROI an organ, its contours on the slices of the series.

    An organ that is nowhere is an ROI without contours.

    Args:
        path: The file to make or replace.
        masks: ``(organs, I, J, K)`` on the grid of the series, in the order of `labels`.
        labels: Names, codes (which become ROI numbers), colours and SNOMED CT concepts.
        sources: The headers of the files of `series`; one for a multi-frame file.
        series: What was segmented.
        algorithm: What made the masks.

    Raises:
        DataError: E-DCM-MIXED, the sources are not of one series with a frame of reference.
        GeometryError: E-GRID, the masks or the sources are not as many as organs and slices.
        ResourceError: The disk is full, or what it holds is not what was written.
    """
    require_fit(masks.shape, len(labels.organs), sources, series=series)
    require_one_study(sources, subject=series.scan_id)
    algorithm = as_standard(algorithm)
    dataset = _about(sources[0], algorithm)
    with silenced():
        dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(sources)]
        places_lps_mm = _places_lps_mm(sources, series)
    frame_uid = str(dataset.FrameOfReferenceUID)
    dataset.StructureSetROISequence = [_roi(organ, frame_uid, algorithm) for organ in labels.organs]
    dataset.ROIContourSequence = [
        _roi_contour(organ, mask, places_lps_mm, sources, series)
        for organ, mask in zip(labels.organs, masks, strict=True)
    ]
    dataset.RTROIObservationsSequence = [_observation(organ) for organ in labels.organs]
    save(path, dataset)


def _about(source: Dataset, algorithm: Algorithm) -> Dataset:
    """Return a data set with all that is not about one organ."""
    dataset = Dataset()
    # Implicit: an explicit length of DS ends at 65534 bytes, and a contour may be longer.
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    adopt_study(dataset, source)
    add_equipment(dataset)
    date, time = date_and_time(datetime.now())
    dataset.SOPClassUID = uid.RTStructureSetStorage
    dataset.SOPInstanceUID = new_uid()
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = new_uid()
    dataset.SeriesNumber = SERIES_NUMBERS["RTSTRUCT"]
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.SeriesDescription = f"Contours by {algorithm.name}"[:64]
    dataset.OperatorsName = None
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = algorithm.name[:16]
    dataset.StructureSetDate, dataset.StructureSetTime = date, time
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _frame_of_reference(sources: Sequence[Dataset]) -> Dataset:
    """Return the reference to the study, the series and each of its images. Source: C.8.8.5.4."""
    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [_image(source) for source in sources]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY_CLASS
    study.ReferencedSOPInstanceUID = sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(source: Dataset, frame: int = 0) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = source.SOPClassUID
    image.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if frame:
        image.ReferencedFrameNumber = frame
    return image


def _places_lps_mm(sources: Sequence[Dataset], series: Series) -> NDArray[np.float64]:
    """Return where the first voxel of each slice lies ``(K, 3)``.

    Slices are not quite as regular as the grid is, and some readers find a contour's slice by its
    position: it is the header's own where each slice has one.
    """
    if not series.frames:
        return np.array([source.ImagePositionPatient for source in sources], np.float64)
    k = np.arange(series.grid.shape[2])
    first = np.stack([np.zeros_like(k), np.zeros_like(k), k], axis=1)
    return series.grid.to_ras_mm(first) * (-1, -1, 1)


def _roi(organ: Organ, frame_uid: str, algorithm: Algorithm) -> Dataset:
    """Return an item of the Structure Set ROI Sequence. Source: C.8.8.5."""
    roi = Dataset()
    roi.ROINumber = organ.code
    roi.ReferencedFrameOfReferenceUID = frame_uid
    roi.ROIName = organ.name
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIGenerationDescription = f"{algorithm.name} {algorithm.version}"[:64]
    return roi


def _roi_contour(
    organ: Organ,
    mask: NDArray[np.generic],
    places_lps_mm: NDArray[np.float64],
    sources: Sequence[Dataset],
    series: Series,
) -> Dataset:
    """Return an item of the ROI Contour Sequence. Source: C.8.8.6."""
    roi = Dataset()
    roi.ROIDisplayColor = list(organ.colour)
    roi.ReferencedROINumber = organ.code
    steps_lps_mm = series.grid.affine_ras_mm[:3, :2].T * (-1, -1, 1)
    contours: list[Dataset] = []
    for k, contour in _of_slices(mask):
        item = Dataset()
        frame = series.frames[k] if series.frames else 0
        item.ContourImageSequence = [_image(sources[0 if frame else k], frame)]
        item.ContourGeometricType = "CLOSED_PLANAR"
        item.NumberOfContourPoints = len(contour)
        item.ContourNumber = len(contours) + 1
        item.add(_contour_data(contour @ steps_lps_mm + places_lps_mm[k]))
        contours.append(item)
    if contours:
        roi.ContourSequence = contours
    return roi


def _of_slices(mask: NDArray[np.generic]) -> Iterator[tuple[int, Contour]]:
    for k in np.flatnonzero(mask.any((0, 1))):
        for contour in closed_contours(mask[:, :, k]):
            yield int(k), contour


def _contour_data(points_mm: NDArray[np.float64]) -> DataElement:
    """Return points ``(points, 3)`` as DS: at most 16 characters each, without idle zeros."""
    # Adding 0.0 leaves no minus before a zero.
    numbers = (np.round(points_mm, _DECIMALS) + 0.0).ravel().tolist()
    text = "\\".join(repr(number).removesuffix(".0") for number in numbers)
    # Given as it is to be written: pydicom takes seconds to make objects of 100,000 numbers.
    return DataElement("ContourData", "DS", text, already_converted=True)


def _observation(organ: Organ) -> Dataset:
    """Return an item of the RT ROI Observations Sequence. Source: C.8.8.8."""
    observation = Dataset()
    observation.ObservationNumber = organ.code
    observation.ReferencedROINumber = organ.code
    observation.ROIObservationLabel = organ.name[:16]
    if organ.snomed:
        code = Dataset()
        # Codes of national extensions are longer than SH takes: PS3.3 8.1.
        setattr(code, "CodeValue" if len(organ.snomed) <= 16 else "LongCodeValue", organ.snomed)
        code.CodingSchemeDesignator = "SCT"
        code.CodeMeaning = meaning_of(organ)
        observation.RTROIIdentificationCodeSequence = [code]
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = None
    return observation
