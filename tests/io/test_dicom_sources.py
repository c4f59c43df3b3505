"""Headers of a series' files: as they were when the series was found, and all of one series."""

import dicom_series
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medseg.errors import DataError
from medseg.geometry import Grid
from medseg.io.dicom_sources import adopt_study, require_one_study, sources_of
from medseg.scan import Series


@pytest.fixture
def series(tmp_path):
    return Series("case1", tuple(dicom_series.write_series(tmp_path)), grid())


def grid():
    return Grid(dicom_series.SHAPE, dicom_series.affine_ras_mm())


def test_headers_come_along_k_without_pixels(series):
    sources = sources_of(series)
    assert [source.InstanceNumber for source in sources] == list(range(1, 13))
    assert not any("PixelData" in source for source in sources)


def test_what_cleans_is_asked_for_each_header(series):
    def clean(header):
        header.PatientName = "none"
        return header

    assert {str(source.PatientName) for source in sources_of(series, clean)} == {"none"}


def test_a_file_of_many_frames_is_one_source(tmp_path):
    (dataset,) = dicom_series.slices(np.zeros((20, 24, 1), np.uint16))
    dataset.NumberOfFrames = 10
    path = dicom_series.save(dataset, tmp_path / "many.dcm")
    (source,) = sources_of(Series("case1", (path,), grid(), frames=(*range(10, 0, -1),)))
    assert source.NumberOfFrames == 10
    with pytest.raises(DataError, match=r"E-DCM-CHANGED.*has 10 frames"):
        sources_of(Series("case1", (path,), grid(), frames=(1, 11)))


def gone(path):
    path.unlink()


def no_dicom(path):
    path.write_bytes(b"something else")


def changed(**elements):
    def change(path):
        dataset = pydicom.dcmread(path)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(gone, "cannot be read", id="gone"),
        pytest.param(no_dicom, "cannot be read", id="no DICOM"),
        pytest.param(changed(SOPInstanceUID=""), "has no SOPInstanceUID", id="nameless"),
        pytest.param(changed(Rows=20), "has 20 x 20 pixels", id="another size"),
        pytest.param(
            changed(ImagePositionPatient=[-7.5, 11.25, -29.5]), "lies 1.5 mm off", id="moved"
        ),
        pytest.param(changed(ImagePositionPatient=None), "lies inf mm off", id="nowhere"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_refused(series, change, words):
    change(series.files[3])
    with pytest.raises(DataError, match=f"E-DCM-CHANGED.*003.dcm: {words}") as caught:
        sources_of(series)
    assert len(caught.value.problems) == 1
    assert "Doe" not in str(caught.value)


def test_slices_may_be_a_little_off_their_grid(series):
    changed(ImagePositionPatient=[-7.5, 11.25, -29.6])(series.files[3])
    assert len(sources_of(series)) == 12


@pytest.mark.parametrize("name", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_headers_of_two_series_are_refused(name):
    headers = dicom_series.slices()
    setattr(headers[5], name, "1.2.3")
    with pytest.raises(DataError, match=f"E-DCM-MIXED.*case1: 2 values of {name}") as caught:
        require_one_study(headers, subject="case1")
    assert len(caught.value.problems) == 1
    assert "1.2.3" not in str(caught.value)


def test_headers_need_what_results_refer_to():
    headers = dicom_series.slices()
    for header in headers:
        del header.FrameOfReferenceUID
    with pytest.raises(DataError, match="FrameOfReferenceUID is missing"):
        require_one_study(headers, subject="case1")
    require_one_study(dicom_series.slices(PatientID=""), subject="case1")


def test_a_header_must_not_come_twice():
    headers = dicom_series.slices()
    with pytest.raises(DataError, match="a file is there twice"):
        require_one_study([*headers, headers[0]], subject="case1")


def test_a_result_takes_its_patient_and_study_from_an_image():
    (source, *_) = dicom_series.slices(PatientWeight="60.5", StudyID=None)
    del source.AccessionNumber
    result = Dataset()
    result.PatientAge = "099Y"
    adopt_study(result, source)
    assert (result.PatientName, result.PatientID) == ("Doe^Jane", "MRN-1")
    assert (result.PatientWeight, result.StudyDescription) == (60.5, "A study")
    assert result.FrameOfReferenceUID == source.FrameOfReferenceUID
    # What must be there is empty, what need not be is nobody else's.
    assert (result.StudyID, result.AccessionNumber) == (None, None)
    assert "PatientAge" not in result
    assert not {"SOPInstanceUID", "InstitutionName", "SeriesDescription"} & set(result.dir())


def test_a_weight_that_is_no_number_passes():
    (source, *_) = dicom_series.slices()
    source[0x00101030] = RawDataElement(
        Tag(0x00101030), "DS", 4, b"60,5", 0, is_implicit_VR=False, is_little_endian=True
    )
    result = Dataset()
    adopt_study(result, source)
    assert result["PatientWeight"].value == "60,5"
