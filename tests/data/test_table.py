"""Scans named by a CSV table: volumes and pictures, patients, and every fault of a table."""

import numpy as np
import pytest
from nnunet_layout import MANIFEST, write_scans
from PIL import Image

from medseg.data import read_manifest, read_scans
from medseg.data.readers import survey
from medseg.data.table import read_table
from medseg.errors import DataError

ROWS = """image_0,image_1,mask,patient
imagesTr/a_day1_0000.nii.gz,imagesTr/a_day1_0001.nii.gz,labelsTr/a_day1.nii.gz,Ann
imagesTr/b_0000.nii.gz,imagesTr/b_0001.nii.gz,labelsTr/b.nii.gz,Bob
imagesTr/a_day2_0000.nii.gz,imagesTr/a_day2_0001.nii.gz,labelsTr/a_day2.nii.gz,Ann
imagesTr/c_0000.nii.gz,imagesTr/c_0001.nii.gz,,Cid
"""


@pytest.fixture
def manifest(tmp_path):
    return manifest_of(tmp_path)


def manifest_of(tmp_path, *changes, extra=""):
    text = MANIFEST.replace("READER", "table").replace("IMAGES", "table.csv") + extra
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "livers.yaml"
    path.write_text(text)
    return read_manifest(path)


@pytest.fixture
def root(tmp_path):
    root = write_scans(tmp_path / "data")
    (root / "table.csv").write_text(ROWS)
    return root


def test_patients_own_their_scans_in_the_tables_order(root, manifest):
    scans = read_scans(root, manifest)
    names = [(scan.scan_id, scan.case_id, scan.volume_files[1].name) for scan in scans]
    assert names == [
        ("Ann_day1", "Ann", "a_day1_0001.nii.gz"),
        ("Bob", "Bob", "b_0001.nii.gz"),
        ("Ann_day2", "Ann", "a_day2_0001.nii.gz"),
    ]
    everything = survey(root, manifest, labelled=False).scans
    assert [(scan.scan_id, scan.rle) for scan in everything][3] == ("Cid", None)


def test_a_scan_without_patient_has_its_images_name(root, manifest):
    table = root / "table.csv"
    table.write_text(ROWS.replace(",Ann", ",").replace(",Bob", ","))
    names = [scan.scan_id for scan in survey(root, manifest).scans]
    assert names == ["a_day1_0000", "b_0000", "a_day2_0000"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param("image_0,image_1,", "picture,other,", "E-COLUMNS", id="no image column"),
        pytest.param(",mask,", ",truth,", "E-COLUMNS", id="no mask column"),
        pytest.param("labelsTr/b.", "labelsTr/x.", "E-MISSING.*table.csv:3", id="no such file"),
        pytest.param(",Bob", ",B/b", "E-NAME.*table.csv:3", id="a patient that names no file"),
        pytest.param(ROWS[ROWS.index("imagesTr") :], "", "E-EMPTY", id="no rows"),
        pytest.param(",Bob", ",Ann_day2", "E-DUP.*table.csv:4", id="one name twice"),
    ],
)
def test_a_faulty_table_is_refused(root, manifest, old, new, told):
    (root / "table.csv").write_text(ROWS.replace(old, new))
    with pytest.raises(DataError, match=told):
        read_scans(root, manifest)


def test_no_table_is_told(tmp_path, manifest):
    with pytest.raises(DataError, match=r"E-IO.*table\.csv"):
        read_scans(tmp_path, manifest)


def pictures(tmp_path, mask):
    """Write a table of one RGB picture of 5 columns and 3 rows, and its mask."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    (tmp_path / "table.csv").write_text("image,mask\np.png,m.png\n")


RGB = ("channels: [t1, t2]", "channels: [red, green, blue]\naxis_codes: [L, P, I]")


def test_a_picture_is_a_scan_of_one_slice(tmp_path):
    codes = np.zeros((3, 5), np.uint8)
    codes[1, 2:4], codes[2, 0] = 1, 3
    pictures(tmp_path, codes)
    (scan,) = read_scans(tmp_path, manifest_of(tmp_path, RGB, extra="spacing_mm: [1, 1, 1]\n"))
    assert (scan.scan_id, scan.channels, scan.grid.shape) == ("p", 3, (5, 3, 1))
    assert scan.rle == {"liver": ("8 2",), "tumour": ("11 1",)}


def test_a_picture_needs_a_spacing_and_codes_that_are_known(tmp_path):
    pictures(tmp_path, np.full((3, 5), 2, np.uint8))
    with pytest.raises(DataError, match=r"E-SPACING.*p: pictures carry no spacing"):
        read_scans(tmp_path, manifest_of(tmp_path, RGB))
    with pytest.raises(DataError, match=r"E-LABEL.*holds values \[2\].*0 and 1, 3"):
        read_scans(tmp_path, manifest_of(tmp_path, RGB, extra="spacing_mm: [1, 1, 1]\n"))


def test_a_mask_of_another_size_is_refused(tmp_path):
    pictures(tmp_path, np.zeros((5, 3), np.uint8))
    with pytest.raises(DataError, match=r"E-SIZE.*3 x 5 pixels.*5 x 3"):
        read_scans(tmp_path, manifest_of(tmp_path, RGB, extra="spacing_mm: [1, 1, 1]\n"))


def test_a_path_that_no_file_can_have_is_missing(tmp_path):
    (tmp_path / "table.csv").write_text(f"image,mask\n{'x' * 5000},\n")
    with pytest.raises(DataError, match=r"E-MISSING.*x… does not exist") as caught:
        read_table(tmp_path / "table.csv")
    assert max(map(len, str(caught.value).splitlines())) < 1000
