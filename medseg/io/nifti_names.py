"""NIfTI files by their names; nothing is opened."""

from pathlib import Path

SUFFIXES = (".nii.gz", ".nii")


def volumes_in(folder: Path) -> list[Path]:
    """Return the NIfTI files directly in a folder, sorted; none where there is no folder."""
    return sorted(path for path in folder.glob("[!.]*") if path.name.endswith(SUFFIXES))


def stem_of(path: Path) -> str:
    """Return a file's name without ``.nii`` or ``.nii.gz``.

    >>> stem_of(Path("liver_7.nii.gz"))
    'liver_7'
    """
    return path.name.removesuffix(".gz").removesuffix(".nii")
