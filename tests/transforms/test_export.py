"""Predicted masks become files on the scan's own grid, and say what is known of their place."""

import nibabel
import numpy as np
import pytest
import torch

from medseg.data import read_manifest
from medseg.geometry import Grid, lpi_grid
from medseg.io.nifti import ASSUMED, write_image
from medseg.transforms import ReadVolumed, SaveMasks

LABELS = read_manifest("uwmgi").labels
GRID = lpi_grid((4, 3, 2), (1.5, 1.5, 3.0))


def item(**more):
    """Large and small bowel overlap in voxel (1, 1, 1); the stomach is empty."""
    pred = torch.zeros(3, 4, 3, 2, dtype=torch.uint8)
    pred[0, 0:2, 1, 1] = 1
    pred[1, 1:3, 1, 1] = 1
    return {"pred": pred, "native": GRID, "scan_id": "case1_day0", **more}


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def codes(path):
    header = nibabel.load(path).header
    return int(header["sform_code"]), int(header["qform_code"])


def test_the_label_map_gives_overlaps_to_the_organ_of_higher_priority(tmp_path):
    file = SaveMasks(tmp_path, labels=LABELS)(item())["file"]
    assert file == tmp_path / "case1_day0.nii.gz"
    assert voxels(file)[:, 1, 1].tolist() == [1, 2, 2, 0]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("case1_day0.nii.gz", "labels_itksnap.txt", "labels_slicer.ctbl")
    }


def test_the_order_in_memory_makes_no_difference(tmp_path):
    slices_first = item()["pred"].permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    assert LABELS.label_map(list(slices_first.numpy())).flags.f_contiguous
    files = [
        SaveMasks(tmp_path / name, labels=LABELS)(item(pred=pred))["file"]
        for name, pred in (("a", item()["pred"]), ("b", slices_first))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_colour_tables_are_written_with_the_first_scan_alone(tmp_path):
    save = SaveMasks(tmp_path, labels=LABELS)
    save(item())
    for table in ("labels_itksnap.txt", "labels_slicer.ctbl"):
        (tmp_path / table).unlink()
    save(item(scan_id="case1_day1"))
    assert {path.name for path in tmp_path.iterdir()} == {
        *("case1_day0.nii.gz", "case1_day1.nii.gz")
    }


def test_a_file_an_organ_keeps_overlaps(tmp_path):
    SaveMasks(tmp_path, labels=LABELS, per_organ=True)(item())
    found = {
        organ: voxels(tmp_path / f"case1_day0_{organ}.nii.gz")[:, 1, 1].tolist()
        for organ in LABELS.names
    }
    assert found == {
        "large_bowel": [1, 1, 0, 0],
        "small_bowel": [0, 1, 1, 0],
        "stomach": [0, 0, 0, 0],
    }


def test_probabilities_are_written_on_request(tmp_path):
    probs = torch.full((3, 4, 3, 2), 0.25)
    SaveMasks(tmp_path, labels=LABELS, probabilities=True)(item(probs=probs))
    assert voxels(tmp_path / "case1_day0_stomach_probs.nii.gz") == pytest.approx(0.25)


def test_what_a_nifti_says_of_its_place_is_said_of_its_prediction(tmp_path):
    scanner = ASSUMED._replace(form_code=1, note="from the scanner")
    source = tmp_path / "case1_day0_image.nii.gz"
    grid = Grid((4, 3, 2), np.diag([0.8, 0.9, 3.0, 1.0]))
    write_image(source, np.arange(24, dtype=np.int16).reshape(4, 3, 2), grid, frame=scanner)
    read = ReadVolumed("image")({"image": source})
    file = SaveMasks(tmp_path / "out", labels=LABELS)(item(native=grid, frame=read["frame"]))
    header = nibabel.load(file["file"]).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert (
        int(nibabel.load(SaveMasks(tmp_path, labels=LABELS)(item())["file"]).header["sform_code"])
        == 2
    )
