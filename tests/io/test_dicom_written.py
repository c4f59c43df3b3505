"""DICOM files that medseg writes reach the disk whole, and nothing of what pydicom says is told."""

import logging
import warnings
from threading import Event, Thread

import dicom_series
import pydicom
import pytest
from pydicom.uid import UID

from medseg.errors import ResourceError
from medseg.io import dicom_written
from medseg.io.dicom_written import new_uid, save, silenced


def test_a_data_set_becomes_a_file_with_its_meta_information(tmp_path):
    dataset = dicom_series.slices()[0]
    save(tmp_path / "new" / "file.dcm", dataset)
    written = pydicom.dcmread(tmp_path / "new" / "file.dcm")
    assert written.PixelData == dataset.PixelData
    assert written.PatientName == "Doe^Jane"
    assert written.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert written.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.dcm"]


def test_a_file_that_the_disk_changed_is_not_kept(tmp_path, monkeypatch):
    replacing = dicom_written.replacing

    def faulty(path, *, verify):
        def harmed(written):
            with written.open("r+b") as stream:
                stream.seek(-4, 2)
                stream.write(b"harm")
            verify(written)

        return replacing(path, verify=harmed)

    monkeypatch.setattr(dicom_written, "replacing", faulty)
    with pytest.raises(ResourceError, match="not what was written"):
        save(tmp_path / "file.dcm", dicom_series.slices()[0])
    assert list(tmp_path.iterdir()) == []


def test_identifiers_are_valid_and_new():
    made = {new_uid() for _ in range(100)}
    assert len(made) == 100
    assert all(UID(each).is_valid and each.startswith("2.25.") for each in made)


def test_nothing_is_told_while_silenced(caplog):
    with silenced():
        warnings.warn("Doe^Jane", UserWarning, stacklevel=1)
        logging.getLogger("highdicom.base").warning("Doe^Jane")
        logging.getLogger("pydicom").error("Doe^Jane")
    assert caplog.records == []
    logging.getLogger("highdicom.base").warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]
    with pytest.warns(UserWarning, match="afterwards"):
        warnings.warn("afterwards", UserWarning, stacklevel=1)


def test_silence_lasts_until_the_last_thread_leaves(caplog):
    entered, leave = Event(), Event()

    def stay():
        with silenced():
            entered.set()
            leave.wait(10)

    before = warnings.filters[:], logging.getLogger("pydicom").level
    with silenced(), silenced():
        thread = Thread(target=stay)
        thread.start()
        assert entered.wait(10)
    warnings.warn("Doe^Jane", UserWarning, stacklevel=1)
    logging.getLogger("pydicom").error("Doe^Jane")
    leave.set()
    thread.join()
    assert caplog.records == []
    assert (warnings.filters, logging.getLogger("pydicom").level) == before


def test_what_names_a_patient_is_its_owner_s_alone(tmp_path):
    save(tmp_path / "made.dcm", dicom_series.slices()[0])
    assert (tmp_path / "made.dcm").stat().st_mode & 0o777 == 0o600
