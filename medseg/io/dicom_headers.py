"""What the header of a DICOM file says of its image, judged before a pixel is read.

A header is read once, without pixels and without the texts in it. What the file claims is compared
with its length and with limits, since decoders believe claims: they take the memory that a header
asks for, and inflate what a file holds.
"""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import BaseTag

from medseg.errors import DataError, Problem
from medseg.io.dicom_files import COPY_AGAIN, Held
from medseg.io.nifti_claims import MAX_BYTES, MAX_SIDE_VOX

MAX_INFLATED_BYTES = 2**27

_IMAGES = {
    uid.CTImageStorage,
    uid.MRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
}
_NOT_TO_SEGMENT = {"LOCALIZER": "localizer", "PROJECTION IMAGE": "projection"}
_IDENTIFIERS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_UNPACKED = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
_NUMBERS = {"DS", "IS", "US"}
_PIXELS = 0x7FE00010
_CHUNK_BYTES = 2**20
_KEYWORDS = (
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "SliceThickness",
    "SpacingBetweenSlices",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_TAGS: list[BaseTag | int] = [tag for word in _KEYWORDS if (tag := tag_for_keyword(word))]

Numbers = NDArray[np.float64]


class Header(NamedTuple):
    """A file's header without pixels and texts, and what is wrong with the image it announces.

    Attributes:
        path: The file.
        dataset: The elements that decide what the image is, how it is stored and where it lies.
        kind: What the file is, where it is no image that can be segmented; else nothing.
        problems: Of the image; they matter once its series is asked for.
    """

    path: Path
    dataset: Dataset
    kind: str
    problems: tuple[Problem, ...] = ()

    @property
    def series_uid(self) -> str:
        """Which series the file belongs to."""
        return str(self.dataset.get("SeriesInstanceUID", ""))

    @property
    def n_frames(self) -> int:
        """How many frames it claims to hold; 1 for a plain image."""
        claimed = self.dataset.get_item("NumberOfFrames")
        return (
            1
            if claimed is None or not claimed.value
            else _whole(self.dataset, "NumberOfFrames") or 0
        )

    @property
    def is_multi_frame(self) -> bool:
        """Whether each of its frames has a place of its own, in functional groups."""
        return self.n_frames > 1 or "PerFrameFunctionalGroupsSequence" in self.dataset


def read_header(path: Path) -> Header:
    """Read a file's header, up to its pixels; call it inside `silenced`.

    Raises:
        DataError: E-IO; E-DCM-TRUNC, the header is cut short or lacks what makes it DICOM;
            E-TOO-LARGE, its deflated content exceeds `MAX_INFLATED_BYTES`.
    """
    try:
        with Held(path) as stream:
            syntax = _meta(stream).get("TransferSyntaxUID")
            if syntax == uid.DeflatedExplicitVRLittleEndian:
                _require_modest(path)
            stream.seek(0)
            dataset, pixels_at = _read(stream)
        return _judged(path, dataset, pixels_at)
    except DataError:
        raise
    # Broken files make pydicom raise whatever the bytes that it misunderstands lead to, errors of
    # the disk among them; what it says then may quote the header.
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(Problem("E-IO", str(path), error.strerror, "a readable file")) from None
        raise _cut(path, f"its header cannot be read ({type(error).__name__})") from None


def numbers(dataset: Dataset, keyword: str, count: int) -> Numbers | None:
    """Return the numbers of an element; None unless there are `count` and all are finite."""
    try:
        value = dataset.get(keyword)
        row = np.atleast_1d(np.array([] if value is None else value, np.float64))
    except (ValueError, TypeError, OverflowError):
        return None
    return row if row.shape == (count,) and np.isfinite(row).all() else None


def tail(identifier: str, digits: int = 6) -> str:
    """Return the last characters of a UID, which alone are shown.

    >>> tail("1.2.840.113619.2.55.3.604688")
    '…604688'
    """
    return f"…{identifier[-digits:]}" if len(identifier) > digits else identifier


def _meta(stream: BinaryIO) -> Dataset:
    """Return the file meta information, which says how the rest is written; PS3.10 7.1."""
    read_preamble(stream, force=False)
    return read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)


def _read(stream: BinaryIO) -> tuple[Dataset, int | None]:
    """Return the header, and where the value of its pixels begins; None where it has none."""
    seen: list[int] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001
        if tag == _PIXELS:
            seen.append(tag)
        return bool(tag >= 0x7FE00008)

    dataset = read_partial(stream, at_pixels, specific_tags=_TAGS)
    _understand(dataset)
    # The stream stands before tag, VR and length: PS3.5 7.1.2 and 7.1.3.
    prefix = 8 if dataset.original_encoding[0] else 12
    return dataset, stream.tell() + prefix if seen else None


def _understand(dataset: Dataset) -> None:
    """Convert all elements, which pydicom puts off, so that broken ones are met here.

    Numbers that are none are left to whoever asks for them with `numbers`.
    """
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except ValueError:
            if not dictionary_has_tag(tag) or dictionary_VR(tag) not in _NUMBERS:
                raise
        else:
            for item in element.value if element.VR == "SQ" else ():
                _understand(item)


def _judged(path: Path, dataset: Dataset, pixels_at: int | None) -> Header:
    if not dataset.file_meta.get("TransferSyntaxUID"):
        raise _cut(path, "has no transfer syntax in its file meta information")
    written_as = dataset.file_meta.get("MediaStorageSOPClassUID")
    storage = uid.UID(dataset.get("SOPClassUID") or written_as or "")
    if not storage:
        raise _cut(path, "does not say what it holds")
    # Either may have been lost; an image that is cut short must not pass for something else.
    if not {storage, written_as} & _IMAGES:
        # Of a class that no standard names only the number is known.
        known = storage.name != storage
        return Header(path, dataset, storage.name.removesuffix(" Storage") if known else "other")
    missing = [keyword for keyword in _IDENTIFIERS if not dataset.get(keyword)]
    if missing:
        raise _cut(path, f"its header has no {', '.join(missing)}")
    if pixels_at is None:
        raise _cut(path, "ends before its pixels")
    header = Header(path, dataset, _unfit(dataset))
    problem = None if header.kind else _fault(header, path.stat().st_size - pixels_at)
    return header._replace(problems=(problem,) if problem else ())


def _unfit(dataset: Dataset) -> str:
    """Return what an image is if it is none that can be segmented; nothing if it is one."""
    words = {str(word).strip() for word in _words(dataset.get("ImageType"))}
    for word, kind in _NOT_TO_SEGMENT.items():
        if word in words:
            return kind
    colours = str(dataset.get("PhotometricInterpretation", ""))
    if _whole(dataset, "SamplesPerPixel") not in (None, 1) or not colours.startswith("MONOCHROME"):
        return "colour picture"
    placed = "ImagePositionPatient" in dataset or "PerFrameFunctionalGroupsSequence" in dataset
    is_capture = "Secondary Capture" in uid.UID(dataset.SOPClassUID).name
    return "secondary capture without a position" if is_capture and not placed else ""


def _words(value: Any) -> Sequence[Any]:  # noqa: ANN401 - what pydicom makes of an element
    return [value] if value is None or isinstance(value, str) else list(value)


def _fault(header: Header, rest_bytes: int) -> Problem | None:
    """Return what is wrong with an image's claims, given the bytes from its pixels to the end."""
    path, dataset = str(header.path), header.dataset
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    bits = _whole(dataset, "BitsAllocated")
    stored, high = _whole(dataset, "BitsStored"), _whole(dataset, "HighBit")
    if not (rows and columns and bits and stored) or header.n_frames < 1:
        expected = "Rows, Columns, BitsAllocated, BitsStored"
        return Problem("E-DCM-TRUNC", path, "does not say its size", expected, COPY_AGAIN)
    frames, n_bytes = header.n_frames, rows * columns * header.n_frames * 4
    if max(rows, columns, frames) > MAX_SIDE_VOX or n_bytes > MAX_BYTES:
        found = f"claims {frames} frames of {columns} x {rows} pixels"
        expected = f"sides up to {MAX_SIDE_VOX}, at most {MAX_BYTES >> 30} GiB"
        return Problem("E-TOO-LARGE", path, found, expected)
    if bits not in (8, 16, 32) or stored > bits or high not in (None, stored - 1):
        found = f"{bits} bits allocated, {stored} stored, high bit {high}"
        expected = "8, 16 or 32 allocated, the lowest of them stored"
        return Problem("E-DCM-PIXELS", path, found, expected)
    return _undecodable(header) or _short(header, rest_bytes, rows * columns * frames * bits // 8)


def _undecodable(header: Header) -> Problem | None:
    syntax = header.dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except RuntimeError:  # of a syntax that pydicom does not know
        found = f"transfer syntax {tail(syntax) if syntax.name == syntax else syntax.name}"
        expected, fix = "a syntax of still images", "decompress it with dcmdjpeg or gdcmconv --raw"
    else:
        if decoder.is_available:
            return None
        found = f"no decoder is installed for {syntax.name}"
        expected, fix = "a decoder that pydicom finds", "pip install pylibjpeg pylibjpeg-openjpeg"
    return Problem("E-DCM-TS", str(header.path), found, expected, fix)


def _short(header: Header, rest_bytes: int, wanted_bytes: int) -> Problem | None:
    if header.dataset.file_meta.TransferSyntaxUID not in _UNPACKED or rest_bytes >= wanted_bytes:
        return None
    found = f"ends within its pixels, {rest_bytes} bytes"
    expected = f"at least {wanted_bytes}"
    return Problem("E-DCM-TRUNC", str(header.path), found, expected, COPY_AGAIN)


def _require_modest(path: Path) -> None:
    """Inflate a deflated file in pieces, keeping none, and stop at the limit.

    Damage is left to be found by pydicom, which inflates it again.
    """
    with path.open("rb") as stream:
        content = stream.read()
    # The file meta information is not deflated: (0002,0000), its length, is its first element.
    (length,) = np.frombuffer(content, "<u4", 1, 140)
    inflate, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), content[144 + int(length) :], 0
    while rest and not inflate.eof:
        size += len(inflate.decompress(rest, _CHUNK_BYTES))
        rest = inflate.unconsumed_tail
        if size > MAX_INFLATED_BYTES:
            found = f"{len(content)} bytes inflate to more than {MAX_INFLATED_BYTES >> 20} MiB"
            fix = "inflate it with dcmconv if you trust it"
            raise DataError(Problem("E-TOO-LARGE", str(path), found, "a slice", fix))


def _whole(dataset: Dataset, keyword: str) -> int | None:
    row = numbers(dataset, keyword, 1)
    return None if row is None else int(row[0])


def _cut(path: Path, found: str) -> DataError:
    return DataError(Problem("E-DCM-TRUNC", str(path), found, "a whole DICOM file", COPY_AGAIN))


def as_modality(text: object) -> str:
    """Return a modality's code, such as ``MR``; nothing where the element holds another text."""
    return code if re.fullmatch("[A-Z]{2,9}", code := str(text)) else ""
