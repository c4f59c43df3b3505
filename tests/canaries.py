"""Words that stand for patients' names: put into every text of an image, looked for everywhere."""

import base64
import gzip
import re
import sqlite3
import zlib
from contextlib import closing
from functools import cache

from pydicom import Dataset
from pydicom.datadict import DicomDictionary

from medseg.io.dicom_written import silenced

TEXTS = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
CANARIES = ("ZZPHI^CANARY", "MRN-999999", *(f"ZZ{vr}CANARY" for vr in sorted(TEXTS)))
CANARIES += ("ZZPRIVATE", "ZZUNKNOWN")


def with_canaries(dataset):
    """Give a data set a canary in every text element that the standard has, and private ones."""
    dataset.update(_canaries())
    return dataset


@cache
def _canaries():
    made = Dataset()
    with silenced():  # not all of them are legal
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
            if vr in TEXTS and tag >> 16 > 2 and keyword:
                made.add_new(tag, vr, f"ZZ{vr}CANARY")
    made.PatientName, made.PatientID = CANARIES[:2]
    block = made.private_block(0x0029, "ZZPRIVATE", create=True)
    block.add_new(1, "LO", "ZZPRIVATE")
    block.add_new(2, "OB", b"ZZPRIVATE ")
    made.add_new(0x00189999, "UN", b"ZZUNKNOWN ")
    return made


def leaks(folder, canaries=CANARIES):
    """Return the files of a folder that hold a canary, packed or not, or are called by one."""
    wanted = pattern(canaries)
    return [
        path
        for path in sorted(folder.rglob("*"))
        if wanted.search(path.name.encode())
        or (path.is_file() and any(wanted.search(text) for text in readings(path)))
    ]


def pattern(canaries=CANARIES):
    """Return what finds canaries in bytes, in any case and however a name's parts are joined."""
    words = (re.escape(word.encode()).replace(rb"\^", b".{1,3}") for word in canaries)
    return re.compile(b"|".join(word.replace(rb"\-", b".{0,3}") for word in words), re.IGNORECASE)


def readings(path):
    """Yield a file's bytes, and what is packed in them."""
    if path.suffix == ".db":
        with closing(sqlite3.connect(path)) as store:
            yield "\n".join(store.iterdump()).encode("utf-8", "replace")
    yield from unpacked(path.read_bytes())


def unpacked(content):
    """Yield bytes, what they hold compressed or as data of a page, and so on."""
    yield content
    yield content.replace(b"\0", b"")  # texts of two bytes a letter
    if content[:2] == b"\x1f\x8b":
        yield from unpacked(gzip.decompress(content))
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        yield from chunks(content)
    for match in re.finditer(rb"base64,([A-Za-z0-9+/=]{16,})", content):
        yield from unpacked(base64.b64decode(match[1]))


def chunks(png):
    """Yield the texts of a PNG, inflated where they are compressed."""
    at = 8
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if kind in {b"zTXt", b"iTXt", b"eXIf"}:
            body = png[at + 8 : at + 8 + length]
            for start in range(len(body)):
                if body[start : start + 1] == b"\x78":
                    yield zlib.decompressobj().decompress(body[start:], 2**20)
        at += 12 + length
