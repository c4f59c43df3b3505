"""Image files by their names; nothing is opened."""

from pathlib import Path

from medseg.io import nifti_names

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
SUFFIXES = (*nifti_names.SUFFIXES, *ITK_SUFFIXES)


def image_stem(path: Path) -> str:
    """Return a file's name without the suffix of its format.

    >>> image_stem(Path("liver_7.nii.gz")), image_stem(Path("liver.7.mha"))
    ('liver_7', 'liver.7')
    """
    return path.stem if path.suffix in ITK_SUFFIXES else nifti_names.stem_of(path)
