"""Sound NIfTI files, made to be broken by tests: written without nibabel's checks and repairs."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import DataError
from medseg.io.nifti import read_image

SHAPE = (20, 24, 12)
AFFINE = np.array([[-0.8, 0, 0, 5], [0, -0.9, 0, 6], [0, 0, 3.0, -7], [0, 0, 0, 1]])


def ramp(shape=SHAPE):
    """Every voxel has its own value."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def image(voxels=None, affine=AFFINE, *, kind=nib.Nifti1Image):
    """A sound image, its header open to harm; `save` writes it."""
    made = kind(ramp() if voxels is None else voxels, affine)
    made.header.set_sform(affine, 1)
    made.header.set_qform(affine, 1)
    made.header.set_xyzt_units("mm")
    return made


def save(made, path):
    """Write header and voxels as they are, without the checks and repairs of nibabel."""
    header = made.header.copy()
    voxels = np.asanyarray(made.dataobj)
    header["vox_offset"] = header["vox_offset"] or 352
    content = header.binaryblock + bytes(4) + voxels.astype(header.get_data_dtype()).tobytes("F")
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def harmed(path, **fields):
    """Write a sound image whose header fields are then set to `fields`."""
    made = image()
    for name, value in fields.items():
        made.header[name] = value
    return save(made, path)


def code_of(path, **options):
    with pytest.raises(DataError, match=path.name) as caught:
        read_image(path, **options)
    return {problem.code for problem in caught.value.problems}
