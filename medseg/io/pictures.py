"""Pictures and masks in PNG or TIFF: grey of 8 or 16 bits, or RGB of 8, never half a picture.

The structure of a file is judged before Pillow decodes it, for Pillow accepts damaged files, other
formats under the name and pictures of any size, and narrows 16-bit colour in silence. A suffix
promises a format; JPEG, which changes pixels, is none of them.

Faults: those of `medseg.io.png` and `medseg.io.tiff`; E-LABEL for a mask that is none.
"""

import io
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medseg.io.png import COPY_AGAIN, any_header, contents, fault, pixel_stream, read_slice
from medseg.io.tiff import read_tiff_header

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

SUFFIXES = (".png", ".tif", ".tiff")
_WHOLE = (0, 1, 255, 65535)  # what a binary mask may hold: nothing, and one of the others
_PNG_HEADER_BYTES = 33
# What Pillow raises at a file that is not what it says.
_UNDECODABLE = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error)


class PictureHeader(NamedTuple):
    """What a picture says of itself: columns, rows, bits a channel, and channels (1 or 3)."""

    width_px: int
    height_px: int
    bits: int
    channels: int


def read_picture_header(path: Path) -> PictureHeader:
    """Return size, depth and channels of a picture without decoding it.

    Raises:
        DataError: The file cannot be opened, is empty, neither PNG nor TIFF, too large, or no
            grey or RGB picture; for a TIFF also when pixels are missing.
    """
    if _is_tiff(path):
        return PictureHeader(*read_tiff_header(path))
    return _png_header(path, contents(path, _PNG_HEADER_BYTES))


def read_picture(path: Path) -> Pixels:
    """Return a picture ``(H, W, C)`` as stored, C of 1 or 3: uint8, or uint16 for 16 bits.

    A picture of 1 bit gives 0 and 255.

    Raises:
        DataError: As `read_picture_header` does, and for a file that is cut short or damaged.
    """
    if _is_tiff(path):
        return _decoded(path, contents(path), PictureHeader(*read_tiff_header(path)), "TIFF")
    data = contents(path)
    header = _png_header(path, data)
    if header.channels == 1 and header.bits == 16:
        return read_slice(path)[..., None]
    pixel_stream(path, data)
    return _decoded(path, data, header, "PNG")


def read_mask(path: Path, *, threshold: int | None = None) -> NDArray[np.bool_]:
    """Return a mask ``(H, W)`` from a grey picture, or from RGB whose channels agree.

    Args:
        path: The file.
        threshold: Grey values from it on are mask; without it the mask must be binary: 0 and one
            of 1, 255 and 65535. A mask without a pixel is empty in either case.

    Raises:
        DataError: As `read_picture` does, and when the channels of RGB differ, a binary mask holds
            other values, or the highest value lies below the threshold (E-LABEL).
    """
    pixels = read_picture(path)
    grey = pixels[..., 0]
    if pixels.shape[2] > 1 and (differ := (pixels != grey[..., None]).any(2)).any():
        row, column = np.argwhere(differ)[0].tolist()
        value = tuple(pixels[row, column].tolist())
        found = f"red, green and blue differ, first in row {row}, column {column}: {value}"
        fix = "save the mask as grey; colours that name classes must become one mask each"
        raise fault(path, "E-LABEL", found, "one value a pixel", fix)
    if threshold is None:
        return _binary(path, grey)
    highest = int(grey.max())
    if 0 < highest < threshold:
        found = f"its highest grey value is {highest}"
        fix = "save the mask with 0 and 255, or lower the manifest's mask_threshold"
        raise fault(path, "E-LABEL", found, f"mask from {threshold} on", fix)
    return np.greater_equal(grey, threshold)


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture ``(H, W)`` or ``(H, W, 3)``; the suffix names the format."""
    Image.fromarray(pixels).save(path, compress_level=1)


def _binary(path: Path, grey: Pixels) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = grey != 0
    highest = int(grey.max())
    if highest not in _WHOLE or (mask & (grey != highest)).any():
        values = np.unique(grey).tolist()
        shown = ", ".join(map(str, values[:6])) + (", …" if len(values) > 6 else "")
        found = f"grey values where a binary mask is promised: {shown}"
        fix = "save the mask with 0 and 255, or give the manifest a mask_threshold"
        raise fault(path, "E-LABEL", found, "0 and one of 1, 255, 65535", fix)
    return mask


def _is_tiff(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        fix = "export the picture again from the original as PNG or TIFF"
        raise fault(path, "E-FORMAT", f"suffix {suffix!r}", ", ".join(SUFFIXES), fix)
    return suffix != ".png"


def _png_header(path: Path, data: bytes) -> PictureHeader:
    header = any_header(path, data)
    channels = {"greyscale": 1, "RGB": 3}.get(header.colour, 0)
    if header.bits not in {1: (1, 8, 16), 3: (8,)}.get(channels, ()):
        raise fault(
            path,
            "E-MODE",
            f"{header.bits}-bit {header.colour}",
            "8- or 16-bit grey, or 8-bit RGB",
            "save it so, without palette or transparency",
        )
    return PictureHeader(header.width_px, header.height_px, header.bits, channels)


def _decoded(path: Path, data: bytes, header: PictureHeader, kind: str) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
            pixels = np.array(picture)
    except _UNDECODABLE as error:
        found = f"pixels do not decode: {error}"
        raise fault(path, f"E-{kind}-TRUNC", found, "", COPY_AGAIN) from error
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    dtype = np.dtype(np.uint16 if header.bits == 16 else np.uint8)
    shape = (header.height_px, header.width_px, header.channels)
    # A second look at what Pillow made of it: nothing but what the header said may come back.
    if pixels.shape != shape or pixels.dtype.newbyteorder("=") != dtype:
        found = f"decodes to {pixels.dtype} {pixels.shape}"
        raise fault(path, "E-MODE", found, f"{dtype} {shape}")
    return np.asarray(pixels, dtype)
