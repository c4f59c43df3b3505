"""Slices become volumes on the scan's grid, and all that is wrong with them is told at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_scans import write_scan

from medseg.errors import DataError, GeometryError, Problem
from medseg.geometry import lpi_grid
from medseg.io.images import read_source
from medseg.io.nifti import write_image, write_label_map
from medseg.labels import LabelSet, Organ
from medseg.transforms import ReadMasksd, ReadVolumed, grid_of

# Two slices of two rows and three columns.
VOLUME = np.arange(12).reshape(2, 2, 3) * 5000
LABELS = LabelSet((Organ("liver", 1, (1, 2, 3), "1", "Liver"),), ("liver",))


def test_a_volume_is_indexed_by_column_row_slice(tmp_path):
    scan = write_scan(tmp_path, VOLUME, spacing_mm=(1.0, 2.0, 3.0))
    image = ReadVolumed("image")({"image": scan})["image"]
    assert image.shape == (1, 3, 2, 2)
    assert image.dtype == torch.float32
    assert image[0, 2, 1, 0] == 5 * 5000
    assert image[0, 0, 0, 1] == 6 * 5000
    assert grid_of(image).axis_codes == ("L", "P", "I")
    assert grid_of(image).spacing_mm == (1.0, 2.0, 3.0)


def test_slices_lie_one_after_another_in_memory(tmp_path):
    scan = write_scan(tmp_path, VOLUME, masks={"a": VOLUME > 10000, "b": VOLUME > 20000})
    item = ReadMasksd("label", ("a", "b"))(ReadVolumed("image")({"image": scan, "label": scan}))
    assert item["image"].permute(0, 3, 2, 1).is_contiguous()
    assert item["label"].permute(0, 3, 2, 1).is_contiguous()


def test_a_nifti_of_the_same_scan_reads_the_same(tmp_path):
    scan = write_scan(tmp_path, VOLUME)
    path = tmp_path / "scan.nii.gz"
    write_image(path, VOLUME.transpose(2, 1, 0).astype(np.float32), scan.grid)
    read = ReadVolumed("image")
    stacked, filed = read({"image": scan})["image"], read({"image": path})["image"]
    assert torch.equal(stacked.as_tensor(), filed.as_tensor())
    assert torch.equal(stacked.affine, filed.affine)
    assert torch.equal(filed.as_tensor(), read({"image": str(path)})["image"].as_tensor())
    image = read_source(path)
    assert (read({"image": path})["frame"], read({"image": path})["warnings"]) == image[2:]


def test_all_damaged_slices_are_told_at_once(tmp_path):
    scan = write_scan(tmp_path, VOLUME)
    scan.slice_files[0].write_bytes(b"")
    scan.slice_files[1].write_bytes(b"\xff\xd8\xff no slice")
    with pytest.raises(DataError, match="0 bytes") as caught:
        ReadVolumed("image")({"image": scan})
    assert [problem.code for problem in caught.value.problems] == ["E-EMPTY", "E-FORMAT"]


def test_a_slice_of_another_size_is_refused(tmp_path):
    scan = replace(write_scan(tmp_path, VOLUME), size_px=(2, 3))
    with pytest.raises(DataError, match=r"E-SIZE.*3 x 2 pixels \(expected 2 x 3\)"):
        ReadVolumed("image")({"image": scan})


def test_a_scan_without_slices_is_refused(tmp_path):
    scan = replace(write_scan(tmp_path, VOLUME), slice_files=())
    with pytest.raises(DataError, match=r"E-EMPTY.*case1_day0: no slices"):
        ReadVolumed("image")({"image": scan})


def test_masks_have_a_channel_an_organ_and_may_overlap(tmp_path):
    scan = replace(write_scan(tmp_path, VOLUME), rle={"b": ("2 2", ""), "a": ("3 1 6 1", "1 1")})
    label = ReadMasksd("label", ("a", "b"))({"label": scan})["label"]
    assert label.shape == (2, 3, 2, 2)
    assert label.dtype == torch.uint8
    # "3 1 6 1": the third pixel of the first row, and the third of the second.
    assert torch.nonzero(label[0, :, :, 0].as_tensor()).tolist() == [[2, 0], [2, 1]]
    assert torch.nonzero(label[0, :, :, 1].as_tensor()).tolist() == [[0, 0]]
    assert torch.nonzero(label[1].as_tensor()).tolist() == [[1, 0, 0], [2, 0, 0]]
    assert grid_of(label).axis_codes == ("L", "P", "I")


def test_a_scan_without_any_organ_gives_zeros(tmp_path):
    scan = replace(write_scan(tmp_path, VOLUME), rle={"a": ("", "")})
    assert not ReadMasksd("label", ("a",))({"label": scan})["label"].any()


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        pytest.param(None, "case1_day0: has no labels", id="no labels"),
        pytest.param({"b": ("", "")}, r"E-CLASS.*no rows for a \(expected b\)", id="no such organ"),
        pytest.param(
            {"a": ("6 2", "")}, "E-RLE-OOB.*slice_0001_3_2_1.50_1.50 a", id="off the slice"
        ),
    ],
)
def test_wrong_labels_are_refused(tmp_path, rle, message):
    scan = replace(write_scan(tmp_path, VOLUME), rle=rle)
    with pytest.raises(DataError, match=message):
        ReadMasksd("label", ("a",))({"label": scan})


def test_a_label_map_gives_a_mask_for_each_code(tmp_path):
    label_map = np.array([0, 1, 1, 0], np.uint8).reshape(2, 2, 1)
    path = tmp_path / "map.nii.gz"
    write_label_map(path, label_map, lpi_grid((2, 2, 1), (1.0, 1.0, 1.0)), LABELS)
    read = ReadMasksd("label", ("liver", "spleen"))({"label": path})["label"]
    assert read.shape == (2, 2, 2, 1)
    assert read.dtype == torch.uint8
    assert torch.equal(read.as_tensor()[0], torch.from_numpy(label_map))
    assert not read[1].any()
    coded = ReadMasksd("label", ("background",), codes=(0,))({"label": path})["label"]
    assert torch.equal(coded.as_tensor()[0], torch.from_numpy(1 - label_map))


def test_masks_on_another_grid_than_their_image_are_refused(tmp_path):
    path = tmp_path / "map.nii.gz"
    write_label_map(
        path, np.ones((3, 2, 2), np.uint8), lpi_grid((3, 2, 2), (1.0, 1.5, 3.0)), LABELS
    )
    item = ReadVolumed("image")({"image": write_scan(tmp_path, VOLUME), "label": path})
    with pytest.raises(GeometryError, match=r"map.nii.gz: lies 1.000 mm off its reference"):
        ReadMasksd("label", ("liver",))(item)


def test_masks_of_another_scan_than_their_image_are_called_by_its_name(tmp_path):
    scan = write_scan(tmp_path, VOLUME, masks={"a": VOLUME > 10000})
    other = replace(scan, spacing_mm=(1.5, 1.5, 5.0))
    item = ReadVolumed("image")({"image": scan, "label": other})
    with pytest.raises(GeometryError, match=r"E-GRID\]: case1_day0: lies 2\.000 mm off"):
        ReadMasksd("label", ("a",))(item)


def test_items_without_labels_pass_when_allowed(tmp_path):
    item = {"image": write_scan(tmp_path, VOLUME)}
    assert ReadMasksd("label", ("a",), allow_missing_keys=True)(item) == item
    with pytest.raises(KeyError, match="label"):
        ReadMasksd("label", ("a",))(item)


def test_what_an_image_was_read_from_is_kept(tmp_path):
    scan = write_scan(tmp_path, VOLUME)
    item = ReadVolumed("image")({"image": scan})
    assert item["source"] is scan
    assert {"frame", "warnings"}.isdisjoint(item)
    again = ReadVolumed("image")(item)
    assert again["source"] is scan
    assert again["image"] is item["image"]
    assert "source" not in ReadVolumed("image")({"image": item["image"]})


def test_all_that_is_wrong_with_labels_is_told_at_once(tmp_path):
    rows = {"b": ("6 2", ""), "c": ("", "2 2"), "d": ("", "")}
    scan = replace(write_scan(tmp_path, VOLUME), rle=rows, slice_files=())
    with pytest.raises(DataError, match="E-CLASS") as caught:
        ReadMasksd("label", ("a", "c", "b"))({"label": scan})
    told = [(problem.code, problem.subject, problem.expected) for problem in caught.value.problems]
    assert told == [
        ("E-CLASS", "case1_day0", "b, c, d"),
        ("E-RLE-OOB", "case1_day0 slice 1 b", "at most 6 = 2 x 3"),
    ]


def test_a_scan_without_labels_says_what_they_would_be(tmp_path):
    with pytest.raises(DataError, match="E-UNLABELLED") as caught:
        ReadMasksd("label", ("a",))({"label": write_scan(tmp_path, VOLUME)})
    expected = Problem("E-UNLABELLED", "case1_day0", "has no labels", "run-length rows")
    assert caught.value.problems == (expected,)
