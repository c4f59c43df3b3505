"""The bytes of a NIfTI file, inflated where the name ends in ``.gz``, and never half of them."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.io.nifti_claims import Layout

# Deflate codes at best 258 bytes in two bits (RFC 1951), so a stream never grows beyond this.
MAX_INFLATION = 1032


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file's inflated bytes; what goes wrong while they are read becomes a DataError."""
    subject = str(path)
    try:
        with path.open("rb") as raw:
            if path.suffix != ".gz":
                yield raw
            else:
                with gzip.open(raw) as stream:
                    yield cast(BinaryIO, stream)
    except EOFError as error:
        found = f"its compressed stream ends early, after {path.stat().st_size} bytes"
        raise DataError(Problem("E-NII-TRUNC", subject, found, fix="copy it again")) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        known = "Not a gzipped file" in str(error)
        raise DataError(
            Problem(
                "E-NII-FORMAT" if known else "E-NII-CRC",
                subject,
                "is not compressed" if known else f"is damaged: {error}",
                "gzip",
                "name it .nii" if known else "copy it again",
            )
        ) from error
    except OSError as error:
        found = f"cannot be read: {error.strerror or error}"
        raise DataError(Problem("E-IO", subject, found, "a readable file")) from error


def voxel_bytes(stream: BinaryIO, layout: Layout, path: Path) -> NDArray[np.uint8]:
    """Read the voxels' bytes, then on to the end, where gzip keeps its checksum."""
    stored = np.empty(layout.n_bytes, np.uint8)
    held = 0
    while n := stream.readinto(stored[held:]):  # type: ignore[attr-defined]
        held += n
    require_bytes(layout, held, path, intact=True)
    while stream.read(1 << 20):
        pass
    return stored


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
