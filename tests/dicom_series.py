"""A sound MR series of DICOM files, made to be broken by tests: change the datasets, then save.

Columns, rows and slices differ in number and spacing, and every voxel has its own value, so that
whatever is turned, mirrored or shifted shows. `dciodvfy` finds no error in what `write_series`
writes.
"""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medseg.errors import DataError
from medseg.io.dicom_series import find_series

SHAPE = (20, 24, 12)  # columns, rows, slices: I, J, K
SPACING_MM = (0.8, 0.9, 3.0)  # between columns, between rows, between slices
ORIGIN_LPS_MM = (-7.5, 11.25, -40.0)  # the centre of voxel (0, 0, 0)
SLOPE, INTERCEPT = 2.0, -1024.0

AXIAL = (1, 0, 0, 0, 1, 0)  # a row's direction, then a column's, in LPS
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
_TURN, _LEAN = 0.3, 0.91  # radians: about the body's axis, then about the row
OBLIQUE = (
    np.cos(_TURN),
    np.sin(_TURN),
    0,
    -np.sin(_TURN) * np.cos(_LEAN),
    np.cos(_TURN) * np.cos(_LEAN),
    np.sin(_LEAN),
)

# All that may name a patient or a place; overridden by the keyword arguments of `slices`.
TEXTS = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-1",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Roe^Richard",
    "InstitutionName": "A hospital",
    "StudyDescription": "A study",
    "SeriesDescription": "A series",
    "ProtocolName": "A protocol",
    "StationName": "A station",
}
ACQUIRED = {
    "Modality": "MR",
    "StudyDate": "20240102",
    "StudyTime": "030405",
    "SeriesDate": "20240102",
    "SeriesTime": "030405",
    "ContentDate": "20240102",
    "ContentTime": "030405",
    "Manufacturer": "medseg tests",
    "ManufacturerModelName": "generator",
    "DeviceSerialNumber": "1",
    "SoftwareVersions": "1",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "BodyPartExamined": "ABDOMEN",
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": None,
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "ScanningSequence": "GR",
    "SequenceVariant": "NONE",
    "ScanOptions": None,
    "MRAcquisitionType": "2D",
    "RepetitionTime": 5.0,
    "EchoTime": 2.0,
    "EchoTrainLength": 1,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "RescaleSlope": SLOPE,
    "RescaleIntercept": INTERCEPT,
    "RescaleType": "US",
}


def ramp(shape=SHAPE):
    """Stored values from 0 to 4095, no two neighbours alike; every voxel its own up to 4096."""
    return (np.arange(np.prod(shape)) % 4096).astype(np.uint16).reshape(shape)


def uid(*words):
    """Return the same UID for the same words."""
    return generate_uid(entropy_srcs=[str(word) for word in words])


def affine_ras_mm(iop=AXIAL, spacing_mm=SPACING_MM, origin_lps_mm=ORIGIN_LPS_MM):
    """Where voxel (i, j, k) lies, worked out apart from what is tested."""
    row, column = np.array(iop[:3], float), np.array(iop[3:], float)
    lps = np.eye(4)
    lps[:3, :3] = np.column_stack([row, column, np.cross(row, column)]) * spacing_mm
    lps[:3, 3] = origin_lps_mm
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def slices(
    voxels=None,
    *,
    iop=AXIAL,
    spacing_mm=SPACING_MM,
    origin_lps_mm=ORIGIN_LPS_MM,
    name="series",
    study="study",
    **elements,
):
    """Return the datasets of a series, slice by slice along its normal; change them at will.

    Args:
        voxels: Stored values ``(I, J, K)``; a ramp of `SHAPE` when none are given.
        iop: Direction cosines of a row and of a column, LPS.
        spacing_mm: Along I, J and K.
        origin_lps_mm: The centre of voxel (0, 0, 0).
        name: Another name makes another series, with UIDs of its own.
        study: Another name makes another study and another frame of reference.
        **elements: Any element by its keyword, the same in every slice.
    """
    voxels = ramp() if voxels is None else voxels
    normal = np.cross(iop[:3], iop[3:])
    made = []
    for k in range(voxels.shape[2]):
        dataset = FileDataset("", Dataset(), file_meta=FileMetaDataset(), preamble=bytes(128))
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = uid(study, name, k)
        dataset.SeriesInstanceUID = uid(study, name)
        dataset.StudyInstanceUID = uid(study)
        dataset.FrameOfReferenceUID = uid(study, "frame of reference")
        dataset.InstanceNumber = k + 1
        dataset.ImageOrientationPatient = [f"{cosine:.12g}" for cosine in iop]
        position = np.array(origin_lps_mm) + k * spacing_mm[2] * normal
        dataset.ImagePositionPatient = [f"{mm:.10g}" for mm in position]
        dataset.PixelSpacing = [spacing_mm[1], spacing_mm[0]]
        dataset.SliceThickness = spacing_mm[2]
        dataset.SpacingBetweenSlices = spacing_mm[2]
        dataset.Columns, dataset.Rows = voxels.shape[:2]
        for keyword, value in {**TEXTS, **ACQUIRED, **elements}.items():
            setattr(dataset, keyword, value)
        set_pixels(dataset, voxels[:, :, k])
        made.append(dataset)
    return made


def set_pixels(dataset, stored):
    """Give a dataset the stored values ``(I, J)``, in 16 bits."""
    dataset.PixelData = np.asarray(stored).T.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def save(dataset, path, *, transfer_syntax=ExplicitVRLittleEndian):
    """Write one dataset as it is, with the file meta information that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder, datasets=None, **options):
    """Write datasets, or those that `slices` makes of the options, as ``000.dcm`` and so on.

    Returns:
        The files' paths in the order of the datasets: along K, where they are a sound series.
    """
    datasets = slices(**options) if datasets is None else datasets
    return [save(dataset, folder / f"{k:03}.dcm") for k, dataset in enumerate(datasets)]


def only(source, **options):
    """Return the one series of a source."""
    (series,) = find_series(source, **options)
    return series


def faults_of(source, **options):
    """Return all that keeps a source from being read: codes, and the message."""
    with pytest.raises(DataError, match="E-") as caught:
        find_series(source, **options)
    return {problem.code for problem in caught.value.problems}, str(caught.value)


def codes_of(source, **options):
    """Return the codes of all that keeps a source from being read."""
    return faults_of(source, **options)[0]


def message_of(source, **options):
    """Return what is said of all that keeps a source from being read."""
    return faults_of(source, **options)[1]
