"""Whose an image is, taken out of it: de-identification after PS3.15 Annex E, Basic Profile.

What may stay is listed, and all else goes: every text that a person or a scanner wrote, private
elements, and whatever is not known to be harmless. Identifiers become others, the same for the same
key in every run: UIDs those of PS3.5 B.2, the patient a pseudonym, dates a number of days earlier
that is the patient's own (option Retain Longitudinal Temporal Information with Modified Dates);
times become midnight. Without the key nothing leads back, so that it is as secret as the patients.

Pixels are not looked at. Images that may show a name, or a face that can be recognised, are
refused.
"""

import hmac
import re
import secrets
from pathlib import Path
from uuid import UUID

from pydicom import Dataset, uid
from pydicom.dataset import FileDataset, FileMetaDataset

from medseg.errors import DataError, Problem, ResourceError, UsageError
from medseg.io.dicom_profile import Cleaning, sign
from medseg.io.dicom_refusals import reasons
from medseg.io.dicom_written import silenced
from medseg.io.written import write_once

_KEY_BYTES = 32
_STANDARD = "1.2.840.10008."  # UIDs of the standard itself: classes, syntaxes, coding schemes
_MAX_SHIFT_DAYS = 3650


class Identity:
    """Gives patients and their images other identities, the same ones for the same key.

    Args:
        key: At least 32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < _KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes is too short: at least {_KEY_BYTES}")
        self._key = key

    def clean(self, dataset: Dataset) -> Dataset:
        """Return a copy of an image, or of its header, that does not tell whose it is.

        Raises:
            DataError: E-DEIDENTIFY, it may show what cannot be taken out; all reasons at once.
        """
        with silenced():
            found = list(reasons(dataset))
            if found:
                subject = str(getattr(dataset, "filename", None) or "an image")
                expected = "an image of MR or CT without writing in it"
                raise DataError(*(Problem("E-DEIDENTIFY", subject, why, expected) for why in found))
            names = ("PatientID", "PatientName", "StudyInstanceUID")
            known = (str(dataset.get(name) or "").strip() for name in names)
            patient = next(filter(None, known), "")
            cleaned = Cleaning(self, self._days(patient)).of(dataset, is_top=True)
            sign(cleaned, self._pseudonym(patient))
            return _as_file(cleaned, dataset)

    def uid(self, original: str) -> str:
        """Return the UID that stands for another; those of the standard stand for themselves."""
        if not original or original.startswith(_STANDARD):
            return original
        return f"2.25.{UUID(bytes=self._digest('uid', original)[:16], version=5).int}"

    def word(self, original: str) -> str:
        """Return eight digits and letters that stand for a short text."""
        return self._digest("word", original).hex()[:8].upper()

    def _pseudonym(self, patient: str) -> str:
        return f"ANON-{self._digest('patient', patient).hex()[:12].upper()}"

    def _days(self, patient: str) -> int:
        return 1 + int.from_bytes(self._digest("days", patient)[:4]) % _MAX_SHIFT_DAYS

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{text}".encode("utf-8", "replace"), "sha256")


def read_identity(path: Path) -> Identity:
    """Return the identity of the key in a file; a new key is written if there is no such file.

    The file holds 64 hexadecimal digits and is only the user's to read.

    Raises:
        UsageError: E-KEY, the file holds something else.
        ResourceError: E-IO, it cannot be read or made.
    """
    try:
        if not path.exists():
            write_once(path, f"{secrets.token_hex(_KEY_BYTES)}\n".encode(), mode=0o600)
        text = path.read_bytes()[: 4 * _KEY_BYTES].strip().decode("ascii", "replace")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResourceError(Problem("E-IO", str(path), reason, "a key file")) from error
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * _KEY_BYTES}}}", text):
        fix = "name a file that is not there yet; a key is written to it"
        found, expected = "is no key", f"{2 * _KEY_BYTES} hexadecimal digits"
        raise UsageError(Problem("E-KEY", str(path), found, expected, fix))
    return Identity(bytes.fromhex(text))


def _as_file(cleaned: Dataset, original: Dataset) -> Dataset:
    """Give a data set a file's meta information, which holds no more than it must."""
    meta = FileMetaDataset()
    read = getattr(original, "file_meta", None) or FileMetaDataset()
    meta.TransferSyntaxUID = read.get("TransferSyntaxUID", uid.ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = cleaned.SOPClassUID
    meta.MediaStorageSOPInstanceUID = cleaned.get("SOPInstanceUID", "")
    file = FileDataset("", cleaned, file_meta=meta, preamble=bytes(128))
    # Pixels are bytes, in the order of the original.
    syntax = meta.TransferSyntaxUID
    file.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    return file
