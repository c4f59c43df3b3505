"""DICOM series in folders: how they are found, chosen and named, and what is none."""

import shutil
from pathlib import Path

import dicom_series
import numpy as np
import pytest
from dicom_series import SHAPE, codes_of, message_of, only, save, slices, uid, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import RTStructureSetStorage, SecondaryCaptureImageStorage

from medseg.io.dicom_pixels import read_series
from medseg.io.dicom_series import find_series


def values(k=slice(None)):
    """The values of the sound series at slices `k`."""
    return dicom_series.ramp()[:, :, k] * np.float32(2) - 1024


def test_a_sound_series_is_found_ordered_and_placed(tmp_path):
    paths = write_series(tmp_path / "case1_day2")
    series = only(tmp_path / "case1_day2")
    assert series.scan_id == "case1_day2"
    assert series.case_id == "case1"
    assert series.files == tuple(paths)
    assert series.frames == ()
    assert series.modality == "MR"
    assert series.warnings == ()
    assert series.grid.shape == SHAPE
    assert np.array_equal(series.grid.affine_ras_mm, dicom_series.affine_ras_mm())
    assert np.array_equal(read_series(series).voxels, values())


# --- Names and numbers mean nothing ------------------------------------------------------------


@settings(max_examples=5)
@given(order=st.permutations(range(SHAPE[2])), numbers=st.permutations(range(SHAPE[2])))
def test_names_and_instance_numbers_do_not_matter(tmp_path_factory, order, numbers):
    folder = tmp_path_factory.mktemp("shuffled")
    datasets = slices()
    for dataset, number in zip(datasets, numbers, strict=True):
        dataset.InstanceNumber = number
    write_series(folder, [datasets[k] for k in order])
    series = only(folder)
    assert np.array_equal(series.grid.affine_ras_mm, dicom_series.affine_ras_mm())
    assert np.array_equal(read_series(series).voxels, values())


def test_nested_folders_hold_one_series_as_well_as_one_folder_does(tmp_path):
    paths = write_series(tmp_path)
    for k, path in enumerate(paths):
        (tmp_path / f"d{k % 3}" / "deeper").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / f"d{k % 3}" / "deeper" / f"IM{k}")
    assert np.array_equal(read_series(only(tmp_path)).voxels, values())


def test_slices_that_grow_to_the_feet_are_turned_over(tmp_path):
    datasets = slices(iop=(-1, 0, 0, 0, 1, 0))  # the normal points to the feet
    write_series(tmp_path, datasets[::-1])
    affine = dicom_series.affine_ras_mm((-1, 0, 0, 0, 1, 0))
    assert np.array_equal(only(tmp_path).grid.affine_ras_mm, affine)


# --- Several series, studies and patients ------------------------------------------------------


@pytest.fixture
def two_series(tmp_path):
    """A folder of an axial series of number 1, and a sagittal one of number 2 and 5 slices."""
    write_series(tmp_path / "both" / "a")
    sagittal = {"name": "sagittal", "iop": dicom_series.SAGITTAL, "SeriesNumber": 2}
    write_series(tmp_path / "both" / "b", slices(dicom_series.ramp((20, 24, 5)), **sagittal))
    return tmp_path / "both"


def test_of_several_series_one_must_be_chosen(two_series):
    message = message_of(two_series)
    assert "E-DCM-SERIES" in message
    assert f"{uid('study', 'series')[-6:]} (series 1, 12 slices of 20 x 24, MR, axial)" in message
    assert (
        f"{uid('study', 'sagittal')[-6:]} (series 2, 5 slices of 20 x 24, MR, sagittal)" in message
    )
    assert "--series all" in message
    assert uid("study", "series") not in message
    for text in dicom_series.TEXTS.values():
        assert text == "F" or text not in message


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(uid("study", "sagittal"), id="the whole UID"),
        pytest.param(uid("study", "sagittal")[-6:], id="its last digits"),
        pytest.param(f"…{uid('study', 'sagittal')[-6:]}", id="its last digits as they are shown"),
        pytest.param("2", id="its number"),
    ],
)
def test_a_series_is_chosen(two_series, wanted):
    series = only(two_series, wanted=wanted)
    assert series.grid.shape == (20, 24, 5)
    assert series.scan_id == f"both_{uid('study', 'sagittal')[-6:]}"


def test_all_series_are_returned_each_with_a_name_of_its_own(two_series):
    found = find_series(two_series, wanted="all")
    assert sorted(series.grid.shape for series in found) == [(20, 24, 5), SHAPE]
    assert len({series.scan_id for series in found}) == 2
    assert all(series.scan_id.startswith("both_") for series in found)


def test_no_series_that_fits_is_told_with_those_that_there_are(two_series):
    message = message_of(two_series, wanted="77")
    assert "0 series that fit '77'" in message
    assert "series 1" in message


def test_a_fault_of_a_series_that_is_not_wanted_does_not_matter(two_series):
    (two_series / "b" / "002.dcm").unlink()
    assert only(two_series, wanted="1").grid.shape == SHAPE
    assert codes_of(two_series, wanted="2") == {"E-DCM-GAP"}
    assert codes_of(two_series, wanted="all") == {"E-DCM-GAP"}


def test_images_of_two_patients_are_refused_unless_one_series_is_wanted(tmp_path):
    write_series(tmp_path / "a")
    other = {"name": "b", "PatientID": "MRN-2", "PatientName": "Foe^Joe", "SeriesNumber": 2}
    write_series(tmp_path / "b", **other)
    assert codes_of(tmp_path) == {"E-DCM-PATIENT", "E-DCM-SERIES"}
    assert codes_of(tmp_path, wanted="all") == {"E-DCM-PATIENT"}
    message = message_of(tmp_path)
    assert "2 values of PatientID" in message
    assert not any(word in message for word in ("MRN", "Foe", "Doe"))
    assert only(tmp_path, wanted="2").grid.shape == SHAPE


def test_one_series_of_two_patients_is_refused(tmp_path):
    datasets = slices()
    datasets[7].PatientID = "MRN-2"
    write_series(tmp_path, datasets)
    assert codes_of(tmp_path) == {"E-DCM-PATIENT"}


# --- What is no image to segment ---------------------------------------------------------------


def localizer(**options):
    """Three crossing pictures, as they come before a scan."""
    options = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "name": "localizer", **options}
    made = [
        slices(dicom_series.ramp((20, 24, 1)), iop=iop, **options)[0]
        for iop in (dicom_series.AXIAL, dicom_series.SAGITTAL, dicom_series.CORONAL)
    ]
    for k, dataset in enumerate(made):
        dataset.SOPInstanceUID = uid("localizer", k)
    return made


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("liver_1frame.dcm", "Segmentation", id="SEG"),
        pytest.param("test-SR.dcm", "Comprehensive SR", id="SR"),
        pytest.param("SC_rgb_rle.dcm", "colour picture", id="RGB"),
        pytest.param("rtplan.dcm", "RT Plan", id="RT plan"),
        pytest.param("rtdose.dcm", "RT Dose", id="RT dose"),
        pytest.param("examples_palette.dcm", "Ultrasound Image", id="ultrasound"),
        pytest.param("image_dfl.dcm", "secondary capture without a position", id="screenshot"),
        pytest.param("waveform_ecg.dcm", "12-lead ECG Waveform", id="ECG"),
    ],
)
def test_what_cannot_be_segmented_is_refused_by_its_kind(tmp_path, name, kind):
    shutil.copy(get_testdata_file(name), tmp_path)
    for source in (tmp_path, tmp_path / name):
        message = message_of(source)
        assert "E-DCM-KIND" in message
        assert f"1 files of kind {kind}" in message


def test_an_rtstruct_is_refused_by_its_kind(tmp_path):
    (dataset,) = slices(dicom_series.ramp((20, 24, 1)), SOPClassUID=RTStructureSetStorage)
    del dataset.PixelData
    save(dataset, tmp_path / "rs.dcm")
    assert "1 files of kind RT Structure Set" in message_of(tmp_path)


def test_a_localizer_alone_is_refused(tmp_path):
    write_series(tmp_path, localizer())
    assert "3 files of kind localizer" in message_of(tmp_path)


def test_what_lies_beside_a_series_is_passed_over_with_a_warning(tmp_path):
    write_series(tmp_path / "MR")
    write_series(tmp_path / "LOC", localizer(SeriesNumber=7))
    shutil.copy(get_testdata_file("liver_1frame.dcm"), tmp_path / "MR")
    series = only(tmp_path)
    assert series.grid.shape == SHAPE
    assert series.scan_id == tmp_path.name.strip("_")
    (warning,) = series.warnings
    assert warning.code == "W-DCM-KIND"
    assert "1 files of kind Segmentation, 3 files of kind localizer" in warning.found
    assert "3 files of kind localizer" in message_of(tmp_path, wanted="7")


def test_a_localizer_that_does_not_say_so_does_no_harm_beside_a_series(tmp_path):
    write_series(tmp_path / "MR")
    write_series(tmp_path / "LOC", localizer(ImageType=["ORIGINAL", "PRIMARY", "M"]))
    series = only(tmp_path)
    assert series.grid.shape == SHAPE
    assert "3 files of kind localizer" in series.warnings[0].found
    # Alone it is a series whose slices do not fit together.
    assert codes_of(tmp_path / "LOC") == {"E-DCM-MIXED"}


def test_a_series_with_one_slice_of_another_plane_is_no_localizer(tmp_path):
    write_series(tmp_path / "MR")
    stray = slices(iop=dicom_series.CORONAL, name="other")[:1]
    write_series(tmp_path / "other", [*slices(name="other")[1:], *stray])
    assert codes_of(tmp_path) == {"E-DCM-SERIES"}


def test_a_secondary_capture_with_a_position_is_an_image(tmp_path):
    write_series(tmp_path, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT")
    assert only(tmp_path).modality == "OT"


def test_of_a_modality_only_a_code_is_kept(tmp_path):
    write_series(tmp_path, Modality="DOE JANE 1970")
    assert only(tmp_path).modality == ""


# --- Privacy -----------------------------------------------------------------------------------

CANARY = {keyword: "ZZPHI CANARY" for keyword in dicom_series.TEXTS if "Date" not in keyword}
CANARY |= {"PatientSex": "O", "ImageComments": "ZZPHI", "Modality": "ZZPHI CANARY"}


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda made: made.pop(4), id="gap"),
        pytest.param(lambda made: setattr(made[3], "PatientID", "ZZPHI 2"), id="patients"),
        pytest.param(lambda made: setattr(made[3], "Modality", "ZZPHI 3"), id="mixed"),
        pytest.param(
            lambda made: setattr(made[3], "PhotometricInterpretation", "ZZPHI"), id="kind"
        ),
        pytest.param(
            lambda made: setattr(made[3], "SOPInstanceUID", made[2].SOPInstanceUID), id="twin"
        ),
        pytest.param(lambda made: setattr(made[3], "SeriesInstanceUID", uid("ZZPHI")), id="series"),
        pytest.param(lambda made: setattr(made[3], "SOPClassUID", uid("ZZPHI")), id="class"),
        pytest.param(
            lambda made: made.append(slices(iop=dicom_series.CORONAL, **CANARY)[0]), id="turned"
        ),
    ],
)
def test_messages_hold_no_texts_and_no_whole_identifiers(tmp_path, harm):
    datasets = slices(**CANARY)
    harm(datasets)
    write_series(tmp_path, datasets)
    message = message_of(tmp_path)
    assert "ZZPHI" not in message
    for dataset in datasets:
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID"):
            value = dataset[keyword].value
            assert value not in message
            assert value[-12:] not in message


# --- Real ones ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """The folder of pydicom's DICOMDIR tests: CT and MR of three patients."""
    return Path(get_testdata_file("DICOMDIR")).parent


def test_a_real_ct_is_read(real):
    series = only(real / "98892001" / "CT5N")
    assert series.grid.shape == (16, 16, 5)
    assert series.grid.spacing_mm == pytest.approx((0.488281, 0.488281, 2.5), abs=1e-5)
    first, last = series.files[0].name, series.files[-1].name
    assert (first, last) == ("3353", "2062")


def test_real_faults_are_found(real):
    assert "lie 202.5 mm apart" in message_of(real / "77654033" / "CT2")
    assert "localizer" in message_of(real / "98892001" / "CT2N")
    assert "7 files of kind projection" in message_of(real / "98892003" / "MR700")
    assert codes_of(real) >= {"E-DCM-PATIENT", "E-DCM-SERIES"}


# --- Names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("with blanks & more", "with_blanks_more", id="blanks"),
        pytest.param("a\nline", "a_line", id="a line feed"),
        pytest.param("Jörg", "Jörg", id="letters of any language"),
        pytest.param("..x", "x", id="dots in front"),
        pytest.param("con", "dicom_con", id="a name that Windows keeps to itself"),
        pytest.param("n" * 200, "n" * 100, id="a long name"),
        pytest.param("??", "dicom", id="nothing is left"),
    ],
)
def test_a_series_is_called_after_its_folder(tmp_path, folder, name):
    write_series(tmp_path / folder, slices(dicom_series.ramp((20, 24, 2))))
    assert only(tmp_path / folder).scan_id == name


def test_the_folder_one_is_in_has_a_name(tmp_path, monkeypatch):
    write_series(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert only(Path()).scan_id == "here"
