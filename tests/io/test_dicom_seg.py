"""DICOM SEG: what other people's programs say of it, and what they read out of it."""

from dataclasses import replace
from pathlib import Path

import dicom_series
import highdicom
import numpy as np
import pydicom
import pytest
import validators
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom.data import get_testdata_file

import medseg
from medseg.errors import DataError, GeometryError
from medseg.geometry import Grid
from medseg.io.dicom_seg import write_seg
from medseg.io.dicom_series import find_series
from medseg.io.dicom_sources import sources_of
from medseg.io.dicom_written import Algorithm, silenced
from medseg.labels import LabelSet, Organ
from medseg.scan import Series

LARGE_BOWEL = Organ("large_bowel", 1, (230, 159, 0), "14742008", "Large intestine")
STOMACH = Organ("stomach", 2, (255, 255, 255), "69695003", "Stomach")
# No code, and a name that is longer than a code value's 16 characters.
UNCODED = Organ("planning_target_volume", 3, (0, 0, 0), "", "")
LABELS = LabelSet((LARGE_BOWEL, STOMACH, UNCODED), ("stomach", "large_bowel", UNCODED.name))
ALGORITHM = Algorithm("uwmgi_segformer", "0.1.0")

ORIENTATIONS = [
    pytest.param(dicom_series.AXIAL, id="axial"),
    pytest.param(dicom_series.SAGITTAL, id="sagittal"),
    pytest.param(dicom_series.CORONAL, id="coronal"),
    pytest.param(dicom_series.OBLIQUE, id="oblique"),
]


def boxes():
    """Masks of the three organs: two that overlap, one on an outermost corner; one is nowhere."""
    masks = np.zeros((3, *dicom_series.SHAPE), bool)
    masks[0, 2:10, 3:9, 1:7] = True
    masks[0, 19, 23, 11] = True
    masks[1, 5:15, 2:20, 4:12] = True
    return masks


def series_in(folder, *, iop=dicom_series.AXIAL, **elements):
    files = dicom_series.write_series(folder, iop=iop, **elements)
    return Series("case1", tuple(files), Grid(dicom_series.SHAPE, dicom_series.affine_ras_mm(iop)))


@pytest.fixture
def segmented(tmp_path):
    """A function that segments a series, by default in boxes, and returns the file and series."""

    def segment(series=None, masks=None, labels=LABELS, **options):
        series = series or series_in(tmp_path / "series", **options)
        write(tmp_path / "seg.dcm", series, boxes() if masks is None else masks, labels)
        return tmp_path / "seg.dcm", series

    return segment


def write(path, series, masks, labels=LABELS, *, sources=None):
    sources = sources_of(series) if sources is None else sources
    write_seg(path, masks, labels, sources=sources, series=series, algorithm=ALGORITHM)


def in_source_order(path, series):
    """The masks as highdicom finds them by the instances that the segmentation refers to."""
    segmentation = highdicom.seg.segread(path)
    if series.frames:
        (instance,) = [str(source.SOPInstanceUID) for source in sources_of(series)]
        found = segmentation.get_pixels_by_source_frame(instance, list(series.frames))
    else:
        instances = [str(source.SOPInstanceUID) for source in sources_of(series)]
        found = segmentation.get_pixels_by_source_instance(instances)
    return found.transpose(3, 2, 1, 0).astype(bool)


@pytest.mark.parametrize("iop", ORIENTATIONS)
def test_validators_find_no_fault(segmented, iop):
    path, series = segmented(iop=iop)
    assert validators.dciodvfy_errors(path) == []
    assert validators.dcentvfy_faults([path, *series.files]) == []
    assert validators.gdcm_faults(path) == []
    assert validators.dcmtk_faults(path) == []


@pytest.mark.parametrize("iop", ORIENTATIONS)
def test_dcmqi_finds_every_organ_at_its_place(segmented, iop, tmp_path):
    path, series = segmented(iop=iop)
    found = validators.dcmqi_masks(path, tmp_path / "dcmqi")
    assert list(found) == [1, 2, 3]
    for (mask, affine_ras_mm), organ in zip(found.values(), boxes(), strict=True):
        np.testing.assert_array_equal(mask != 0, organ)
        np.testing.assert_allclose(affine_ras_mm, series.grid.affine_ras_mm, atol=1e-6)


@pytest.mark.parametrize("iop", ORIENTATIONS)
def test_highdicom_finds_each_slice_by_its_image(segmented, iop):
    path, series = segmented(iop=iop)
    np.testing.assert_array_equal(in_source_order(path, series), boxes())


@pytest.mark.parametrize(
    ("masks", "labels"),
    [
        pytest.param(np.zeros((3, *dicom_series.SHAPE), bool), LABELS, id="nothing found"),
        pytest.param(boxes()[1:2], LabelSet((STOMACH,), ("stomach",)), id="one organ"),
        pytest.param(
            np.ones((1, *dicom_series.SHAPE), np.uint8) * 255,
            LabelSet((STOMACH,), ("stomach",)),
            id="all of it, not as 1",
        ),
    ],
)
def test_extremes_are_valid(segmented, masks, labels, tmp_path):
    path, series = segmented(masks=masks, labels=labels)
    assert validators.dciodvfy_errors(path) == []
    assert pydicom.dcmread(path).NumberOfFrames == 12 * len(masks)
    np.testing.assert_array_equal(in_source_order(path, series), masks != 0)
    found = validators.dcmqi_masks(path, tmp_path / "dcmqi")
    assert [np.count_nonzero(mask) for mask, _ in found.values()] == [
        np.count_nonzero(mask) for mask in masks
    ]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), id="feet first"),
        pytest.param((12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1), id="head first"),
        pytest.param((2, 10, 8, 1, 4, 11, 5, 3, 12, 9, 7, 6), id="as they came"),
    ],
)
@pytest.mark.parametrize("wanted", [slice(None), slice(2, 6)], ids=["all", "some"])
def test_frames_of_one_file_are_referred_to(tmp_path, segmented, frames, wanted):
    """A slice each, from the feet to the head, is the file's frame of that number."""
    slices = [pydicom.dcmread(file) for file in dicom_series.write_series(tmp_path / "slices")]
    many = LegacyConvertedEnhancedMRImage(slices, "1.2.3.4", 2, "1.2.3.5", 1)
    groups = sorted(
        many.PerFrameFunctionalGroupsSequence,
        key=lambda frame: frame.PlanePositionSequence[0].ImagePositionPatient[2],
    )
    many.PerFrameFunctionalGroupsSequence = [groups[frames.index(n)] for n in range(1, 13)]
    file = dicom_series.save(many, tmp_path / "many.dcm")
    (series,) = find_series(file)
    assert series.frames == frames
    masks, first = boxes()[..., wanted], wanted.start or 0
    grid = series.grid.boxed((0, 0, first), masks.shape[1:])
    series = replace(series, frames=frames[wanted], grid=grid)
    path, _ = segmented(series, masks)
    assert validators.dciodvfy_errors(path) == []
    assert validators.dcentvfy_faults([path, file]) == []
    np.testing.assert_array_equal(in_source_order(path, series), masks)
    found = validators.dcmqi_masks(path, tmp_path / "dcmqi")
    np.testing.assert_array_equal([mask != 0 for mask, _ in found.values()], masks)
    np.testing.assert_allclose(found[1][1], series.grid.affine_ras_mm, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "examples_overlay.dcm"],
)
def test_real_images_are_segmented(segmented, tmp_path, name):
    """One slice each, and all that scanners write into headers."""
    file = get_testdata_file(name, download=False)
    (series,) = find_series(Path(file))
    masks = np.zeros((1, *series.grid.shape), bool)
    masks[0, 3:9, 20:50] = True
    path, _ = segmented(series, masks, LabelSet((STOMACH,), ("stomach",)))
    assert validators.dciodvfy_errors(path) == []
    faults = validators.dcentvfy_faults([path, file])
    assert [fault for fault in faults if fault.startswith("Error")] == []
    ((mask, affine_ras_mm),) = validators.dcmqi_masks(path, tmp_path / "dcmqi").values()
    np.testing.assert_array_equal(mask != 0, masks[0])
    np.testing.assert_allclose(affine_ras_mm, series.grid.affine_ras_mm, atol=1e-4)


def test_every_image_is_referred_to(segmented):
    path, series = segmented()
    dataset = pydicom.dcmread(path)
    (referred,) = dataset.ReferencedSeriesSequence
    images = [source.SOPInstanceUID for source in sources_of(series)]
    assert [each.ReferencedSOPInstanceUID for each in referred.ReferencedInstanceSequence] == images
    assert referred.SeriesInstanceUID == dicom_series.uid("study", "series")


def test_segments_say_what_they_are_and_who_found_them(segmented):
    path, _ = segmented()
    dataset = pydicom.dcmread(path)
    assert dataset.SegmentationType == "BINARY"
    assert dataset.SegmentsOverlap == "YES"
    assert dataset.ContentLabel == "SEGMENTATION"
    assert dataset.SeriesDescription == "Segmentation by uwmgi_segformer"
    assert dataset.Manufacturer == "medseg"
    told = [
        (
            segment.SegmentNumber,
            segment.SegmentLabel,
            code_of(segment.SegmentedPropertyCategoryCodeSequence[0]),
            code_of(segment.SegmentedPropertyTypeCodeSequence[0]),
        )
        for segment in dataset.SegmentSequence
    ]
    # PS3.16: CID 7150.
    anatomy, tissue = ("91723000", "SCT", "Anatomical Structure"), ("85756007", "SCT", "Tissue")
    assert told == [
        (1, "large_bowel", anatomy, ("14742008", "SCT", "Large intestine")),
        (2, "stomach", anatomy, ("69695003", "SCT", "Stomach")),
        (3, UNCODED.name, tissue, (UNCODED.name, "99MEDSEG", UNCODED.name)),
    ]
    for segment in dataset.SegmentSequence:
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ALGORITHM
        family = code_of(algorithm.AlgorithmFamilyCodeSequence[0])
        assert family == ("123110", "DCM", "Artificial Intelligence")
    # White is L* 100 and a* = b* = 0, of which the standard makes 65535 and 32896 (C.10.7.1.1).
    white = dataset.SegmentSequence[1].RecommendedDisplayCIELabValue
    assert list(white) == pytest.approx([65535, 32896, 32896], abs=3)
    assert dataset.SegmentSequence[2].RecommendedDisplayCIELabValue[0] == 0


def code_of(item):
    value = item.get("CodeValue") or item.get("LongCodeValue")
    return value, item.CodingSchemeDesignator, item.CodeMeaning


@pytest.mark.parametrize(
    ("algorithm", "told"),
    [
        pytest.param(Algorithm("", ""), ("medseg", medseg.__version__), id="nameless"),
        pytest.param(Algorithm("é" * 70, "1"), ("?" * 64, "1"), id="long and not ASCII"),
    ],
)
def test_any_algorithm_can_be_named(tmp_path, algorithm, told):
    series = series_in(tmp_path / "series")
    path, sources = tmp_path / "seg.dcm", sources_of(series)
    write_seg(path, boxes(), LABELS, sources=sources, series=series, algorithm=algorithm)
    for segment in pydicom.dcmread(path).SegmentSequence:
        (found,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (found.AlgorithmName, found.AlgorithmVersion) == told
    assert validators.dciodvfy_errors(path) == []


def test_a_lesion_is_no_anatomy(segmented):
    lesion = Organ("lesion", 1, (213, 94, 0), "108369006", "Neoplasm")
    path, _ = segmented(masks=boxes()[:1], labels=LabelSet((lesion,), ("lesion",)))
    (segment,) = pydicom.dcmread(path).SegmentSequence
    category = code_of(segment.SegmentedPropertyCategoryCodeSequence[0])
    assert category == ("49755003", "SCT", "Morphologically Abnormal Structure")


def test_a_result_is_of_its_patient_and_study_but_new(segmented):
    path, series = segmented()
    first, source = pydicom.dcmread(path), sources_of(series)[0]
    write(path, series, boxes())
    second = pydicom.dcmread(path)
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert first[name].value == second[name].value == source[name].value
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({first[name].value, second[name].value, source[name].value}) == 3
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        pytest.param(None, "Doe^Jane", id="ASCII"),
        pytest.param("ISO_IR 100", "Müller^Jürgen", id="Latin"),
        pytest.param("ISO_IR 192", "Müller^Jürgen", id="UTF-8"),
        pytest.param(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", id="Japanese"),
    ],
)
def test_names_stay_as_they_are(segmented, charset, name):
    """What is not ASCII in the labels cannot be told beside a name in any character set."""
    organ = Organ("stomach", 1, (0, 0, 0), "69695003", "Žaludek")
    texts = {"SpecificCharacterSet": charset, "PatientName": name}
    path, series = segmented(
        masks=boxes()[:1],
        labels=LabelSet((organ,), ("stomach",)),
        **(texts if charset else {}),
    )
    dataset = pydicom.dcmread(path)
    assert str(dataset.PatientName) == name
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "stomach"
    assert validators.dciodvfy_errors(path) == []
    assert validators.dcentvfy_faults([path, *series.files]) == []


def test_values_that_break_the_rules_pass_unheard(segmented, tmp_path, monkeypatch, capfd):
    """An archive files a result by these, so that they must be the images' own."""
    told = {
        "StudyTime": "25:61",
        "PatientBirthDate": "unknown",
        "PatientSex": "X",
        "StudyDate": "2024.01.02",
        "AccessionNumber": "A" * 30,
        "PatientName": "Doe",
        "FrameOfReferenceUID": "1.2.of.Jane",
    }
    with monkeypatch.context() as patched:
        ignore = pydicom.config.IGNORE
        patched.setattr(pydicom.config.settings, "_writing_validation_mode", ignore)
        patched.setattr(pydicom.config.settings, "reading_validation_mode", ignore)
        series = series_in(tmp_path / "series", **told)
    # Warnings are errors here.
    path, _ = segmented(series)
    assert capfd.readouterr() == ("", "")
    with silenced():
        written = pydicom.dcmread(path)
        assert {name: str(written[name].value) for name in told} == told


def test_what_identifies_nobody_any_more_says_so(segmented):
    path, _ = segmented(PatientIdentityRemoved="YES", DeidentificationMethod="medseg")
    dataset = pydicom.dcmread(path)
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.DeidentificationMethod == "medseg"


def test_what_was_lossy_stays_so(segmented):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 9.5}
    path, _ = segmented(**lossy, LossyImageCompressionMethod="ISO_10918_1")
    dataset = pydicom.dcmread(path)
    assert {name: dataset[name].value for name in lossy} == lossy
    assert validators.dciodvfy_errors(path) == []


def test_a_slightly_turned_slice_is_no_hindrance(tmp_path, segmented):
    """Scanners round orientations; the reader lives with less than it could see."""
    slices = dicom_series.slices()
    slices[3].ImageOrientationPatient = [1, 1e-7, 0, -1e-7, 1, 0]
    files = dicom_series.write_series(tmp_path / "series", slices)
    grid = Grid(dicom_series.SHAPE, dicom_series.affine_ras_mm())
    path, series = segmented(Series("case1", tuple(files), grid))
    np.testing.assert_array_equal(in_source_order(path, series), boxes())


def test_sources_are_left_as_they_are(tmp_path):
    series = series_in(tmp_path / "series")
    sources = sources_of(series)
    before = [str(source) for source in sources]
    write(tmp_path / "seg.dcm", series, boxes(), sources=sources)
    assert [str(source) for source in sources] == before


@pytest.mark.parametrize("name", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_sources_of_two_are_refused(tmp_path, name):
    series = series_in(tmp_path / "series")
    sources = sources_of(series)
    setattr(sources[5], name, "1.2.3")
    with pytest.raises(DataError, match=f"E-DCM-MIXED.*case1: 2 values of {name}"):
        write(tmp_path / "seg.dcm", series, boxes(), sources=sources)
    assert not (tmp_path / "seg.dcm").exists()


def test_masks_of_another_grid_are_refused(tmp_path):
    series = series_in(tmp_path / "series")
    with pytest.raises(GeometryError, match=r"E-GRID.*masks \(3, 20, 24, 11\)"):
        write(tmp_path / "seg.dcm", series, boxes()[..., 1:])
    with pytest.raises(GeometryError, match=r"E-GRID.*masks \(2, 20, 24, 12\)"):
        write(tmp_path / "seg.dcm", series, boxes()[1:])
    with pytest.raises(GeometryError, match=r"E-GRID.*case1: 11 headers \(expected 12\)"):
        write(tmp_path / "seg.dcm", series, boxes(), sources=sources_of(series)[1:])
