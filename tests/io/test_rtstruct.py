"""RT Structure Sets: what they say of the organs and the images, and the masks back from them."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_series import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    ORIGIN_LPS_MM,
    SAGITTAL,
    SHAPE,
    affine_ras_mm,
    slices,
    uid,
    write_series,
)
from matplotlib.path import Path as Outline
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage
from validators import (
    dcentvfy_faults,
    dciodvfy_errors,
    dcmtk_faults,
    gdcm_faults,
    program,
    said,
    volume,
)

from medseg.errors import DataError, GeometryError, ResourceError
from medseg.geometry import Grid
from medseg.io.dicom_written import Algorithm
from medseg.io.rtstruct import write_rtstruct
from medseg.labels import LabelSet, Organ
from medseg.scan import Series

ALGORITHM = Algorithm("uwmgi_segformer", "1.2.3")
LABELS = LabelSet(
    (
        Organ("large_bowel", 1, (230, 159, 0), "14742008", "Large intestine"),
        Organ("small_bowel", 2, (0, 158, 115), "30315005", "Small intestine"),
        Organ("stomach_with_all_of_it", 5, (86, 180, 233), "", ""),
    ),
    priority=("large_bowel", "small_bowel", "stomach_with_all_of_it"),
)
ORIENTATIONS = [
    pytest.param(AXIAL, id="axial"),
    pytest.param(SAGITTAL, id="sagittal"),
    pytest.param(CORONAL, id="coronal"),
    pytest.param(OBLIQUE, id="oblique"),
]


def no_masks():
    return np.zeros((3, *SHAPE), bool)


def hard_masks():
    """A block with holes, an island in one, and borders; scattered voxels; a single voxel."""
    masks = no_masks()
    masks[0, 0:16, 5:24, 2:9] = True
    masks[0, 3:12, 9:18, 3:7] = False
    masks[0, 6:8, 11:13, 4] = True
    masks[0, 13, [7, 20, 22], 2:5] = False
    masks[1, ..., 5:8] = np.random.default_rng(7).random((*SHAPE[:2], 3)) > 0.4
    masks[2, 3, 5, 11] = True
    return masks


def written(path, masks, *, sources=None, labels=LABELS, iop=AXIAL, frames=()):
    """Write masks on the series that `slices` makes, and return what pydicom reads."""
    files = ("enhanced.dcm",) if frames else [f"{k}.dcm" for k in range(SHAPE[2])]
    series = Series("case1", tuple(map(Path, files)), Grid(SHAPE, affine_ras_mm(iop)), frames)
    sources = slices(iop=iop) if sources is None else sources
    write_rtstruct(path, masks, labels, sources=sources, series=series, algorithm=ALGORITHM)
    return pydicom.dcmread(path)


def contours(roi):
    """Return the contours of an item of the ROI Contour Sequence, points (n, 3) in LPS mm."""
    return [
        np.array(item.ContourData, float).reshape(-1, 3) for item in roi.get("ContourSequence", [])
    ]


def filled(roi, iop=AXIAL):
    """Return how many contours each voxel's centre lies in, as matplotlib sees it."""
    to_ijk = np.linalg.inv(affine_ras_mm(iop))
    counts = np.zeros(SHAPE, int)
    centres = np.moveaxis(np.indices(SHAPE[:2]), 0, -1).reshape(-1, 2)
    for points_mm in contours(roi):
        ijk = (points_mm * (-1, -1, 1)) @ to_ijk[:3, :3].T + to_ijk[:3, 3]
        k = round(ijk[0, 2])
        assert np.abs(ijk[:, 2] - k).max() < 1e-4, "the contour does not lie on its slice"
        counts[:, :, k] += Outline(ijk[:, :2]).contains_points(centres).reshape(SHAPE[:2])
    return counts


@pytest.fixture(scope="module")
def axial(tmp_path_factory):
    return written(tmp_path_factory.mktemp("axial") / "rtss.dcm", hard_masks())


@pytest.mark.parametrize("iop", ORIENTATIONS)
def test_filled_contours_are_the_masks(tmp_path, iop):
    masks = hard_masks()
    dataset = written(tmp_path / "rtss.dcm", masks, iop=iop)
    for roi, mask in zip(dataset.ROIContourSequence, masks, strict=True):
        assert np.array_equal(filled(roi, iop), mask)


def test_a_voxel_is_a_diamond_around_its_place(axial):
    """Voxel (3, 5, 11) of 0.8 x 0.9 x 3 mm lies at (-7.5 + 2.4, 11.25 + 4.5, -40 + 33) mm."""
    (item,) = axial.ROIContourSequence[2].ContourSequence
    points = set(zip(*[iter(map(float, item.ContourData))] * 3, strict=True))
    diamond = {(-5.5, 15.75), (-4.7, 15.75), (-5.1, 15.3), (-5.1, 16.2)}
    assert points == {(*point, -7.0) for point in diamond}
    assert (item.NumberOfContourPoints, item.ContourGeometricType) == (4, "CLOSED_PLANAR")


def test_numbers_are_short_and_precise_to_a_tenth_of_a_micrometre(tmp_path):
    origin = (-2.4000001, 1234.5678912, -40.0000123)  # column 3 lies a hair left of 0
    affine = affine_ras_mm(origin_lps_mm=origin)
    series = Series("case1", tuple(map(Path, "abcdefghijkl")), Grid(SHAPE, affine))
    path = tmp_path / "rtss.dcm"
    masks = hard_masks()
    sources = slices(origin_lps_mm=origin)
    write_rtstruct(path, masks, LABELS, sources=sources, series=series, algorithm=ALGORITHM)
    roi = pydicom.dcmread(path).ROIContourSequence[2]
    texts = [value.original_string for value in roi.ContourSequence[0].ContourData]
    assert max(map(len, texts)) <= 16
    assert texts[::3].count("0") == 2
    assert not any(text == "-0" or text.endswith(".0") for text in texts)
    middle = np.linalg.inv(affine) @ [*contours(roi)[0].mean(0) * (-1, -1, 1), 1]
    assert np.allclose(middle[:3], (3, 5, 11), atol=1e-4)


def test_a_contour_lies_on_its_own_slice_and_names_its_image(tmp_path):
    sources = slices()
    for k, source in enumerate(sources):  # as scanners write it, not quite regular
        source.ImagePositionPatient = [*ORIGIN_LPS_MM[:2], -40 + 3 * k + 0.004 * (-1) ** k]
    dataset = written(tmp_path / "rtss.dcm", hard_masks(), sources=sources)
    places = {source.SOPInstanceUID: source.ImagePositionPatient[2] for source in sources}
    for roi in dataset.ROIContourSequence:
        for number, item in enumerate(roi.ContourSequence, 1):
            (image,) = item.ContourImageSequence
            assert image.ReferencedSOPClassUID == MRImageStorage
            assert {float(z) for z in item.ContourData[2::3]} == {
                places[image.ReferencedSOPInstanceUID]
            }
            assert item.ContourNumber == number


def test_study_series_and_every_image_are_referred_to(axial):
    (frame,) = axial.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert frame.FrameOfReferenceUID == uid("study", "frame of reference")
    assert axial.FrameOfReferenceUID == uid("study", "frame of reference")
    assert study.ReferencedSOPInstanceUID == axial.StudyInstanceUID == uid("study")
    assert series.SeriesInstanceUID == uid("study", "series") != axial.SeriesInstanceUID
    images = [image.ReferencedSOPInstanceUID for image in series.ContourImageSequence]
    assert images == [uid("study", "series", k) for k in range(SHAPE[2])]


def test_organs_are_named_numbered_coloured_and_coded(axial):
    rois, drawn = axial.StructureSetROISequence, axial.ROIContourSequence
    observed = axial.RTROIObservationsSequence
    assert [roi.ROIName for roi in rois] == list(LABELS.names)
    for numbers in (
        [roi.ROINumber for roi in rois],
        [roi.ReferencedROINumber for roi in drawn],
        [roi.ReferencedROINumber for roi in observed],
    ):
        assert numbers == [1, 2, 5]
    assert {roi.ReferencedFrameOfReferenceUID for roi in rois} == {axial.FrameOfReferenceUID}
    assert {roi.ROIGenerationAlgorithm for roi in rois} == {"AUTOMATIC"}
    assert {roi.ROIGenerationDescription for roi in rois} == {"uwmgi_segformer 1.2.3"}
    assert [list(roi.ROIDisplayColor) for roi in drawn] == [
        list(organ.colour) for organ in LABELS.organs
    ]
    assert {roi.RTROIInterpretedType for roi in observed} == {"ORGAN"}
    assert [roi.ROIObservationLabel for roi in observed] == [
        "large_bowel",
        "small_bowel",
        "stomach_with_all",  # SH ends there
    ]
    (code,) = observed[0].RTROIIdentificationCodeSequence
    said_code = (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning)
    assert said_code == ("14742008", "SCT", "Large intestine")
    assert "RTROIIdentificationCodeSequence" not in observed[2]


def test_it_belongs_to_the_patient_and_awaits_approval(axial):
    assert (axial.PatientName, axial.PatientID) == ("Doe^Jane", "MRN-1")
    assert (axial.StudyDate, axial.AccessionNumber) == ("20240102", "A1")
    assert axial.ApprovalStatus == "UNAPPROVED"
    assert axial.StructureSetLabel == "uwmgi_segformer"
    assert axial.Manufacturer == "medseg"
    assert axial.StructureSetDate == axial.SeriesDate != axial.StudyDate


def test_a_name_in_another_script_keeps_it_whatever_organs_mean(tmp_path):
    sources = slices(SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг")
    organ = Organ("stomach", 1, (1, 2, 3), "69695003", "Magen, 胃")
    labels = LabelSet((organ,), ("stomach",))
    dataset = written(tmp_path / "rtss.dcm", no_masks()[:1], sources=sources, labels=labels)
    assert (dataset.PatientName, dataset.SpecificCharacterSet) == ("Люкceмбypг", "ISO_IR 144")
    (code,) = dataset.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence
    assert code.CodeMeaning == "stomach"


def test_a_code_too_long_for_sh_has_an_element_of_its_own(tmp_path):
    labels = LabelSet((Organ("node", 1, (1, 2, 3), "999000011000119104", ""),), ("node",))
    dataset = written(tmp_path / "rtss.dcm", no_masks()[:1], labels=labels)
    (code,) = dataset.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence
    assert (code.LongCodeValue, code.CodeMeaning) == ("999000011000119104", "node")
    assert dciodvfy_errors(tmp_path / "rtss.dcm") == []


def test_organs_that_are_nowhere_are_rois_without_contours(tmp_path):
    dataset = written(tmp_path / "rtss.dcm", no_masks())
    assert len(dataset.StructureSetROISequence) == 3
    assert [contours(roi) for roi in dataset.ROIContourSequence] == [[], [], []]
    assert not any("ContourSequence" in roi for roi in dataset.ROIContourSequence)
    assert dciodvfy_errors(tmp_path / "rtss.dcm") == []


def test_a_contour_may_be_longer_than_an_explicit_length_of_ds(tmp_path):
    shape = (110, 90, 1)
    mask = np.random.default_rng(3).random((1, *shape)) > 0.2  # hundreds of holes
    series = Series("case1", (Path("0.dcm"),), Grid(shape, affine_ras_mm()))
    path = tmp_path / "rtss.dcm"
    labels = LabelSet(LABELS.organs[:1], ("large_bowel",))
    write_rtstruct(path, mask, labels, sources=slices()[:1], series=series, algorithm=ALGORITHM)
    items = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    longest = max(items, key=lambda item: item.NumberOfContourPoints)
    assert len("\\".join(value.original_string for value in longest.ContourData)) > 65534
    assert len(longest.ContourData) == 3 * longest.NumberOfContourPoints
    assert dcmtk_faults(path) == []


def test_a_multi_frame_file_is_referred_to_by_its_frames(tmp_path):
    (source, *_) = slices()
    source.SOPClassUID = EnhancedMRImageStorage
    del source.ImagePositionPatient
    frames = tuple(range(12, 0, -1))
    path = tmp_path / "rtss.dcm"
    dataset = written(path, hard_masks(), sources=[source], frames=frames)
    (frame,) = dataset.ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    (image,) = series.ContourImageSequence
    assert "ReferencedFrameNumber" not in image  # all of them
    for item in dataset.ROIContourSequence[1].ContourSequence:
        (image,) = item.ContourImageSequence
        k = round((item.ContourData[2] - ORIGIN_LPS_MM[2]) / 3.0)
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.ReferencedFrameNumber == frames[k]
    assert np.array_equal(filled(dataset.ROIContourSequence[1]), hard_masks()[1])
    assert dciodvfy_errors(path) == []


@pytest.mark.parametrize(
    "iop", [pytest.param(AXIAL, id="axial"), pytest.param(OBLIQUE, id="oblique")]
)
def test_other_programs_find_no_fault_and_the_same_masks(tmp_path, iop):
    path, masks = tmp_path / "rtss.dcm", hard_masks()
    files = write_series(tmp_path / "series", iop=iop)
    written(path, masks, iop=iop)
    assert dciodvfy_errors(path) == []
    assert dcentvfy_faults([path, *files]) == []
    assert gdcm_faults(path) == []
    assert dcmtk_faults(path) == []
    # DCMTK's own reader of RT objects warns of elements that are missing or of another type.
    assert [line for line in said("drtdump", path) if line.startswith(("W:", "E:", "F:"))] == []
    assert any("uwmgi_segformer, #9002" in line for line in said("drtdump", path))

    program("plastimatch")
    words = ["--input", path, "--referenced-ct", files[0].parent, "--prefix-format", "nrrd"]
    said("plastimatch", "convert", *words, "--output-prefix", tmp_path / "organs")
    for name, mask in zip(LABELS.names, masks, strict=True):
        voxels, affine = volume(tmp_path / "organs" / f"{name}.nrrd")
        assert np.allclose(affine, affine_ras_mm(iop), atol=1e-5)
        assert np.array_equal(voxels != 0, mask)


def test_masks_of_another_shape_are_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"E-GRID.*case1.*\(3, 20, 24, 11\).*\(3, 20, 24, 12\)"):
        written(tmp_path / "rtss.dcm", no_masks()[..., :-1])


def test_sources_of_another_number_are_refused(tmp_path):
    with pytest.raises(GeometryError, match=r"E-GRID.*case1.*11 headers.*12"):
        written(tmp_path / "rtss.dcm", no_masks(), sources=slices()[:-1])


def test_sources_of_two_studies_are_refused_without_naming_anyone(tmp_path):
    sources = [*slices()[:-1], slices(study="other", PatientID="MRN-2")[-1]]
    with pytest.raises(DataError, match="E-DCM-MIXED") as caught:
        written(tmp_path / "rtss.dcm", no_masks(), sources=sources)
    assert "MRN" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="E-IO"):
        written(tmp_path / "file" / "rtss.dcm", no_masks())
