"""The bytes of a NIfTI file, inflated where the name ends in ``.gz``, and never half of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.io.nifti_claims import Layout

# Deflate codes at best 258 bytes in two bits (RFC 1951), so a stream never grows beyond this.
MAX_INFLATION = 1032

_MAGIC = b"\x1f\x8b"  # RFC 1952

# Of ISA-L's levels 0 to 3. For 144 slices of 266 x 266 pixels, 2 takes 1 ms and 0.6 % of the size
# of a label map, 57 ms and 43 % of a uint16 image, 95 ms and 31 % of a float32 one; 1 is as fast
# and images come out larger, 3 is slower and larger, 0 makes what does not compress a fifth larger.
# zlib at its level 1 takes 34, 244 and 423 ms for 0.9, 42 and 31 %.
_LEVEL = 2
_STEP_BYTES = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file's inflated bytes; what goes wrong while they are read becomes a DataError."""
    subject = str(path)
    try:
        with path.open("rb") as raw:
            if path.suffix != ".gz":
                yield raw
            else:
                _require_gzip(raw.peek(2)[:2], subject)
                with igzip.IGzipFile(None, "rb", fileobj=raw) as stream:  # type: ignore[no-untyped-call]
                    yield cast(BinaryIO, stream)
    except EOFError as error:
        found = f"its compressed stream ends early, after {path.stat().st_size} bytes"
        raise DataError(Problem("E-NII-TRUNC", subject, found, fix="copy it again")) from error
    except (igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        problem = Problem("E-NII-CRC", subject, f"is damaged: {error}", "gzip", "copy it again")
        raise DataError(problem) from error
    except OSError as error:
        found = f"cannot be read: {error.strerror or error}"
        raise DataError(Problem("E-IO", subject, found, "a readable file")) from error


def _require_gzip(start: bytes, subject: str) -> None:
    # A file of few bytes ends early before igzip says that it is none of its own.
    if not _MAGIC.startswith(start):
        raise DataError(
            Problem("E-NII-FORMAT", subject, "is not compressed", "gzip", "name it .nii")
        )


def voxel_bytes(stream: BinaryIO, layout: Layout, path: Path) -> NDArray[np.uint8]:
    """Read the voxels' bytes, then on to the end, where gzip keeps its checksum."""
    stored = np.empty(layout.n_bytes, np.uint8)
    held = 0
    while n := stream.readinto(stored[held : held + _STEP_BYTES]):  # type: ignore[attr-defined]
        held += n
    require_bytes(layout, held, path, intact=True)
    while stream.read(1 << 20):
        pass
    return stored


def holds(stream: BinaryIO, expected: NDArray[np.uint8]) -> bool:
    """Tell whether the rest of a stream is these bytes and no more; all of it is read."""
    same = True
    room = np.empty(min(_STEP_BYTES, len(expected) + 1), np.uint8)
    held = 0
    while n := stream.readinto(room):  # type: ignore[attr-defined]
        same = same and np.array_equal(room[:n], expected[held : held + n])
        held += n
    return same and held == len(expected)


def write_content(stream: BinaryIO, parts: Sequence[bytes | memoryview], *, packed: bool) -> None:
    """Write bytes, part after part; packed they are a gzip stream without a name and a date."""
    target = (
        igzip.IGzipFile("", "wb", _LEVEL, stream, mtime=0)  # type: ignore[no-untyped-call]
        if packed
        else stream
    )
    for part in parts:
        view = memoryview(part)
        # In steps, so that the packed bytes of a large image are never all in memory.
        for start in range(0, len(view), _STEP_BYTES):
            target.write(view[start : start + _STEP_BYTES])
    if packed:
        target.close()


def require_bytes(layout: Layout, held: int, path: Path, *, intact: bool) -> None:
    """Refuse a file with fewer bytes of voxels than its header claims.

    Where a checksum proves the file intact the header is wrong. Else that is told from a copy cut
    short by whether what is there makes whole rows, columns or slices.
    """
    claimed = layout.n_bytes
    if held >= claimed:
        return
    whole = held > 0 and any(held % (claimed // n) == 0 for n in layout.shape)
    code, fix = ("E-NII-SIZE", "export") if intact or whole else ("E-NII-TRUNC", "copy")
    found = f"holds {held} bytes of voxels"
    expected = f"{claimed} for {layout.shape}"
    raise DataError(Problem(code, str(path), found, expected, f"{fix} it again"))
