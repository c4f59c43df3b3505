"""What all DICOM files that medseg writes share: who made them, when, and how they reach the disk.

They are written whole or not at all, and read back before they take their name.
"""

import logging
import os
import warnings
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import pydicom
from pydicom import Dataset, uid

import medseg
from medseg.errors import Problem, ResourceError
from medseg.io.atomic import replacing
from medseg.labels import Organ

MANUFACTURER = "medseg"
MODEL_NAME = "medseg"
SOFTWARE_VERSIONS = medseg.__version__
# The standard wants one (PS3.3 C.7.5.2), and a program has none.
DEVICE_SERIAL_NUMBER = "none"
# Far above what scanners number, so that results stand after the images in a study's list.
SERIES_NUMBERS = {"SEG": 9001, "RTSTRUCT": 9002}

_LOGS = ("highdicom", "pydicom")


class Algorithm(NamedTuple):
    """What made a segmentation: the model's name and version."""

    name: str
    version: str


def new_uid() -> uid.UID:
    """Return an identifier of 2.25 and a random UUID, which needs no root of one's own.

    Source: PS3.5 B.2.
    """
    return uid.generate_uid(prefix=None)


def as_standard(algorithm: Algorithm) -> Algorithm:
    r"""Return an algorithm in words that a DICOM element can hold; neither of them is empty.

    >>> as_standard(Algorithm("a\\b", ""))[0]
    'a/b'
    """
    name, version = (
        text.encode("ascii", "replace").decode().replace("\\", "/")[:64] for text in algorithm
    )
    return Algorithm(name or MODEL_NAME, version or SOFTWARE_VERSIONS)


def meaning_of(organ: Organ) -> str:
    """Return what an organ is in words that fit any character set: patients keep theirs.

    It is the name where the meaning is not ASCII; at most the 64 characters of LO.
    """
    return (organ.meaning if organ.meaning.isascii() else "")[:64] or organ.name


def date_and_time(moment: datetime) -> tuple[str, str]:
    """Return a moment as DICOM's DA and TM values, to the second.

    >>> date_and_time(datetime(2025, 1, 31, 7, 8, 9))
    ('20250131', '070809')
    """
    return f"{moment:%Y%m%d}", f"{moment:%H%M%S}"


def add_equipment(dataset: Dataset) -> None:
    """Set the elements that say which program made a file. Source: PS3.3 C.7.5.1."""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.SoftwareVersions = SOFTWARE_VERSIONS
    dataset.DeviceSerialNumber = DEVICE_SERIAL_NUMBER


class _Silence:
    """Silence that threads share: the first of them brings it about, the last one ends it."""

    def __init__(self) -> None:
        self._lock, self._threads, self._undo = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._threads == 0:
                self._undo.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                for log in map(logging.getLogger, _LOGS):
                    self._undo.callback(log.setLevel, log.level)
                    log.setLevel(logging.CRITICAL + 1)
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._undo.close()


_SILENCE = _Silence()


def silenced() -> AbstractContextManager[None]:
    """Keep what pydicom and highdicom have to say of a file to itself: it may quote a patient.

    Python's filters are the whole process's: while one thread is silenced, all are.
    """
    return _SILENCE


def save(path: Path, dataset: Dataset) -> None:
    """Write a data set with its file meta information as a DICOM file, for its owner's eyes alone.

    Args:
        path: The file to make or replace.
        dataset: With ``file_meta`` that names the transfer syntax, or a fresh one, which is then
            written in Explicit VR Little Endian.

    Raises:
        ResourceError: The disk is full, or what it holds is not what was written.
    """
    with silenced():
        content = _content(dataset)
    with replacing(path, verify=lambda written: _verify(written, path, content)) as stream:
        # It names a patient wherever its images do.
        os.fchmod(stream.fileno(), 0o600)
        stream.write(content)


def _content(dataset: Dataset) -> bytes:
    meta = getattr(dataset, "file_meta", None) or pydicom.dataset.FileMetaDataset()
    dataset.file_meta = meta
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _verify(written: Path, path: Path, content: bytes) -> None:
    """Compare the bytes, and walk through every element as a reader would."""
    held = written.read_bytes()
    with silenced():
        for element in pydicom.dcmread(BytesIO(held)).iterall():
            element.value  # noqa: B018 - decodes it
    if held != content:
        found = "what the disk holds is not what was written"
        raise ResourceError(Problem("E-IO", str(path), found))
