"""``medseg export submission``: the competition's file, and back to the same masks."""

import csv
import json

import numpy as np
import pytest

from medseg.cli import main
from medseg.data.kaggle_csv import SUBMITTED, read_labels
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_scans
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_label_map, write_mask
from medseg.io.rle import decode_slices

MANIFEST = read_manifest("uwmgi")
LABELS = MANIFEST.labels
ORGANS = LABELS.names


def masks_of(scan):
    """Return the reference masks of a scan by organ, (I, J, K)."""
    width, height = scan.size_px
    return {o: decode_slices(scan.rle[o], (height, width)).transpose(2, 1, 0) for o in ORGANS}


def predict(folder, scans, *, codes=None):
    """Write the scans' own masks as predictions, axes in the order of `codes` if any."""
    for scan in scans:
        for organ, mask in masks_of(scan).items():
            write_mask(folder / f"{scan.scan_id}_{organ}.nii.gz", *turned(mask, scan.grid, codes))


def turned(mask, grid, codes):
    if codes is None:
        return mask, grid
    import nibabel

    affine = grid.reoriented(codes).affine_ras_mm
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(grid.affine_ras_mm), nibabel.io_orientation(affine)
    )
    return nibabel.apply_orientation(mask, turn), grid.reoriented(codes)


def table(path):
    """Return the file's rows: [id, class, predicted], the header first."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def truth(root):
    """Return the rows of train.csv by id and class."""
    return {(row[0], row[1]): row[2] for row in table(root / "train.csv")[1:]}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "pred").mkdir()
    return tmp_path


def exported(place, root, *options):
    out = str(place / "submission.csv")
    return main(
        ["export", "submission", str(place / "pred"), "--data", str(root), "-o", out, *options]
    )


def three(kaggle):
    """A data set of three scans, days not in the order of text, and its root."""
    kaggle.add("case2_day10").add("case2_day9", size_px=(20, 12)).add("case1_day0")
    return kaggle.save()


# --- Round trips --------------------------------------------------------------------------------


def test_masks_of_the_phantom_come_back_to_the_voxel(tiny_phantom, place):
    scans = read_scans(tiny_phantom, MANIFEST)
    predict(place / "pred", scans)
    assert exported(place, tiny_phantom) == 0
    labels = read_labels(place / "submission.csv", ORGANS, forms=(SUBMITTED,))
    assert labels.problems == []
    for scan in scans:
        width, height = scan.size_px
        for organ, mask in masks_of(scan).items():
            rows = [labels.scans[scan.scan_id][number, organ].rle for number in scan.slice_numbers]
            again = decode_slices(rows, (height, width)).transpose(2, 1, 0)
            assert np.array_equal(again, mask)


def test_the_rows_of_train_csv_come_back_to_the_letter(tiny_phantom, place):
    predict(place / "pred", read_scans(tiny_phantom, MANIFEST))
    assert exported(place, tiny_phantom) == 0
    rows = table(place / "submission.csv")
    assert rows[0] == ["id", "class", "predicted"]
    assert {(row[0], row[1]): row[2] for row in rows[1:]} == truth(tiny_phantom)
    assert len(rows) == len(truth(tiny_phantom)) + 1


def test_real_rows_come_back_to_the_letter_where_slices_are_not_square(shared_data, place):
    root = shared_data / "uwmgi_scan"
    scans = read_scans(root, MANIFEST)
    assert {scan.size_px for scan in scans} == {(360, 310), (266, 266)}
    predict(place / "pred", scans)
    assert exported(place, root) == 0
    rows = {(row[0], row[1]): row[2] for row in table(place / "submission.csv")[1:]}
    assert rows == truth(root)
    assert sum(map(bool, rows.values())) == 257


@pytest.mark.parametrize(
    "codes",
    [
        pytest.param(("R", "A", "S"), id="every axis flipped"),
        pytest.param(("I", "L", "A"), id="axes permuted"),
    ],
)
def test_predictions_in_another_orientation_are_turned(kaggle, place, codes):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST), codes=codes)
    assert exported(place, root) == 0
    rows = {(row[0], row[1]): row[2] for row in table(place / "submission.csv")[1:]}
    assert rows == truth(root)


def test_a_label_map_does_and_loses_overlaps_alone(kaggle, place):
    kaggle.add("case1_day0")
    for number in range(1, 7):
        kaggle.row("case1_day0", number, "small_bowel")[2] = "4 3"  # 4 is the stomach's too
    root = kaggle.save()
    (scan,) = read_scans(root, MANIFEST)
    label_map = LABELS.label_map(list(masks_of(scan).values()))
    write_label_map(place / "pred" / "case1_day0.nii.gz", label_map, scan.grid, LABELS)
    assert exported(place, root) == 0
    rows = {(row[0], row[1]): row[2] for row in table(place / "submission.csv")[1:]}
    assert rows["case1_day0_slice_0003", "stomach"] == "2 3"
    assert rows["case1_day0_slice_0003", "small_bowel"] == "5 2"


# --- Order --------------------------------------------------------------------------------------


def test_without_a_sample_rows_are_in_natural_order(kaggle, place):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    assert exported(place, root) == 0
    ids = [row[0] for row in table(place / "submission.csv")[1:]]
    assert list(dict.fromkeys(name.split("_slice")[0] for name in ids)) == [
        "case1_day0",
        "case2_day9",
        "case2_day10",
    ]
    assert ids[:4] == ["case1_day0_slice_0001"] * 3 + ["case1_day0_slice_0002"]
    assert [row[1] for row in table(place / "submission.csv")[1:4]] == list(ORGANS)


def write_sample(root, rows):
    text = "\n".join(["id,class,predicted", *(",".join([*row, ""]) for row in rows)])
    (root / "sample_submission.csv").write_text(text + "\n")


@pytest.mark.parametrize("folder", ["", "train"], ids=["the root", "the folder of scans"])
def test_a_sample_decides_the_rows_and_their_order(kaggle, place, folder):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    asked = [
        ("case2_day9_slice_0004", "stomach"),
        ("case1_day0_slice_0002", "small_bowel"),
        ("case2_day9_slice_0001", "stomach"),
    ]
    write_sample(root, asked)
    assert exported(place, root / folder) == 0
    rows = table(place / "submission.csv")[1:]
    assert [tuple(row[:2]) for row in rows] == asked
    assert [row[2] for row in rows] == ["2 3", "", "2 3"]


def test_a_sample_of_a_header_alone_asks_for_nothing(kaggle, place):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    write_sample(root, [])
    assert exported(place, root) == 0
    assert len(table(place / "submission.csv")) == 1 + 3 * 6 * 3


def test_a_sample_that_asks_for_other_slices_is_refused(kaggle, place, capsys):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    write_sample(root, [("case9_day0_slice_0001", "stomach"), ("case1_day0_slice_0077", "stomach")])
    assert exported(place, root) == 3
    told = capsys.readouterr().err
    assert "error[E-ORPHAN]: case9_day0: sample_submission.csv asks for slices" in told
    assert "case1_day0" in told
    assert "77" in told
    assert not (place / "submission.csv").exists()


def test_a_sample_that_is_no_table_is_refused(kaggle, place, capsys):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    (root / "sample_submission.csv").write_text("id,class,segmentation\n")
    assert exported(place, root) == 3
    assert "error[E-CSV]" in capsys.readouterr().err


# --- What is missing, and what is wrong ---------------------------------------------------------


def test_missing_predictions_are_refused_by_name(kaggle, place, capsys):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST)[:1])
    assert exported(place, root) == 3
    told = capsys.readouterr().err
    assert told.count("error[E-MISSING]") == 2
    assert "case2_day10: has no prediction" in told
    assert not (place / "submission.csv").exists()


def test_missing_predictions_may_be_empty(kaggle, place, capsys):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST)[:1])
    assert exported(place, root, "--missing-as-empty") == 0
    rows = table(place / "submission.csv")[1:]
    assert len(rows) == 3 * 6 * 3
    assert {row[0].split("_slice")[0] for row in rows if row[2]} == {"case1_day0"}
    told = capsys.readouterr()
    assert told.err.count("warning[W-MISSING]") == 2
    assert "54 rows of 3 scans, 48 of them empty" in told.out


def test_missing_predictions_may_be_left_out(kaggle, place, capsys):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST)[:1])
    assert exported(place, root, "--only-predicted", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["scans"], told["rows"], told["empty_rows"]) == (1, 18, 12)
    assert [row["code"] for row in told["problems"]] == ["W-MISSING"] * 2
    assert len(table(place / "submission.csv")) == 19


@pytest.mark.parametrize("option", ["--missing-as-empty", "--only-predicted"])
def test_predictions_of_other_scans_alone_are_refused(kaggle, place, capsys, option):
    root = three(kaggle)
    mask = np.zeros((24, 16, 6), np.uint8)
    write_label_map(
        place / "pred" / "case7_day7.nii.gz", mask, lpi_grid(mask.shape, (1.5, 1.5, 3.0)), LABELS
    )
    assert exported(place, root, option) == 3
    told = capsys.readouterr().err
    assert told.count("error[E-MISSING]") == 3
    assert "warning[W-SURPLUS]: case7_day7" in told


def test_both_ways_at_once_are_refused(kaggle, place, capsys):
    assert exported(place, three(kaggle), "--missing-as-empty", "--only-predicted") == 2
    assert "exclude each other" in capsys.readouterr().err


def test_a_prediction_of_other_voxels_is_refused_and_all_are_told(kaggle, place, capsys):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    for scan_id, spacing in (("case1_day0", 1.6), ("case2_day9", 1.7)):
        mask = np.zeros((24, 16, 6) if scan_id == "case1_day0" else (20, 12, 6), bool)
        grid = lpi_grid(mask.shape, (spacing, 1.5, 3.0))
        for organ in ORGANS:
            write_mask(place / "pred" / f"{scan_id}_{organ}.nii.gz", mask, grid)
    assert exported(place, root, "--only-predicted") == 3
    assert capsys.readouterr().err.count("error[E-GRID]") == 2
    assert not (place / "submission.csv").exists()


def test_another_file_is_not_replaced_unless_asked(kaggle, place, capsys):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    (place / "submission.csv").write_text("mine")
    assert exported(place, root) == 2
    assert "error[E-EXISTS]" in capsys.readouterr().err
    assert (place / "submission.csv").read_text() == "mine"
    assert exported(place, root, "--overwrite") == 0
    assert len(table(place / "submission.csv")) == 55


def test_a_runs_folder_stands_for_its_predictions(kaggle, place):
    root = three(kaggle)
    run = place / "pred"
    (run / "predictions").mkdir()
    (run / "config.json").write_text("{}")
    predict(run / "predictions", read_scans(root, MANIFEST))
    assert exported(place, root) == 0
    assert len(table(place / "submission.csv")) == 55


def test_scans_without_labels_are_asked_for_too_and_so_are_known_bad_ones(kaggle, place):
    kaggle.add("case1_day0").add("case7_day0").add("case3_day0")
    kaggle.rows = [row for row in kaggle.rows if not row[0].startswith("case3")]
    root = kaggle.save()
    grid = lpi_grid((24, 16, 6), (1.5, 1.5, 3.0))
    for scan_id in ("case1_day0", "case3_day0", "case7_day0"):
        path = place / "pred" / f"{scan_id}.nii.gz"
        write_label_map(path, np.zeros((24, 16, 6), np.uint8), grid, LABELS)
    assert exported(place, root) == 0
    ids = {row[0].split("_slice")[0] for row in table(place / "submission.csv")[1:]}
    assert ids == {"case1_day0", "case3_day0", "case7_day0"}


def test_a_test_folder_without_labels_is_exported(kaggle, place):
    root = three(kaggle)
    predict(place / "pred", read_scans(root, MANIFEST))
    expected = truth(root)
    (root / "train.csv").unlink()
    (root / "train").rename(root / "test")
    assert exported(place, root / "test") == 0
    assert {(r[0], r[1]): r[2] for r in table(place / "submission.csv")[1:]} == expected
