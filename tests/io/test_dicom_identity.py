"""De-identified images tell nobody's name, and are the same images in all else."""

import re
import stat
from datetime import date
from pathlib import Path

import dicom_series
import numpy as np
import pydicom
import pytest
import validators
from canaries import leaks, pattern, with_canaries
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom import Dataset
from pydicom.data import get_testdata_file

from medseg.cli import main
from medseg.errors import DataError, UsageError
from medseg.io.dicom_copies import write_cleaned
from medseg.io.dicom_identity import Identity, read_identity
from medseg.io.dicom_seg import write_seg
from medseg.io.dicom_series import find_series
from medseg.io.dicom_sources import sources_of
from medseg.io.dicom_written import Algorithm, save
from medseg.labels import LabelSet, Organ

IDENTITY = Identity(bytes(range(32)))
CANARY = "ZZPHI^CANARY"
SMALL = dicom_series.ramp((5, 4, 3))


def image(**elements):
    """Return one small image of a series."""
    return dicom_series.slices(SMALL, **elements)[0]


def written(dataset, folder):
    """Return the bytes of a cleaned image as it lies on the disk."""
    return write_cleaned(dicom_series.save(dataset, folder / "a.dcm"), folder / "out", IDENTITY)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(lambda d: d, id="the image"),
        pytest.param(lambda d: inside(d, "SharedFunctionalGroupsSequence"), id="its groups"),
        pytest.param(lambda d: inside(d, "ReferencedImageSequence"), id="its references"),
        pytest.param(lambda d: inside(d, "RequestAttributesSequence"), id="its request"),
        pytest.param(lambda d: inside(d, "AnatomicRegionSequence"), id="a code"),
    ],
)
def test_no_text_of_the_standard_stays(where, tmp_path):
    dataset = image()
    with_canaries(where(dataset))
    source = dicom_series.save(dataset, tmp_path / "a.dcm")
    assert len(pattern().findall(source.read_bytes())) > 500
    assert leaks(written(dataset, tmp_path).parent) == []


def inside(dataset, keyword):
    item = Dataset()
    setattr(dataset, keyword, [item])
    return item


def test_nothing_private_unknown_or_about_the_file_stays(tmp_path):
    dataset = image()
    block = dataset.private_block(0x0029, CANARY, create=True)
    block.add_new(1, "LO", CANARY)
    block.add_new(2, "OB", CANARY.encode())
    inside(dataset, "SharedFunctionalGroupsSequence").add_new(0x00091001, "SH", CANARY)
    dataset.add_new(0x00189999, "UN", CANARY.encode())
    dataset.add_new(0x00420011, "OB", CANARY.encode())
    dataset.add_new(0x60003000, "OW", CANARY.encode())
    dataset.add_new(0x50003000, "OW", CANARY.encode())
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.file_meta.PrivateInformationCreatorUID = "1.2"
    dataset.file_meta.PrivateInformation = CANARY.encode()
    dataset.preamble = CANARY.encode().ljust(128, b"\0")
    assert CANARY.encode() not in written(dataset, tmp_path).read_bytes()


def test_names_in_a_code_string_or_a_number_do_not_stay(tmp_path):
    dataset = image()
    with pytest.warns(UserWarning, match="Invalid value for VR CS"):
        dataset.BodyPartExamined = "Doe^Jane"
    dataset.PatientWeight, dataset.PatientAge, dataset.SmokingStatus = 71, "054Y", "YES"
    cleaned = IDENTITY.clean(dataset)
    for keyword in ("BodyPartExamined", "PatientWeight", "PatientAge", "SmokingStatus"):
        assert keyword not in cleaned


def test_an_image_stays_what_it_was(tmp_path):
    files = dicom_series.write_series(tmp_path / "in", iop=dicom_series.OBLIQUE)
    out = [write_cleaned(file, tmp_path / "out", IDENTITY) for file in files]
    (before,), (after,) = find_series(tmp_path / "in"), find_series(tmp_path / "out")
    assert after.grid.shape == before.grid.shape
    assert np.array_equal(after.grid.affine_ras_mm, before.grid.affine_ras_mm)
    assert [path.name for path in after.files] == [path.name for path in out]
    for source, cleaned in zip(map(pydicom.dcmread, files), map(pydicom.dcmread, out), strict=True):
        assert np.array_equal(cleaned.pixel_array, source.pixel_array)
        for keyword in ("RescaleSlope", "RescaleIntercept", "PixelSpacing", "EchoTime", "Modality"):
            assert cleaned[keyword].value == source[keyword].value


def test_it_says_what_was_done():
    cleaned = IDENTITY.clean(image())
    assert cleaned.PatientIdentityRemoved == "YES"
    assert cleaned.LongitudinalTemporalInformationModified == "MODIFIED"
    done = [item.CodeValue for item in cleaned.DeidentificationMethodCodeSequence]
    assert done == ["113100", "113107"]
    assert re.fullmatch("ANON-[0-9A-F]{12}", cleaned.PatientID)
    assert cleaned.PatientName == cleaned.PatientID
    for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber"):
        assert cleaned[keyword].is_empty


def test_the_same_key_gives_the_same_identity_and_another_key_another(tmp_path):
    one = read_identity(tmp_path / "key").clean(image())
    assert read_identity(tmp_path / "key").clean(image()) == one
    other = read_identity(tmp_path / "other").clean(image())
    for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert other[keyword].value != one[keyword].value


def test_a_uid_becomes_a_legal_one_and_those_of_the_standard_stay():
    first, second = IDENTITY.uid("1.2.3"), IDENTITY.uid("1.2.4")
    assert first != second
    assert re.fullmatch(r"2\.25\.[1-9][0-9]{30,38}", first)
    assert pydicom.uid.UID(first).is_valid
    assert IDENTITY.uid("1.2.840.10008.5.1.4.1.1.4") == "1.2.840.10008.5.1.4.1.1.4"
    cleaned = IDENTITY.clean(image())
    assert cleaned.SOPClassUID == pydicom.uid.MRImageStorage
    assert cleaned.file_meta.MediaStorageSOPInstanceUID == cleaned.SOPInstanceUID


def test_what_refers_to_an_image_finds_its_copy():
    first, second, _ = dicom_series.slices(SMALL)
    reference = inside(second, "ReferencedImageSequence")
    reference.ReferencedSOPClassUID = first.SOPClassUID
    reference.ReferencedSOPInstanceUID = first.SOPInstanceUID
    referring = IDENTITY.clean(second).ReferencedImageSequence[0]
    assert referring.ReferencedSOPInstanceUID == IDENTITY.clean(first).SOPInstanceUID
    assert referring.ReferencedSOPInstanceUID != first.SOPInstanceUID


def studied(day, patient="MRN-1"):
    cleaned = IDENTITY.clean(image(StudyDate=day, PatientID=patient, StudyTime="235959"))
    assert cleaned.StudyTime == "000000"
    return date.fromisoformat(cleaned.StudyDate)


def test_a_patients_days_keep_their_distance_and_no_date_stays():
    first, second = studied("20240102"), studied("20240302")
    assert (second - first).days == 60
    shift = date(2024, 1, 2) - first
    assert 1 <= shift.days <= 3650
    assert date(2024, 1, 2) - studied("20240102", "MRN-2") != shift


def test_a_date_that_is_none_does_not_stay():
    dataset = image()
    with pytest.warns(UserWarning, match="Invalid value for VR DA"):
        dataset.StudyDate = "Doe^Jane"
    assert IDENTITY.clean(dataset).StudyDate == ""


def test_a_code_of_the_standard_stays_with_the_standards_words():
    dataset = image()
    code = inside(dataset, "AnatomicRegionSequence")
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "818981001", "SCT", CANARY
    kept = IDENTITY.clean(dataset).AnatomicRegionSequence[0]
    assert (kept.CodeValue, kept.CodeMeaning) == ("818981001", "Abdomen")
    code.CodingSchemeDesignator = "99DOE"
    assert "AnatomicRegionSequence" not in IDENTITY.clean(dataset)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("MR_small.dcm", id="explicit"),
        pytest.param("MR_small_implicit.dcm", id="implicit"),
        pytest.param("MR_small_bigendian.dcm", id="big endian"),
        pytest.param("MR_small_RLE.dcm", id="RLE"),
        pytest.param("CT_small.dcm", id="CT"),
    ],
)
def test_files_of_scanners_are_cleaned_whatever_their_encoding(name, tmp_path):
    source = Path(get_testdata_file(name))
    cleaned = write_cleaned(source, tmp_path, IDENTITY)
    before, after = pydicom.dcmread(source), pydicom.dcmread(cleaned)
    assert np.array_equal(before.pixel_array, after.pixel_array)
    assert before.file_meta.TransferSyntaxUID == after.file_meta.TransferSyntaxUID
    new = {*validators.dciodvfy_errors(cleaned)} - {*validators.dciodvfy_errors(source)}
    assert new == set()
    assert str(before.PatientName).encode() not in cleaned.read_bytes()
    assert before.PatientID.encode() not in cleaned.read_bytes()


def test_validators_find_no_fault_in_copies(tmp_path):
    files = dicom_series.write_series(tmp_path / "in", voxels=SMALL)
    out = [write_cleaned(file, tmp_path / "out", IDENTITY) for file in files]
    assert [validators.dciodvfy_errors(path) for path in out] == [[]] * 3
    assert validators.dcentvfy_faults(out) == []
    assert validators.gdcm_faults(out[0]) == validators.dcmtk_faults(out[0]) == []


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(pydicom.uid.EnhancedMRImageStorage, id="enhanced"),
        pytest.param(pydicom.uid.LegacyConvertedEnhancedMRImageStorage, id="legacy converted"),
    ],
)
def test_an_image_of_many_frames_is_as_valid_as_before(kind, tmp_path):
    sources = dicom_series.slices(SMALL, ImageComments="Doe^Jane")
    enhanced = LegacyConvertedEnhancedMRImage(
        sources, dicom_series.uid("legacy"), 7, dicom_series.uid("one"), 1
    )
    enhanced.SOPClassUID = kind
    source, cleaned = tmp_path / "source.dcm", tmp_path / "cleaned.dcm"
    save(source, enhanced)
    save(cleaned, IDENTITY.clean(pydicom.dcmread(source)))
    read = pydicom.dcmread(cleaned)
    assert np.array_equal(read.pixel_array, enhanced.pixel_array)
    assert len(read.PerFrameFunctionalGroupsSequence) == 3
    new = {*validators.dciodvfy_errors(cleaned)} - {*validators.dciodvfy_errors(source)}
    assert new == set()
    assert source.read_bytes().count(b"Doe^Jane") > 1
    assert b"Doe^Jane" not in cleaned.read_bytes()


def test_a_result_of_cleaned_headers_fits_cleaned_copies(tmp_path):
    files = dicom_series.write_series(tmp_path / "in", voxels=SMALL)
    copies = [write_cleaned(file, tmp_path / "out", IDENTITY) for file in files]
    (series,) = find_series(tmp_path / "in")
    labels = LabelSet((Organ("stomach", 1, (255, 0, 0), "69695003", "Stomach"),), ("stomach",))
    masks = np.ones((1, *SMALL.shape), bool)
    write_seg(
        tmp_path / "seg.dcm",
        masks,
        labels,
        sources=sources_of(series, clean=IDENTITY.clean),
        series=series,
        algorithm=Algorithm("name", "1"),
    )
    assert validators.dcentvfy_faults([tmp_path / "seg.dcm", *copies]) == []
    assert validators.dciodvfy_errors(tmp_path / "seg.dcm") == []
    referred = pydicom.dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence[0]
    uids = {item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence}
    assert uids == {pydicom.dcmread(copy).SOPInstanceUID for copy in copies}
    assert b"Doe^Jane" not in (tmp_path / "seg.dcm").read_bytes()


def overlaid(dataset, **elements):
    for element, (vr, value) in {0x0010: ("US", 4), 0x0102: ("US", 15)}.items():
        dataset.add_new(0x60020000 + element, vr, value)
    return dataset


def changed(keyword, value):
    def change(dataset):
        setattr(dataset, keyword, value)
        return dataset

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(changed("BurnedInAnnotation", "YES"), "has writing in", id="burned in"),
        pytest.param(changed("RecognizableVisualFeatures", "YES"), "shows a face", id="face"),
        pytest.param(overlaid, "has an overlay in the bits of its pixels", id="overlay"),
        pytest.param(
            changed("ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"]),
            "is a picture of a screen",
            id="screen",
        ),
        pytest.param(changed("PhotometricInterpretation", "RGB"), "is in colour", id="colour"),
        *[
            pytest.param(changed("SOPClassUID", kind), f"is {name}, which may hold", id=name)
            for name, kind in {
                "Encapsulated PDF": pydicom.uid.EncapsulatedPDFStorage,
                "Basic Text SR": pydicom.uid.BasicTextSRStorage,
                "Secondary Capture Image": pydicom.uid.SecondaryCaptureImageStorage,
                "Ultrasound Image": pydicom.uid.UltrasoundImageStorage,
                "Segmentation": pydicom.uid.SegmentationStorage,
                "of an unknown kind": "1.2.3.4",
            }.items()
        ],
    ],
)
def test_what_cannot_be_cleaned_is_refused(change, told):
    with pytest.raises(DataError, match=rf"E-DEIDENTIFY\]: .*: {told}"):
        IDENTITY.clean(change(image()))


def test_an_overlay_of_its_own_goes_and_the_image_stays():
    dataset = overlaid(image())
    dataset.add_new(0x60023000, "OW", b"\xff\xff")
    assert [element for element in IDENTITY.clean(dataset) if element.tag.group == 0x6002] == []


def test_a_key_is_made_once_and_is_the_users_alone(tmp_path):
    path = tmp_path / "keys" / "key"
    read_identity(path)
    text = path.read_text()
    assert re.fullmatch("[0-9a-f]{64}\n", text)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read_identity(path)
    assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("abc", id="short"),
        pytest.param("z" * 64, id="other letters"),
        pytest.param("a" * 65, id="long"),
    ],
)
def test_a_file_that_holds_no_key_is_told(text, tmp_path):
    (tmp_path / "key").write_text(text)
    with pytest.raises(UsageError, match=r"^error\[E-KEY\]: .*key: is no key"):
        read_identity(tmp_path / "key")


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="a key of 3 bytes is too short: at least 32"):
        Identity(b"abc")


def test_the_command_copies_what_it_can_and_tells_the_rest(tmp_path, capsys):
    files = dicom_series.write_series(tmp_path / "in", voxels=SMALL)
    dicom_series.save(image(BurnedInAnnotation="YES"), files[1])
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    words = ["data", "deidentify", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-q"]
    assert main([*words, "--key", str(tmp_path / "key")]) == 6
    told = capsys.readouterr().err
    assert told.startswith(f"error[E-DEIDENTIFY]: {files[1]}: has writing in its pixels")
    names = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.dcm")]
    assert len(names) == 2
    assert all(re.fullmatch(r"ANON-\w{12}/\d{12}/2\.25\.\d+\.dcm", str(name)) for name in names)


@pytest.mark.parametrize(
    ("folder", "out", "code", "told"),
    [
        pytest.param("in", "in/out", 2, "lies among the files to clean", id="out inside"),
        pytest.param("empty", "out", 3, "holds no DICOM files", id="no DICOM"),
    ],
)
def test_the_command_refuses(folder, out, code, told, tmp_path, capsys):
    dicom_series.write_series(tmp_path / "in", voxels=SMALL)
    (tmp_path / "empty").mkdir()
    words = ["data", "deidentify", str(tmp_path / folder), "-o", str(tmp_path / out)]
    assert main([*words, "--key", str(tmp_path / "key")]) == code
    assert told in capsys.readouterr().err
