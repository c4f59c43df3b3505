"""DICOM SEG: masks as segments of one file that refers to the images they were found in.

Segmentation Storage, type BINARY, PS3.3 A.51. Every organ is a segment, so that overlaps are kept,
and has a frame for every slice, the empty ones too: what was looked at and found empty is known.
An organ is named by its SNOMED CT concept; one without a code by its own name, in a coding scheme
of medseg's own, which PS3.3 8.2 allows where the scheme's name begins with 99.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import (
    AlgorithmIdentificationSequence,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from medseg.geometry import Grid
from medseg.io import dicom_written as written
from medseg.io.dicom_sources import adopt_study, require_fit, require_one_study
from medseg.io.dicom_written import Algorithm, as_standard, meaning_of
from medseg.labels import LabelSet, Organ
from medseg.scan import Series

_KINDS = codes.cid7150
_LESIONS = {getattr(codes.cid7159, name).value for name in codes.cid7159.dir()}
_OWN_SCHEME = "99MEDSEG"

_IMAGE = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"),
    *("StudyInstanceUID", "FrameOfReferenceUID"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
_TEXTS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)


def write_seg(
    path: Path,
    masks: NDArray[np.generic],
    labels: LabelSet,
    *,
    sources: Sequence[Dataset],
    series: Series,
    algorithm: Algorithm,
) -> None:
    """Write masks ``(C, I, J, K)`` on a series' grid; empty ones are written as empty segments.

    Args:
        path: The file to make or replace.
        masks: A channel an organ, nonzero inside; they may overlap.
        labels: The organs, in the order of the channels.
        sources: The series' headers along K, from `sources_of`; one if it is multi-frame.
        series: What was segmented.
        algorithm: What segmented it.

    Raises:
        GeometryError: E-GRID, the masks are not of the series' shape, or the sources are not as
            many as its files.
        DataError: E-DCM-MIXED, the sources are not of one study.
        ResourceError: The disk is full or the file cannot be written.
    """
    require_fit(masks.shape, len(labels.organs), sources, series=series)
    require_one_study(sources, subject=series.scan_id)
    with written.silenced():
        dataset = _segmentation(
            masks, labels, sources, series=series, algorithm=as_standard(algorithm)
        )
    written.save(path, dataset)


def _segmentation(
    masks: NDArray[np.generic],
    labels: LabelSet,
    sources: Sequence[Dataset],
    *,
    series: Series,
    algorithm: Algorithm,
) -> Segmentation:
    dataset = Segmentation(
        source_images=_images(sources, series),
        # Frames of rows of columns, a segment last.
        pixel_array=(masks != 0).view(np.uint8).transpose(3, 2, 1, 0),
        segmentation_type="BINARY",
        segment_descriptions=[
            _described(number, organ, algorithm) for number, organ in enumerate(labels.organs, 1)
        ],
        series_instance_uid=written.new_uid(),
        series_number=written.SERIES_NUMBERS["SEG"],
        sop_instance_uid=written.new_uid(),
        instance_number=1,
        manufacturer=written.MANUFACTURER,
        manufacturer_model_name=written.MODEL_NAME,
        software_versions=written.SOFTWARE_VERSIONS,
        device_serial_number=written.DEVICE_SERIAL_NUMBER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="SEGMENTATION",
        content_description=f"Segmentation by {algorithm.name}"[:64],
        series_description=f"Segmentation by {algorithm.name}"[:64],
        omit_empty_frames=False,
    )
    adopt_study(dataset, sources[0])
    if series.frames:
        _number_frames(dataset, series.frames)
    return dataset


def _described(number: int, organ: Organ, algorithm: Algorithm) -> SegmentDescription:
    meaning = meaning_of(organ)
    if not organ.snomed:
        category, kind = _KINDS.Tissue, Code(organ.name, _OWN_SCHEME, meaning)
    else:
        lesion = organ.snomed in _LESIONS
        category = _KINDS.MorphologicallyAbnormalStructure if lesion else _KINDS.AnatomicalStructure
        kind = Code(organ.snomed, "SCT", meaning)
    return SegmentDescription(
        segment_number=number,
        segment_label=organ.name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=codes.cid7162.ArtificialIntelligence,
            version=algorithm.version,
        ),
        display_color=CIELabColor.from_rgb(*organ.colour),
    )


def _images(sources: Sequence[Dataset], series: Series) -> list[Dataset]:
    """Return the images as highdicom needs them: what they are and where they lie.

    It takes one orientation only, equal to the last digit, and refuses names and dates that are
    not as the standard has them, so that it is given the grid's and none.
    """
    shared, positions = _geometry(series.grid)
    images = []
    for source in sources:
        image = Dataset()
        for name in _IMAGE:
            if name in source:
                image[name] = source[name]
        for name in _TEXTS:
            setattr(image, name, "")
        image.Columns, image.Rows = series.grid.shape[:2]
        images.append(image)
    if series.frames:
        images[0].SharedFunctionalGroupsSequence = [shared]
        images[0].PerFrameFunctionalGroupsSequence = positions
        images[0].NumberOfFrames = len(positions)
        return images
    for image, source in zip(images, sources, strict=True):
        image.update(shared.PixelMeasuresSequence[0])
        image.update(shared.PlaneOrientationSequence[0])
        image.ImagePositionPatient = source.ImagePositionPatient
    return images


def _geometry(grid: Grid) -> tuple[Dataset, list[Dataset]]:
    """Return functional groups, in LPS mm: what all slices of a grid share, and where each lies."""
    to_lps = np.diag([-1.0, -1.0, 1.0])
    cosines = to_lps @ grid.affine_ras_mm[:3, :2] / grid.spacing_mm[:2]
    places = grid.to_ras_mm([(0, 0, k) for k in range(grid.shape[2])]) @ to_lps
    columns_mm, rows_mm, slices_mm = grid.spacing_mm
    shared, positions = Dataset(), [Dataset() for _ in places]
    shared.PixelMeasuresSequence = PixelMeasuresSequence(
        (rows_mm, columns_mm), slices_mm, slices_mm
    )
    shared.PlaneOrientationSequence = PlaneOrientationSequence(
        "PATIENT", cosines.T.ravel().tolist()
    )
    for position, place in zip(positions, places, strict=True):
        position.PlanePositionSequence = PlanePositionSequence("PATIENT", place.tolist())
    return shared, positions


def _number_frames(dataset: Segmentation, frames: Sequence[int]) -> None:
    """Refer to the frames of the file, where highdicom counted those that it was given."""
    # Segments share what refers to a slice: each is to be changed once.
    references = {
        id(source): source
        for frame in dataset.PerFrameFunctionalGroupsSequence
        for derivation in frame.DerivationImageSequence
        for source in derivation.SourceImageSequence
    }
    for source in references.values():
        source.ReferencedFrameNumber = frames[int(source.ReferencedFrameNumber) - 1]
