"""The size that a compressed frame claims for itself, before a decoder believes it.

A JPEG inside a DICOM file has a header of its own. Decoders take the memory that this one asks
for, whatever the DICOM header says.
"""

from pathlib import Path

from pydicom import Dataset
from pydicom.encaps import generate_frames

from medseg.errors import DataError, Problem

_J2K_START = b"\xff\x4f\xff\x51"  # SOC, SIZ: ISO 15444-1 A.4.1 and A.5.1
_WRAPPING_BYTES = 4096
_SOI = b"\xff\xd8"
# Start of frame: ISO 10918-1 B.1.1.3 without DHT, JPG and DAC; ISO 14495-1 C.1.1 (JPEG-LS).
_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def require_claims(dataset: Dataset, path: Path) -> None:
    """Compare what the frames of compressed pixels claim with what the header says.

    Raises:
        DataError: E-TOO-LARGE, a frame claims another size, or would unpack to one.
    """
    size = dataset.Columns, dataset.Rows, 1
    largest = 2 * dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8 + 1024
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    frames = generate_frames(dataset.PixelData, number_of_frames=n_frames)
    for number, frame in enumerate(frames, 1):
        claimed = size_of(frame)
        if claimed is not None and claimed != size:
            found = f"frame {number} claims {claimed[0]} x {claimed[1]} x {claimed[2]} values"
        elif claimed is None and len(frame) > largest:
            # What is no JPEG is RLE, which at worst adds one byte to 128: PS3.5 G.3.
            found = f"frame {number} has {len(frame)} bytes of run lengths"
        else:
            continue
        expected = f"{size[0]} x {size[1]} x 1 values"
        raise DataError(Problem("E-TOO-LARGE", str(path), found, expected))


def size_of(frame: bytes) -> tuple[int, int, int] | None:
    """Return columns, rows and values a pixel that a JPEG, JPEG-LS or JPEG 2000 claims.

    Returns:
        None for anything else, such as run lengths, and for what ends before it tells.

    >>> size_of(bytes.fromhex("ffd8 ffc0 000b 08 0018 0014 01 011100"))
    (20, 24, 1)
    """
    # A codestream of JPEG 2000 may be wrapped, against PS3.5 A.4.4: it begins further on then.
    start = -1 if frame.startswith(_SOI) else frame.find(_J2K_START, 0, _WRAPPING_BYTES)
    if 0 <= start <= len(frame) - 42:
        right, bottom, left, top = (_whole(frame, start + at, 4) for at in range(8, 24, 4))
        return right - left, bottom - top, _whole(frame, start + 40, 2)
    at = 2 if frame.startswith(_SOI) else len(frame)
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in _SOF:
            return _whole(frame, at + 7, 2), _whole(frame, at + 5, 2), frame[at + 9]
        # A fill byte stands alone; all markers before the frame's have a length.
        at += 1 if marker == 0xFF else 2 + _whole(frame, at + 2, 2)
    return None


def _whole(frame: bytes, at: int, n_bytes: int) -> int:
    return int.from_bytes(frame[at : at + n_bytes])
