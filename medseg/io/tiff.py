"""What a TIFF says of itself, read before any library decodes it.

A TIFF is a table of tags that may lie anywhere in the file, and pieces of picture (strips or tiles)
that it points to. Libraries decode far more than a medical slice may be, turn pictures by a tag and
narrow 16-bit colour to 8 bits in silence; whatever is not one plain page is refused here. The
format has no checksums: a changed pixel cannot be noticed, a missing one can.

Faults: E-EMPTY, E-FORMAT, E-TOO-LARGE, E-MODE, E-TIFF-TRUNC, and E-IO.

Source: TIFF 6.0, Aldus 1992, sections 2 to 8 and 19.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from medseg.errors import DataError
from medseg.io.png import COPY_AGAIN, MAX_SIDE_PX, contents, fault, other_format

WIDTH, HEIGHT, BITS, COLOUR, ORIENTATION, SAMPLES = 256, 257, 258, 262, 274, 277
SAMPLE_FORMAT = 339
_PIECES = ((273, 279), (324, 325))  # where strips and tiles lie, and how long they are
_WANTED = {WIDTH, HEIGHT, BITS, COLOUR, ORIENTATION, SAMPLES, SAMPLE_FORMAT, *sum(_PIECES, ())}
_TYPES = {1: "B", 3: "H", 4: "I"}  # the unsigned integers
_COLOURS = {
    0: "grey with white as 0",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
}
_SAMPLES = {2: "signed numbers", 3: "floating-point numbers"}
_MAX_TAGS = 256
_MAX_PIECES = 3 * (MAX_SIDE_PX // 16) ** 2  # tiles are of 16 pixels a side at least, section 15
_ADVICE = "save it as one page of 8- or 16-bit grey or 8-bit RGB"


class TiffHeader(NamedTuple):
    """Columns, rows, bits a sample, and samples a pixel: 1 is grey, 3 is RGB."""

    width_px: int
    height_px: int
    bits: int
    samples: int


def read_tiff_header(path: Path) -> TiffHeader:
    """Return size, depth and channels of a TIFF of one plain page, all of whose pixels are there.

    Raises:
        DataError: The file cannot be opened or is empty, no TIFF, cut short, too large, or holds
            anything but one page of grey or RGB.
    """
    order, at = _start(path, contents(path, 8))
    count = _number(path, order + "H", at)
    if count > _MAX_TAGS:
        raise fault(path, "E-FORMAT", f"{count} tags", f"up to {_MAX_TAGS}", COPY_AGAIN)
    table = _bytes(path, at + 2, 12 * count + 4)
    tags = _tags(path, order, table)
    if int.from_bytes(table[-4:], "little" if order == "<" else "big"):
        raise fault(path, "E-MODE", "has several pages", "one", "save each page as its own file")
    header = _header(path, tags)
    _require_whole(path, tags)
    return header


def _start(path: Path, data: bytes) -> tuple[str, int]:
    """Return the byte order and where the table of tags begins."""
    if not data:
        raise fault(path, "E-EMPTY", "0 bytes", "a TIFF", COPY_AGAIN)
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(data[:4])
    if order is None:
        name = other_format(data) or "not TIFF"
        raise fault(path, "E-FORMAT", f"is {name}", "TIFF", "give the file its format's suffix")
    if len(data) < 8:
        raise fault(path, "E-EMPTY", f"{len(data)} bytes, no header", "a TIFF", COPY_AGAIN)
    return order, struct.unpack(order + "I", data[4:])[0]


def _bytes(path: Path, at: int, size: int) -> bytes:
    data = contents(path, size, start=at)
    if len(data) < size:
        raise _cut(path, at + size)
    return data


def _number(path: Path, code: str, at: int) -> int:
    return int(struct.unpack(code, _bytes(path, at, struct.calcsize(code)))[0])


def _cut(path: Path, end: int) -> DataError:
    found = f"cut short, {path.stat().st_size} bytes"
    return fault(path, "E-TIFF-TRUNC", found, f"at least {end} bytes", COPY_AGAIN)


def _tags(path: Path, order: str, table: bytes) -> dict[int, tuple[int, ...]]:
    """Return the tags that matter here, where they hold unsigned integers."""
    tags: dict[int, tuple[int, ...]] = {}
    seen: set[int] = set()
    for at in range(0, len(table) - 4, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", table, at)
        if tag not in _WANTED:
            continue
        if tag in seen:  # readers differ in which of them they believe
            raise fault(path, "E-FORMAT", f"tag {tag} stands twice", "once", COPY_AGAIN)
        seen.add(tag)
        if kind not in _TYPES:
            continue
        if count > _MAX_PIECES:
            found = f"{count} values in tag {tag}"
            raise fault(path, "E-FORMAT", found, f"up to {_MAX_PIECES}", COPY_AGAIN)
        code = f"{order}{count}{_TYPES[kind]}"
        size = struct.calcsize(code)
        if size > 4:
            start = struct.unpack_from(order + "I", table, at + 8)[0]
            tags[tag] = struct.unpack(code, _bytes(path, start, size))
        else:
            tags[tag] = struct.unpack_from(code, table, at + 8)
    return tags


def _header(path: Path, tags: Mapping[int, tuple[int, ...]]) -> TiffHeader:
    try:
        (width,), (height,), (colour,) = tags[WIDTH], tags[HEIGHT], tags[COLOUR]
        (samples,), (turn,) = tags.get(SAMPLES, (1,)), tags.get(ORIENTATION, (1,))
    except (KeyError, ValueError) as error:
        found = f"TIFF without size or colour: {error}"
        raise fault(path, "E-FORMAT", found, "", COPY_AGAIN) from error
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        found = f"{width} x {height} pixels"
        raise fault(path, "E-TOO-LARGE", found, f"1 to {MAX_SIDE_PX} a side")
    bits = tags.get(BITS, (1,))
    found = _unfit(colour, samples, bits, tags.get(SAMPLE_FORMAT, (1,)), turn)
    if found:
        raise fault(path, "E-MODE", found, "8- or 16-bit grey, or 8-bit RGB", _ADVICE)
    return TiffHeader(width, height, bits[0], samples)


def _unfit(
    colour: int, samples: int, bits: tuple[int, ...], kinds: tuple[int, ...], turn: int
) -> str:
    """Return why a page is no plain picture; an empty text when it is one."""
    other = next((kind for kind in kinds if kind != 1), None)
    if other is not None:
        return _SAMPLES.get(other, f"sample format {other}")
    if (colour, samples) not in ((1, 1), (2, 3)):
        name = _COLOURS.get(colour, f"colour {colour}")
        return f"{samples} channels" if colour in (1, 2) else name
    if turn != 1:
        return f"stored turned (orientation {turn})"
    if {*bits} not in ([{1}, {8}, {16}] if colour == 1 else [{8}]):
        return f"{' + '.join(map(str, bits))} bits a pixel"
    return ""


def _require_whole(path: Path, tags: Mapping[int, tuple[int, ...]]) -> None:
    """Require that all pieces of the picture lie within the file."""
    for starts, lengths in _PIECES:
        if starts in tags and lengths in tags:
            pieces = zip(tags[starts], tags[lengths], strict=False)
            end = max((start + length for start, length in pieces), default=0)
            if end > path.stat().st_size:
                raise _cut(path, end)
            return
    raise fault(path, "E-EMPTY", "no pixels", "a picture", COPY_AGAIN)
