"""``medseg data to-dicom``: a DICOM series of a volume, as a user asks for it."""

import json

import dicom_series
import nifti_files
import numpy as np
import pytest
import validators
from PIL import Image

from medseg.cli import main


def test_a_nifti_file_becomes_a_series(tmp_path, capsys):
    volume = nifti_files.save(nifti_files.image(), tmp_path / "volume.nii.gz")
    out = tmp_path / "series"
    assert main(["data", "to-dicom", str(volume), "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"{out}: 12 files, 20 x 24 x 12 voxels of 0.8 x 0.9 x 3 mm, LPS" in told
    assert "values kept exactly" in told
    voxels, affine = validators.volume([str(path) for path in sorted(out.iterdir())])
    np.testing.assert_array_equal(voxels, nifti_files.ramp())
    np.testing.assert_allclose(affine, nifti_files.AFFINE, atol=1e-5)


def test_a_scan_of_slices_becomes_a_series(tiny_phantom, tmp_path, capsys):
    scan = min((tiny_phantom / "train").glob("*/*"))
    out = tmp_path / "series"
    assert main(["data", "to-dicom", str(scan), "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    slices = sorted((scan / "scans").iterdir())
    assert told["files"] == len(slices) == len(list(out.iterdir()))
    assert told["largest_error"] == 0
    # Slices of the data set run from the head to the feet, those of DICOM to the head.
    voxels, affine = validators.volume([str(path) for path in sorted(out.iterdir())])
    np.testing.assert_array_equal(voxels[:, :, -1], np.array(Image.open(slices[0])).T)
    assert affine[2, 2] == 3


def test_values_that_are_scaled_are_told(tmp_path, capsys):
    made = nifti_files.image(nifti_files.ramp().astype(np.float32) / 7)
    volume = nifti_files.save(made, tmp_path / "volume.nii")
    assert main(["data", "to-dicom", str(volume), "-o", str(tmp_path / "out")]) == 0
    # 5759 / 7 in 65535 steps, half of one.
    assert "values off by at most 0.00628" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(dicom_series.write_series, "is DICOM already", id="DICOM"),
        pytest.param(
            lambda folder: [
                nifti_files.save(nifti_files.image(), folder / name) for name in ("a.nii", "b.nii")
            ],
            "holds 2 scans",
            id="two volumes",
        ),
    ],
)
def test_what_is_not_one_volume_is_refused(make, words, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    command = ["data", "to-dicom", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_refused(tmp_path, capsys):
    volume = nifti_files.save(nifti_files.image(), tmp_path / "volume.nii.gz")
    assert main(["data", "to-dicom", str(volume), "-o", str(tmp_path)]) == 2
    assert "E-EXISTS" in capsys.readouterr().err
