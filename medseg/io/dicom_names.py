"""Whether files are DICOM, by their first bytes; nothing is parsed."""

import os
from collections.abc import Iterator
from pathlib import Path

_MAGIC_AT, _MAGIC = 128, b"DICM"
_SUFFIXES = (".dcm", ".ima", ".dicom")
_OTHERS = (".png", ".tif", ".tiff", ".csv", ".json", ".txt", ".gz", ".nii")


def holds_dicom(folder: Path) -> bool:
    """Whether a folder, or one inside it, holds a DICOM file. Links to folders are not followed."""
    return any(map(_is_dicom, _files(folder)))


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(files))


def _is_dicom(path: Path) -> bool:
    """Whether a file is, or is called, DICOM; one that cannot be read is what it is called."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    if path.suffix.lower() in _OTHERS:  # thousands in a data set of slices
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(_MAGIC_AT + 4)[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False
