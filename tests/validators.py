"""Other people's programs, whose word counts: what they say of the files that medseg writes.

`make test` installs them where it may; a test that needs one that is absent is skipped, and says
so. A clean file gives an empty list.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

# dcmqi's come with Python's packages, Orthanc is where services are.
_FOLDERS = (Path(sys.executable).parent, Path("/usr/sbin"))


def program(name):
    """Return the path of a program; without it the test is skipped."""
    places = [None, *map(str, _FOLDERS)]
    path = next(filter(None, (shutil.which(name, path=place) for place in places)), None)
    if path is None:
        pytest.skip(f"there is no {name}; 'make test' installs it where it may")
    return path


def said(name, *words, ends=(0,)):
    """Run a program and return what it said on both streams, a line each.

    It must end with one of `ends`; None takes any.
    """
    line = [program(name), *map(str, words)]
    run = subprocess.run(line, check=False, capture_output=True, text=True, errors="replace")
    lines = (run.stdout + run.stderr).splitlines()
    assert ends is None or run.returncode in ends, "\n".join(lines)
    return lines


def dciodvfy_errors(path):
    """Return the errors that David Clunie's validator finds by the rules of the file's IOD."""
    lines = said("dciodvfy", "-new", path, ends=None)
    # It names the IOD by whose rules it went, or ends with Abort.
    assert [line for line in lines if line.startswith("Abort")] == []
    assert [line for line in lines if " " not in line] != []
    return [line for line in lines if line.startswith("Error")]


def dcentvfy_faults(paths):
    """Return where files contradict each other on the patient, study or series that they share."""
    return [line for line in said("dcentvfy", *paths, ends=None) if line.strip()]


def gdcm_faults(path):
    """Return the warnings and errors of GDCM, which reads the whole file."""
    lines = [*said("gdcmdump", path), *said("gdcminfo", path)]
    return [line for line in lines if line.lower().startswith(("warning", "error"))]


def dcmtk_faults(path):
    """Return the warnings and errors of DCMTK, which reads the whole file."""
    lines = said("dcmdump", "--read-file-only", path)
    return [line for line in lines if line.startswith(("W:", "E:", "F:"))]


def dcmqi_masks(path, folder):
    """Return by segment number dcmqi's mask ``(I, J, K)`` and its affine to RAS mm.

    Args:
        path: A DICOM SEG.
        folder: Where dcmqi may write.
    """
    folder.mkdir(exist_ok=True)
    said("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd")
    images = {int(file.stem.split("-")[-1]): volume(file) for file in folder.glob("*.nrrd")}
    return dict(sorted(images.items()))


def volume(path):
    """Return the voxels ``(I, J, K)`` and the affine to RAS mm of any image that SimpleITK reads.

    Args:
        path: A file, or the files of a DICOM series in their order.
    """
    image = SimpleITK.ReadImage(path if isinstance(path, list | tuple) else str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
