"""Volumes in NIfTI as nnU-Net lays them out: scans, rows, faults, and the way into the store."""

import numpy as np
import pytest
from nnunet_layout import GRID, LABELS, MANIFEST, label_map, voxels, write_scans

from medseg.data import Store, inference_items, item_of, make_splits, read_manifest, read_scans
from medseg.data.check import inspect
from medseg.data.content import content_hash
from medseg.data.hashes import scan_hash
from medseg.data.label_files import read_reference
from medseg.data.readers import survey
from medseg.errors import DataError
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_image, write_label_map
from medseg.transforms import preprocessing


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "livers.yaml"
    path.write_text(MANIFEST.replace("READER", "volumes").replace("IMAGES", "imagesTr"))
    return read_manifest(path)


@pytest.fixture
def root(tmp_path):
    return write_scans(tmp_path / "data")


def problems(root, manifest):
    return [str(problem) for problem in survey(root, manifest).problems]


def test_a_file_a_channel_is_a_scan_of_a_patient_on_a_day(root, manifest):
    scans = read_scans(root, manifest)
    names = [(scan.scan_id, scan.case_id, scan.channels) for scan in scans]
    assert names == [("a_day1", "a", 2), ("a_day2", "a", 2), ("b", "b", 2), ("c", "c", 2)]
    assert scans[0].grid.shape == GRID.shape
    assert scans[0].spacing_mm == pytest.approx((0.8, 0.9, 5.0))
    assert len(make_splits(scans, folds=3).groups) == 3


def test_rows_are_those_of_the_label_map(root, manifest):
    scan = read_scans(root, manifest)[1]
    masks = read_reference(scan, LABELS).masks
    for mask, code in zip(masks, (1, 3), strict=True):
        np.testing.assert_array_equal(mask, label_map(1) == code)
    # Columns 3 to 4 of rows 4 and 5 on slice 1; rows of 12 pixels.
    assert scan.rle["tumour"] == ("", "39 2 51 2", "", "")
    with pytest.raises(KeyError, match="spleen"):
        scan.rle["spleen"]


def test_prepared_channels_and_masks_are_those_of_the_files(root, manifest, tmp_path):
    chain = preprocessing(
        organs=LABELS.names, spacing_mm=(0.8, 0.9, 5), roi_px=(4, 4), intensity="maximum"
    )
    scan = read_scans(root, manifest)[2]
    (prepared,) = Store(tmp_path / "store").prepare([item_of(scan)], chain)
    both = np.stack([voxels(2, channel) for channel in (0, 1)])
    expected = (both / both.max()).transpose(3, 0, 2, 1)  # (K, C, J, I)
    # The box keeps what is inside the body, which may be less than all.
    assert prepared.image.shape[1] == prepared.image_channels == 2
    whole = prepared.image.shape == expected.shape
    assert whole, (prepared.image.shape, expected.shape)
    np.testing.assert_allclose(prepared.image, expected, atol=5e-4)
    np.testing.assert_array_equal(prepared.masks & 1, (label_map(2) == 1).T)
    np.testing.assert_array_equal(prepared.masks >> 1, (label_map(2) == 3).T)


def test_hashes_follow_the_label_without_reading_its_voxels(root, manifest, tmp_path, monkeypatch):
    scan = read_scans(root, manifest)[3]
    monkeypatch.setattr("medseg.data.label_map_rows.read_label_map", None)
    before = content_hash(item_of(scan), tmp_path / "index"), scan_hash(scan)
    assert before == (content_hash(item_of(scan), tmp_path / "index"), scan_hash(scan))
    write_label_map(root / "labelsTr" / "c.nii.gz", label_map(0), GRID, LABELS)
    after = content_hash(item_of(scan), tmp_path / "index"), scan_hash(scan)
    assert not set(before) & set(after)


def test_a_channel_less_is_told_with_the_names_of_all(root, manifest):
    (root / "imagesTr" / "b_0001.nii.gz").unlink()
    (found,) = problems(root, manifest)
    assert "E-MISSING" in found
    assert "b: has channels [0] (expected 0 t1, 1 t2)" in found


def test_an_image_without_label_is_left_out_and_a_label_without_image_told(root, manifest):
    (root / "labelsTr" / "c.nii.gz").rename(root / "labelsTr" / "d.nii.gz")
    found = problems(root, manifest)
    assert [text.split(":")[0] for text in found] == ["error[E-MISSING]", "warning[W-UNLABELLED]"]
    assert [s.scan_id for s in survey(root, manifest).scans] == ["a_day1", "a_day2", "b"]
    assert len(survey(root, manifest, labelled=False).scans) == 4


def test_files_of_one_scan_must_lie_alike(root, manifest):
    other = lpi_grid(GRID.shape, (0.8, 0.9, 4.0))
    write_image(root / "imagesTr" / "b_0001.nii.gz", voxels(2, 1), other)
    (found,) = problems(root, manifest)
    assert "b_0001.nii.gz" in found


def test_a_code_that_is_no_organs_is_refused_when_rows_are_asked_for(root, manifest):
    codes = label_map(0)
    codes[0, 0, 0] = 2
    path = root / "labelsTr" / "b.nii.gz"
    # Written as an image, for the writer of label maps knows its labels.
    write_image(path, codes.astype(np.float32), GRID)
    with pytest.raises(DataError, match=r"E-LABEL.*holds codes \[2\].*0 or 1 liver, 3 tumour"):
        make_splits(read_scans(root, manifest))


def test_the_full_check_reads_voxels_and_labels(root, manifest):
    assert inspect(root, manifest).problems == ()
    write_image(root / "imagesTr" / "c_0001.nii.gz", np.full(GRID.shape, 7, np.float32), GRID)
    codes = label_map(0)
    codes[0, 0, 0] = 9
    write_image(root / "labelsTr" / "b.nii.gz", codes.astype(np.float32), GRID)
    path = root / "imagesTr" / "a_day1_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-9])
    findings = inspect(root, manifest)
    told = [(problem.code, problem.subject.rpartition("/")[2]) for problem in findings.problems]
    assert told == [
        ("E-NII-TRUNC", "a_day1_0000.nii.gz"),
        ("E-LABEL", "b.nii.gz"),
        ("W-CONST", "c_0001.nii.gz"),
    ]
    assert [scan.scan_id for scan in findings.scans] == ["a_day2", "c"]


def test_a_folder_without_volumes_is_empty(tmp_path, manifest):
    (found,) = problems(tmp_path, manifest)
    assert "E-EMPTY" in found


def test_inference_takes_the_folder_or_its_images(root, manifest, tmp_path):
    for source in (root, root / "imagesTr"):
        items = inference_items(source, manifest=str(tmp_path / "livers.yaml"))
        assert [item["scan_id"] for item in items] == ["a_day1", "a_day2", "b", "c"]
        assert all("label" not in item and item["image"].channels == 2 for item in items)
