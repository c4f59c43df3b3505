"""Which files of a folder are DICOM: junk is passed over and counted, a broken slice never is."""

import os
import shutil

import dicom_series
import pytest
from dicom_series import SHAPE, codes_of, only, slices, write_series
from pydicom.data import get_testdata_file

from medseg.errors import DataError
from medseg.io.dicom_series import find_series


def test_other_files_are_passed_over_and_counted(tmp_path):
    write_series(tmp_path / "DICOM")
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path)
    (tmp_path / ".DS_Store").write_bytes(bytes(600))
    (tmp_path / "DICOM" / "._000.dcm").write_bytes(bytes(600))
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.dcm").write_bytes(b"")
    (tmp_path / "README").write_text("a text without suffix")
    (tmp_path / "notes.txt").write_text("a text")
    (tmp_path / "viewer.exe").write_bytes(b"MZ" + bytes(600))
    (tmp_path / "empty.log").write_bytes(b"")
    series = only(tmp_path)
    assert len(series.files) == SHAPE[2]
    (warning,) = series.warnings
    assert warning.code == "W-DCM-JUNK"
    assert warning.found.startswith("8 files")


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        pytest.param("020.dcm", b"", "is empty", id="zero bytes"),
        pytest.param("IM20", b"", "is empty", id="zero bytes, no suffix"),
        pytest.param("MR.1.2.840.20", b"", "is empty", id="zero bytes, named by its UID"),
        pytest.param("020.dcm", bytes(100), "hold no DICM", id="cut within the preamble"),
        pytest.param("020.IMA", b"plain text", "hold no DICM", id="text named as DICOM"),
        pytest.param("IM20", bytes(4000), "hold no DICM", id="zeros, no suffix"),
        pytest.param("IM20", bytes(128) + b"DICM", "cannot be read|no transfer", id="no header"),
    ],
)
def test_a_file_that_could_be_a_slice_and_is_none_is_never_passed_over(
    tmp_path, name, content, found
):
    write_series(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"E-DCM-TRUNC.*{name}: .*({found})"):
        find_series(tmp_path)


def test_a_header_cut_at_any_byte_is_refused_with_the_name_of_the_file(tmp_path):
    paths = write_series(tmp_path, slices(dicom_series.ramp((20, 24, 3))))
    content = paths[1].read_bytes()
    pixels_at = content.index(b"\xe0\x7f\x10\x00OW")
    for kept in range(0, pixels_at + 12, 31):
        paths[1].write_bytes(content[:kept])
        with pytest.raises(DataError, match=r"001\.dcm") as caught:
            find_series(tmp_path)
        codes = {problem.code for problem in caught.value.problems}
        assert "E-DCM-TRUNC" in codes, kept
        assert codes <= {"E-DCM-TRUNC", "E-DCM-GAP"}


def test_pixels_cut_short_are_found_before_they_are_read(tmp_path):
    path = write_series(tmp_path)[4]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"004\.dcm: ends within its pixels, 959 bytes .*least 960"):
        find_series(tmp_path)
    assert codes_of(tmp_path) == {"E-DCM-TRUNC"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param("MR_truncated.dcm", "ends within its pixels", id="pixels cut short"),
        pytest.param("no_meta.dcm", "hold no DICM", id="a stray byte and no preamble"),
        pytest.param("ExplVR_LitEndNoMeta.dcm", "no file meta information", id="no preamble"),
        pytest.param("ExplVR_BigEndNoMeta.dcm", "no file meta", id="no preamble, big endian"),
        pytest.param("rtstruct.dcm", "no file meta information", id="no preamble, implicit"),
        pytest.param("meta_missing_tsyntax.dcm", "no transfer syntax", id="no transfer syntax"),
    ],
)
def test_real_broken_files_are_refused(tmp_path, name, found):
    shutil.copy(get_testdata_file(name), tmp_path)
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=f"E-DCM-TRUNC.*{name}: .*{found}"):
            find_series(source)


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    datasets = slices()
    del datasets[2].PixelSpacing
    datasets[3].Rows = 25
    paths = write_series(tmp_path, datasets)
    paths[7].write_bytes(b"")
    paths[8].write_bytes(paths[8].read_bytes()[:-100])
    assert codes_of(tmp_path) == {"E-DCM-GEOM", "E-DCM-MIXED", "E-DCM-TRUNC"}


def test_links_are_not_followed(tmp_path):
    inside = tmp_path / "inside"
    write_series(inside)
    write_series(tmp_path / "outside", name="outside")
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to(inside)
    (inside / "one.dcm").symlink_to(tmp_path / "outside" / "000.dcm")
    (inside / "dangling.dcm").symlink_to(tmp_path / "nowhere")
    series = only(inside)
    assert len(series.files) == SHAPE[2]
    assert [warning.found for warning in series.warnings] == ["4 links are not followed"]


def test_a_folder_reached_by_a_link_is_read(tmp_path):
    write_series(tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert only(tmp_path / "link").scan_id == "link"


def test_what_a_dicomdir_refers_to_is_not_opened(tmp_path):
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path)
    assert codes_of(tmp_path) == {"E-DCM-KIND"}


def test_a_pipe_is_not_waited_for(tmp_path):
    write_series(tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    assert len(only(tmp_path).files) == SHAPE[2]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_file_that_may_not_be_read_is_told(tmp_path):
    write_series(tmp_path)[3].chmod(0)
    assert "E-IO" in codes_of(tmp_path)


def test_a_file_that_the_disk_does_not_give_is_told(tmp_path, monkeypatch):
    path = write_series(tmp_path)[3]
    opened = type(path).open

    def failing(self, *args, **options):
        if self == path:
            raise OSError(5, "Input/output error")
        return opened(self, *args, **options)

    monkeypatch.setattr(type(path), "open", failing)
    with pytest.raises(DataError, match=r"E-IO.*003.dcm: Input/output error"):
        find_series(tmp_path)


@pytest.mark.parametrize("name", ["picture.png", "README"])
def test_a_file_that_is_no_dicom_is_refused_when_it_is_asked_for(tmp_path, name):
    (tmp_path / name).write_text("something else")
    with pytest.raises(DataError, match=f"E-FORMAT.*{name}: is not DICOM"):
        find_series(tmp_path / name)


def test_an_empty_folder_holds_nothing_to_segment(tmp_path):
    with pytest.raises(DataError, match=r"E-DCM-KIND.*no DICOM at all"):
        find_series(tmp_path)


def test_a_name_that_is_no_text_is_no_obstacle(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(folder)  # noqa: PTH102 - a name of bytes
    write_series(tmp_path / os.fsdecode(b"\xff\xfe"))
    assert len(only(tmp_path).files) == SHAPE[2]
