"""Sound NRRD and MetaImage files by SimpleITK, and the same with a part of the header changed."""

import re

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - as everyone calls it

from medseg.errors import DataError
from medseg.io.itk import read_itk

SHAPE, SPACING_MM, ORIGIN_LPS_MM = (20, 24, 12), (0.8, 0.9, 3.0), (-11.5, 27.25, 4.0)
STRAIGHT = np.eye(3)


def ramp(dtype="int16"):
    """Every voxel has its own value, as far as the type goes."""
    return (np.arange(np.prod(SHAPE)) % 30011).astype(dtype).reshape(SHAPE)


def image(voxels=None, directions=STRAIGHT):
    made = sitk.GetImageFromArray((ramp() if voxels is None else voxels).T)
    made.SetSpacing(SPACING_MM)
    made.SetOrigin(ORIGIN_LPS_MM)
    made.SetDirection([float(c) for c in directions.ravel()])
    return made


def save(path, made=None, *, packed=False):
    sitk.WriteImage(made or image(), str(path), packed)
    return path


def edited(path, *changes, packed=False):
    """Write a sound file, then replace parts of its header by regular expressions."""
    content = save(path, packed=packed).read_bytes()
    for old, new in changes:
        content, n = re.subn(old.encode(), new.encode(), content, count=1)
        assert n == 1, old
    path.write_bytes(content)
    return path


def codes_of(path, **options):
    with pytest.raises(DataError, match=re.escape(path.name)) as caught:
        read_itk(path, **options)
    return {problem.code for problem in caught.value.problems}
