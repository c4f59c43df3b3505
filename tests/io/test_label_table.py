"""The label table in a header: what Workbench and others read, and nobody stumbles over."""

from xml.etree import ElementTree

import nibabel
import numpy as np
import SimpleITK

from medseg.data import read_manifest
from medseg.geometry import lpi_grid
from medseg.io.nifti import read_label_map, write_label_map
from medseg.io.nifti_label_table import label_table

LABELS = read_manifest("uwmgi").labels
GRID = lpi_grid((4, 3, 2), (1.5, 1.5, 3.0))


def written(path):
    label_map = np.arange(24, dtype=np.uint8).reshape(4, 3, 2) % 4
    write_label_map(path, label_map, GRID, labels=LABELS)
    return label_map


def test_the_header_names_the_organs_and_their_colours(tmp_path):
    written(tmp_path / "scan.nii.gz")
    (extension,) = nibabel.load(tmp_path / "scan.nii.gz").header.extensions
    assert extension.get_code() == 30
    rows = ElementTree.fromstring(extension.text.rstrip("\0")).iter("Label")
    told = {row.text: (row.get("Key"), row.get("Red"), row.get("Alpha")) for row in rows}
    assert told == {
        "background": ("0", "0.0000", "0"),
        "large_bowel": ("1", "0.9020", "1"),
        "small_bowel": ("2", "0.0000", "1"),
        "stomach": ("3", "0.3373", "1"),
    }


def test_readers_find_the_same_voxels_behind_it(tmp_path):
    label_map = written(tmp_path / "scan.nii")
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "scan.nii").dataobj), label_map)
    by_itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "scan.nii")).T
    assert np.array_equal(by_itk, label_map)
    assert np.array_equal(read_label_map(tmp_path / "scan.nii")[0], label_map)


def test_an_extension_fills_whole_blocks():
    content = label_table(LABELS)
    assert content[:4] == b"\1\0\0\0"
    assert int.from_bytes(content[4:8], "little") == len(content) - 4
    assert (len(content) - 4) % 16 == 0
