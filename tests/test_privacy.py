"""No text of an image gets anywhere but into DICOM SEG and RTSTRUCT, which need it."""

import gzip
import json
import sqlite3
import struct
import traceback
import zlib
from contextlib import closing

import dicom_series
import pydicom
import pytest
from canaries import CANARIES, leaks, pattern, with_canaries
from pydicom.uid import BasicTextSRStorage, RLELossless
from random_bundle import SMALL, random_bundle

from medseg.cli import main
from medseg.errors import MedsegError
from medseg.io.dicom_pixels import read_series
from medseg.io.dicom_series import find_series
from medseg.io.dicom_sources import sources_of

VOXELS = dicom_series.ramp((16, 12, 4))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("bundles") / "own")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A folder with a series whose every text is a canary."""
    folder = tmp_path_factory.mktemp("dicom") / "case1"
    dicom_series.write_series(folder, map(with_canaries, dicom_series.slices(VOXELS)))
    return folder


@pytest.fixture
def said(capfd, caplog):
    """A function that returns what was said since it was last asked: streams and log."""

    def told():
        out, err = capfd.readouterr()
        log, _ = caplog.text, caplog.clear()
        return f"{out}\n{err}\n{log}".encode()

    return told


def test_the_images_are_full_of_canaries(series):
    assert leaks(series) == sorted(series.iterdir())
    held = next(series.iterdir()).read_bytes()
    assert [word for word in CANARIES if word.encode() not in held] == []


FORMATS = ("--format", "nifti,seg,rtstruct", "--per-organ", "--probabilities")


@pytest.mark.parametrize(
    "names", [pytest.param((), id="plain"), pytest.param(("--bids",), id="BIDS")]
)
def test_predictions_hold_texts_in_dicom_only(names, model, series, said, tmp_path):
    words = ["predict", str(model), str(series), "-o", str(tmp_path / "out"), *SMALL, *FORMATS]
    assert main([*words, *names, "-vv"]) == 0
    assert not pattern().search(said())
    results = sorted((tmp_path / "out").rglob("*.dcm"))
    assert [pydicom.dcmread(path).Modality for path in results] == ["RTSTRUCT", "SEG"]
    assert leaks(tmp_path) == results


def test_what_a_program_may_read_is_one_json_object_without_names(model, series, said, tmp_path):
    words = ["predict", str(model), str(series), "-o", str(tmp_path / "out"), *SMALL, "--json"]
    assert main(words) == 0
    told = said()
    json.loads(told)
    assert not pattern().search(told)
    assert leaks(tmp_path) == []


def test_deidentified_predictions_hold_no_text(model, series, said, tmp_path):
    words = ["predict", str(model), str(series), "-o", str(tmp_path / "out"), *SMALL, *FORMATS]
    assert main([*words, "--deidentify", str(tmp_path / "key"), "-vv"]) == 0
    assert not pattern().search(said())
    results = sorted((tmp_path / "out").rglob("*.dcm"))
    assert [pydicom.dcmread(path).Modality for path in results] == ["RTSTRUCT", "SEG"]
    assert leaks(tmp_path) == []


def test_deidentified_copies_hold_no_text(series, said, tmp_path):
    words = ["data", "deidentify", str(series), "-o", str(tmp_path / "out")]
    assert main([*words, "--key", str(tmp_path / "key"), "-vv"]) == 0
    assert not pattern().search(said())
    assert len(list(tmp_path.rglob("*.dcm"))) == VOXELS.shape[2]
    assert leaks(tmp_path) == []


def drop(datasets, *keywords):
    for keyword in keywords:
        del datasets[1][keyword]


def give(datasets, **elements):
    for keyword, value in elements.items():
        setattr(datasets[1], keyword, value)


FAULTS = {
    "gap": lambda made: made.pop(1),
    "duplicate position": lambda made: give(
        made, ImagePositionPatient=made[0].ImagePositionPatient
    ),
    "uneven": lambda made: give(made, ImagePositionPatient=["-7.5", "11.25", "-38"]),
    "tilt": lambda made: give(made, ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6]),
    "no spacing": lambda made: drop(made, "PixelSpacing"),
    "no position": lambda made: drop(made, "ImagePositionPatient"),
    "no orientation": lambda made: drop(made, "ImageOrientationPatient"),
    "no pixels": lambda made: drop(made, "PixelData"),
    "no size": lambda made: drop(made, "Rows", "Columns"),
    "no study and series": lambda made: drop(made, "StudyInstanceUID", "SeriesInstanceUID"),
    "zero spacing": lambda made: give(made, PixelSpacing=[0, 0]),
    "other spacing": lambda made: give(made, PixelSpacing=[2, 2]),
    "other size": lambda made: give(made, Rows=6, Columns=32),
    "other study": lambda made: give(made, StudyInstanceUID="1.2.3"),
    "other series": lambda made: give(made, SeriesInstanceUID="1.2.3"),
    "other patient": lambda made: give(made, PatientID="MRN-999999-B"),
    "other frame of reference": lambda made: give(made, FrameOfReferenceUID="1.2.3"),
    "other modality": lambda made: give(made, Modality="ZZSH"),
    "other kind": lambda made: give(made, SOPClassUID=BasicTextSRStorage),
    "private kind": lambda made: give(made, SOPClassUID="1.2.3.4"),
    "colour": lambda made: give(made, SamplesPerPixel=3, PhotometricInterpretation="RGB"),
    "localizer": lambda made: give(made, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "12 bits": lambda made: give(made, BitsAllocated=12),
    "short pixels": lambda made: give(made, PixelData=b"ZZPHI^CANARY"),
    "no slope": lambda made: drop(made, "RescaleSlope"),
}
# Elements that are read, with a name in place of what they should hold.
MISUSED = {
    "PixelSpacing": b"ZZPHI^CANARY\\1 ",
    "ImagePositionPatient": b"ZZPHI^CANARY\\1\\2 ",
    "ImageOrientationPatient": b"ZZPHI^CANARY",
    "SliceThickness": b"ZZPHI^CANARY",
    "RescaleSlope": b"ZZPHI^CANARY",
    "NumberOfFrames": b"ZZPHI^CANARY",
    "SeriesNumber": b"ZZPHI^CANARY",
    "Modality": b"ZZPHI^CANARY",
    "ImageType": b"ZZPHI^CANARY",
    "PhotometricInterpretation": b"ZZPHI^CANARY",
    "SOPClassUID": b"ZZPHI^CANARY",
    "SOPInstanceUID": b"ZZPHI^CANARY",
    "SeriesInstanceUID": b"ZZPHI^CANARY",
    "StudyInstanceUID": b"ZZPHI^CANARY",
    "FrameOfReferenceUID": b"ZZPHI^CANARY",
    "SpecificCharacterSet": b"ZZPHI^CANARY",
}


def misuse(path, keyword):
    """Put a name into an element of a file, where no library would write one."""
    dataset = pydicom.dcmread(path)
    tag = pydicom.tag.Tag(keyword)
    content = MISUSED[keyword]
    content += b" " * (len(content) % 2)
    if tag in dataset:
        del dataset[tag]
    dataset.save_as(path)
    vr = pydicom.datadict.dictionary_VR(tag).encode()
    element = struct.pack("<HH2sH", tag.group, tag.element, vr, len(content)) + content
    held = path.read_bytes()
    # Elements are in the order of their tags: before the first that is greater.
    greater = min(other for other in (e.tag for e in dataset) if other > tag)
    head = struct.pack("<HH", greater.group, greater.element)
    at = held.index(head + dataset[greater].VR.encode(), 132)
    path.write_bytes(held[:at] + element + held[at:])


def read_all(folder):
    """Do to a folder what a prediction does before and after the network; return what is warned."""
    found = find_series(folder)
    for one in found:
        read_series(one)
        sources_of(one)
    return [str(problem) for one in found for problem in one.warnings]


def told_of(folder, said):
    """Return all that is told when a folder is read, with the traceback that -vv shows."""
    try:
        warned = read_all(folder)
    except MedsegError as error:
        warned = [json.dumps([problem.as_dict() for problem in error.problems])]
        warned += traceback.format_exception(error)
    return "\n".join(warned).encode() + said()


def named():
    """Return a series of a canary's, whose second slice, which is to be broken, is full of them."""
    patient = {"PatientName": CANARIES[0], "PatientID": CANARIES[1]}
    datasets = dicom_series.slices(VOXELS, **patient)
    with_canaries(datasets[1])
    return datasets


@pytest.mark.parametrize("fault", [pytest.param(name, id=name) for name in FAULTS])
def test_no_fault_is_told_with_a_name(fault, said, tmp_path):
    datasets = named()
    FAULTS[fault](datasets)
    dicom_series.write_series(tmp_path, datasets)
    told = told_of(tmp_path, said)
    assert b"E-" in told
    assert not pattern().search(told)


@pytest.mark.parametrize("keyword", [pytest.param(name, id=name) for name in MISUSED])
def test_a_name_in_the_wrong_place_is_not_told(keyword, said, tmp_path):
    files = dicom_series.write_series(tmp_path, voxels=VOXELS)
    misuse(files[1], keyword)
    assert b"ZZPHI^CANARY" in files[1].read_bytes()
    assert not pattern().search(told_of(tmp_path, said))


@pytest.mark.parametrize(
    "keep", [pytest.param(n, id=f"{n} bytes") for n in (0, 100, 140, 400, 5000)]
)
def test_a_file_that_is_cut_short_is_told_without_a_name(keep, said, tmp_path):
    datasets = named()
    files = dicom_series.write_series(tmp_path, datasets)
    files[1].write_bytes(files[1].read_bytes()[:keep])
    told = told_of(tmp_path, said)
    assert b"E-DCM-TRUNC" in told
    assert not pattern().search(told)


def test_a_decoder_that_fails_tells_no_name(said, tmp_path):
    datasets = named()
    for dataset in datasets:
        dataset.PixelData = pydicom.encaps.encapsulate([b"ZZPHI^CANARY"])
        dataset["PixelData"].is_undefined_length = True
    for k, dataset in enumerate(datasets):
        dicom_series.save(dataset, tmp_path / f"{k}.dcm", transfer_syntax=RLELossless)
    told = told_of(tmp_path, said)
    assert b"E-DCM" in told
    assert not pattern().search(told)


def png_with(kind, body):
    crc = zlib.crc32(kind + body)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", crc)
    )


def sqlite_with(path, text):
    with closing(sqlite3.connect(path)) as store:
        store.execute("create table told (text)")
        store.execute("insert into told values (?)", (text,))
        store.commit()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.json", b'{"a": "Zzphi Canary"}', id="in other letters"),
        pytest.param("a.nii.gz", gzip.compress(bytes(352) + b"mrn_999999"), id="compressed"),
        pytest.param("a.bin", "ZZPHI^CANARY".encode("utf-16-le"), id="wide letters"),
        pytest.param("a.png", png_with(b"tEXt", b"a\0ZZPHI^CANARY"), id="text of a PNG"),
        pytest.param(
            "a.png",
            png_with(b"zTXt", b"a\0\0" + zlib.compress(b"ZZLOCANARY")),
            id="packed in a PNG",
        ),
        pytest.param(
            "a.html",
            b"<img src='data:;base64,WlpQSEleQ0FOQVJZWlpQSEleQ0FOQVJZ'>",
            id="data of a page",
        ),
        pytest.param("MRN-999999.txt", b"", id="a name of a file"),
    ],
)
def test_the_search_finds(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "clean.txt").write_bytes(b"0.0999999, ZZPHI without the other word")
    assert leaks(tmp_path) == [tmp_path / name]


def test_the_search_finds_rows_of_a_store(tmp_path):
    sqlite_with(tmp_path / "a.db", "x" * 5000 + "ZZPHI^CANARY")
    assert leaks(tmp_path) == [tmp_path / "a.db"]
