"""One door for image files, and what a user may allow of them."""

import numpy as np
import pytest
from nifti_files import harmed, image, ramp, save

from medseg.errors import DataError
from medseg.io.image_names import SUFFIXES, image_stem
from medseg.io.images import Reading, read_source
from medseg.io.nifti import read_label_map
from medseg.transforms import ReadVolumed


def test_a_file_of_no_known_format_is_refused_with_those_that_are(tmp_path):
    (tmp_path / "a.dat").write_bytes(bytes(400))
    with pytest.raises(DataError, match=r"E-FORMAT.*a\.dat.*\.nii\.gz, .*\.nrrd"):
        read_source(tmp_path / "a.dat")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_name_of_a_scan_is_that_of_its_file_without_the_format(tmp_path, suffix):
    assert image_stem(tmp_path / f"liver.7{suffix}") == "liver.7"


@pytest.mark.parametrize(
    ("harm", "code", "allowed"),
    [
        pytest.param({"sform_code": 0, "qform_code": 0}, "E-NII-NOFORM", Reading(assume_ras=True)),
        pytest.param({"qoffset_x": 90.0}, "E-NII-FORMS", Reading(use="sform")),
        pytest.param({"qoffset_x": 90.0}, "E-NII-FORMS", Reading(use="qform")),
    ],
    ids=["no form", "sform of two", "qform of two"],
)
def test_what_an_item_allows_reaches_the_reader(tmp_path, harm, code, allowed):
    path = harmed(tmp_path / "a.nii", **harm)
    read = ReadVolumed("image")
    with pytest.raises(DataError, match=code):
        read({"image": path})
    item = read({"image": path, "reading": allowed})
    assert np.array_equal(item["image"][0], ramp())
    origin_mm = float(item["image"].affine[0, 3])
    assert origin_mm == {"sform": 5, "qform": 90}.get(allowed.use, 0 if allowed.assume_ras else 5)


def test_voxels_that_are_not_finite_are_replaced_where_an_item_allows_it(tmp_path):
    voxels = ramp().astype(np.float32) - 7
    voxels[0, 0, 1] = np.nan
    path = save(image(voxels), tmp_path / "a.nii")
    with pytest.raises(DataError, match="E-NII-NAN"):
        ReadVolumed("image")({"image": path})
    item = ReadVolumed("image")({"image": path, "reading": Reading(nan_to_min=True)})
    assert item["image"][0, 0, 0, 1] == -7
    assert [warning.code for warning in item["warnings"]] == ["W-NII-NAN"]


def test_a_label_map_may_be_placed_as_its_image_was(tmp_path):
    path = harmed(tmp_path / "a.nii", sform_code=0, qform_code=0, datatype=2)
    with pytest.raises(DataError, match="E-NII-NOFORM"):
        read_label_map(path)
    assert read_label_map(path, assume_ras=True)[1].axis_codes == ("R", "A", "S")
