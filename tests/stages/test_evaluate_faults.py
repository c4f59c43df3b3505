"""What is wrong with masks to compare is told, counted, and never flatters."""

import math

import numpy as np
import pytest
from mask_folders import EMPTY, GRID, LABELS, MANIFEST, SHAPE, box, codes, organ_of, write_masks

from medseg.cli import main
from medseg.errors import DataError
from medseg.geometry import Grid, lpi_grid
from medseg.io.nifti import write_image, write_label_map, write_mask
from medseg.stages.evaluate import evaluate


@pytest.fixture
def folders(tmp_path):
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    pred.mkdir()
    ref.mkdir()
    return pred, ref


def both(folders, *scan_ids, **masks):
    for folder in folders:
        for scan_id in scan_ids:
            write_masks(folder, scan_id, **masks)


# --- Row 81: the four states ------------------------------------------------------------------


def test_each_organ_of_a_scan_has_its_state_and_number(folders):
    pred, ref = folders
    write_masks(ref, "case1_day0", stomach=box(2, 4), small_bowel=box(0, 3))
    write_masks(pred, "case1_day0", stomach=box(4, 4), large_bowel=box(0, 2))
    done = evaluate(pred, ref, MANIFEST)
    rows = {score.organ: score for score in done.scores}
    assert rows["stomach"].status == "ok"
    assert rows["stomach"].dice == pytest.approx(2 * 2 / (4 + 4))
    assert rows["stomach"].iou == pytest.approx(2 / 6)
    # Two voxels of 1.5 mm further along I: all of it, at the worst, and at the centres of mass.
    assert rows["stomach"].hd_mm == rows["stomach"].centroid_shift_mm == pytest.approx(3.0)
    assert rows["stomach"].volume_ref_ml == pytest.approx(4 * 1.5 * 1.5 * 3 / 1000)
    assert rows["small_bowel"].status == "missed"
    assert rows["large_bowel"].status == "false_positive"
    assert done.problems == ()
    assert done.summary.n_scans == 1


def test_the_summary_counts_every_state_and_says_over_how_many_each_mean_is(folders):
    pred, ref = folders
    states = {
        "a": (box(2, 4), box(2, 4)),
        "b": (box(0, 2), box(0, 4)),
        "c": (EMPTY, box(0, 4)),
        "d": (box(0, 4), EMPTY),
        "e": (EMPTY, EMPTY),
    }
    for scan_id, (predicted, there) in states.items():
        write_masks(pred, scan_id, stomach=predicted)
        write_masks(ref, scan_id, stomach=there)
    organ = organ_of(evaluate(pred, ref, MANIFEST))
    counts = organ.n_ok, organ.n_missed, organ.n_false_positive, organ.n_both_empty
    assert (organ.n, counts, organ.n_penalised) == (5, (2, 1, 1, 1), 4)
    dice = 1 + 2 * 2 / (2 + 4)
    assert organ.found["dice"] == pytest.approx(dice / 2)
    assert organ.penalised["dice"] == pytest.approx(dice / 4)
    diagonal_mm = math.hypot(15.0, 12.0, 18.0)
    assert organ.penalised["hd_mm"] == pytest.approx((0 + 3.0 + 2 * diagonal_mm) / 4)
    assert (organ.sensitivity, organ.specificity) == (pytest.approx(2 / 3), 0.5)


def test_an_organ_in_neither_is_counted_and_in_no_mean(folders):
    both(folders, "a", stomach=box(0, 2))
    organ = organ_of(evaluate(*folders, MANIFEST), "large_bowel")
    assert (organ.n, organ.n_both_empty, organ.n_penalised) == (1, 1, 0)
    assert math.isnan(organ.penalised["dice"])


# --- Row 82: geometry -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spacing_mm",
    [
        pytest.param((1.0, 2.0, 5.0), id="whole numbers"),
        pytest.param((5.0, 1.0, 2.0), id="the same in another order"),
    ],
)
def test_millimetres_are_those_of_the_references_own_header(folders, spacing_mm):
    pred, ref = folders
    grid = lpi_grid(SHAPE, spacing_mm)
    write_masks(ref, "a", grid=grid, stomach=box(0, 3))
    write_masks(pred, "a", grid=grid, stomach=box(1, 3))
    score = next(s for s in evaluate(pred, ref, MANIFEST).scores if s.organ == "stomach")
    assert score.volume_pred_ml == score.volume_ref_ml == pytest.approx(0.03)
    assert score.hd_mm == score.centroid_shift_mm == pytest.approx(spacing_mm[0])


def test_a_prediction_that_another_tool_turned_is_turned_back(folders):
    pred, ref = folders
    write_masks(ref, "a", stomach=box(2, 4))
    turned = GRID.reoriented(("S", "R", "A"))
    flipped = box(2, 4)[::-1, ::-1, ::-1].transpose(2, 0, 1)
    write_label_map(pred / "a.nii.gz", flipped * np.uint8(3), turned, LABELS)
    done = evaluate(pred, ref, MANIFEST)
    assert {s.organ: s.dice for s in done.scores}["stomach"] == 1.0


def shifted(offset_mm):
    affine = GRID.affine_ras_mm.copy()
    affine[2, 3] += offset_mm
    return Grid(SHAPE, affine)


@pytest.mark.parametrize(
    ("grid", "found"),
    [
        pytest.param(lpi_grid(SHAPE, (1.5, 1.5, 3.1)), "1.5 x 1.5 x 3.1 mm", id="another spacing"),
        pytest.param(lpi_grid(SHAPE, (3.0, 1.5, 1.5)), "3 x 1.5 x 1.5 mm", id="spacing transposed"),
        pytest.param(lpi_grid((10, 8, 7), (1.5, 1.5, 3.0)), "10 x 8 x 7 voxels", id="a slice more"),
        pytest.param(GRID.boxed((1, 0, 0), SHAPE), r"from (-1.5, 0, 0) mm", id="another place"),
        pytest.param(shifted(0.002), r"from (0, 0, 0.002) mm", id="two micrometres"),
    ],
)
def test_a_prediction_on_another_grid_is_told_with_both_and_counts_as_missed(folders, grid, found):
    pred, ref = folders
    for scan_id in ("a", "b"):
        write_masks(ref, scan_id, stomach=box(2, 4))
    write_masks(pred, "a", stomach=box(2, 4))
    write_label_map(pred / "b.nii.gz", np.zeros(grid.shape, np.uint8), grid, LABELS)
    done = evaluate(pred, ref, MANIFEST)
    assert codes(done.problems) == [("E-GRID", "b")]
    assert found in done.problems[0].found
    assert str(GRID) in done.problems[0].expected
    assert {s.scan_id: s.status for s in done.scores if s.organ == "stomach"} == {
        "a": "ok",
        "b": "missed",
    }


def test_a_grid_that_is_half_a_micrometre_off_is_the_same(folders):
    pred, ref = folders
    write_masks(ref, "a", stomach=box(2, 4))
    write_masks(pred, "a", stomach=box(2, 4), grid=shifted(0.0005))
    assert evaluate(pred, ref, MANIFEST).problems == ()


@pytest.mark.parametrize("side", [0, 1], ids=["prediction", "reference"])
def test_masks_of_one_scan_on_two_grids_fail_it(folders, side):
    both(folders, "a", "b", stomach=box(2, 4))
    write_mask(folders[side] / "b_stomach.nii.gz", box(2, 4), shifted(3.0))
    done = evaluate(*folders, MANIFEST)
    assert codes(done.problems) == [("E-GRID", "b, stomach")]
    assert done.summary.n_scans == 2 - side


# --- Row 83: missing and surplus ----------------------------------------------------------------


def test_a_scan_without_prediction_has_the_worst_score_and_both_sides_are_named(folders):
    pred, ref = folders
    write_masks(ref, "a", stomach=box(2, 4))
    write_masks(ref, "b", stomach=box(2, 4))
    write_masks(pred, "a", stomach=box(2, 4))
    write_masks(pred, "z", stomach=box(2, 4))
    done = evaluate(pred, ref, MANIFEST)
    assert codes(done.problems) == [("W-MISSING", "b"), ("W-SURPLUS", "z")]
    assert {problem.level for problem in done.problems} == {"warning"}
    stomach = organ_of(done)
    assert (stomach.n, stomach.n_missed) == (2, 1)
    assert stomach.found["dice"] == 1.0
    assert stomach.penalised["dice"] == 0.5
    assert stomach.penalised["hd95_mm"] == pytest.approx(math.hypot(15.0, 12.0, 18.0) / 2)
    assert stomach.sensitivity == 0.5
    # Of an organ that the scan does not show either, so that no n is ever smaller.
    assert (organ_of(done, "large_bowel").n, organ_of(done, "large_bowel").n_missed) == (2, 1)


def test_predictions_of_other_scans_alone_are_an_error(folders):
    pred, ref = folders
    write_masks(ref, "a")
    write_masks(pred, "z")
    with pytest.raises(DataError, match=r"E-MISSING.*no scan") as caught:
        evaluate(pred, ref, MANIFEST)
    assert codes(caught.value.problems) == [
        ("E-MISSING", "pred"),
        ("W-MISSING", "a"),
        ("W-SURPLUS", "z"),
    ]


# --- Row 84: what is no label ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voxels", "found"),
    [
        pytest.param(np.full(SHAPE, 9, np.uint8), "codes [9]", id="a code of another label set"),
        pytest.param(np.full(SHAPE, 0.9999, np.float32), "hold 0.9999", id="nearly one"),
        pytest.param(np.full(SHAPE, 1.5, np.float32), "hold 1.5", id="between two"),
        pytest.param(np.full(SHAPE, np.nan, np.float32), "hold nan", id="NaN"),
        pytest.param(np.full(SHAPE, -1, np.int16), "hold -1", id="negative"),
        pytest.param(np.full(SHAPE, 300, np.int16), "hold 300", id="beyond a byte"),
    ],
)
@pytest.mark.parametrize("side", [0, 1], ids=["prediction", "reference"])
def test_what_is_no_label_fails_its_scan_and_not_the_others(folders, voxels, found, side):
    both(folders, "good", "bad", stomach=box(2, 4))
    save(folders[side] / "bad.nii.gz", voxels)
    done = evaluate(*folders, MANIFEST)
    assert codes(done.problems) == [("E-LABEL", "bad.nii.gz")]
    assert found in done.problems[0].found
    # A reference that cannot be read leaves nothing to score by; a prediction is missed.
    assert done.summary.n_scans == 2 - side
    assert organ_of(done).n_missed == 1 - side


def save(path, voxels, affine=GRID.affine_ras_mm):
    """Write an image whatever its voxels are, which medseg would not."""
    import nibabel

    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def test_whole_numbers_stored_as_floats_are_labels(folders):
    pred, ref = folders
    write_masks(ref, "a", stomach=box(2, 4))
    save(pred / "a.nii.gz", box(2, 4) * np.float32(3))
    done = evaluate(pred, ref, MANIFEST)
    assert done.problems == ()
    assert organ_of(done).found["dice"] == 1.0


def test_a_label_map_with_a_fourth_axis_is_no_label_map(folders):
    both(folders, "good", "bad", stomach=box(2, 4))
    save(folders[0] / "bad.nii.gz", np.zeros((*SHAPE, 3), np.uint8))
    done = evaluate(*folders, MANIFEST)
    assert codes(done.problems) == [("E-LABEL", "bad.nii.gz")]


def test_a_mask_that_holds_its_organs_code_is_told(folders):
    both(folders, "good", "bad", stomach=box(2, 4))
    save(folders[0] / "bad_stomach.nii.gz", box(2, 4) * np.uint8(3))
    done = evaluate(*folders, MANIFEST)
    assert codes(done.problems) == [("E-LABEL", "bad_stomach.nii.gz")]


def test_organs_of_another_data_set_are_no_organs_of_this(folders):
    pred, ref = folders
    write_masks(ref, "a", stomach=box(2, 4))
    for organ in ("liver", "spleen"):
        write_mask(pred / f"a_{organ}.nii.gz", box(2, 4), GRID)
    with pytest.raises(DataError, match=r"E-MISSING.*no scan") as caught:
        evaluate(pred, ref, MANIFEST)
    assert codes(caught.value.problems)[1:] == [
        ("W-MISSING", "a"),
        ("W-SURPLUS", "a_liver"),
        ("W-SURPLUS", "a_spleen"),
    ]


def test_masks_of_some_organs_alone_fail_their_scan(folders):
    both(folders, "a", "b", stomach=box(2, 4))
    (folders[0] / "b_large_bowel.nii.gz").unlink()
    done = evaluate(*folders, MANIFEST)
    assert codes(done.problems) == [("E-MISSING", "b")]
    assert organ_of(done).n_missed == 1


# --- Files that are none ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        pytest.param(lambda content: content[:-9], "E-NII-TRUNC", id="cut off"),
        pytest.param(lambda content: content[:-8] + bytes(4) + content[-4:], "E-NII-CRC", id="sum"),
        pytest.param(lambda _: b"no gzip", "E-NII-FORMAT", id="text"),
        pytest.param(lambda _: b"", "E-NII-TRUNC", id="empty"),
    ],
)
def test_a_damaged_file_fails_its_scan_and_not_the_others(folders, harm, code):
    both(folders, "good", stomach=box(2, 4))
    for folder in folders:
        write_label_map(folder / "bad.nii.gz", box(2, 4) * np.uint8(3), GRID, LABELS)
    path = folders[0] / "bad.nii.gz"
    path.write_bytes(harm(path.read_bytes()))
    done = evaluate(*folders, MANIFEST)
    assert codes(done.problems) == [(code, "bad.nii.gz")]
    assert (organ_of(done).n_ok, organ_of(done).n_missed) == (1, 1)


def test_a_file_that_may_not_be_read_fails_its_scan(folders):
    both(folders, "good", stomach=box(2, 4))
    write_masks(folders[1], "bad", stomach=box(2, 4))
    (folders[0] / "bad.nii.gz").mkdir()  # which root may not read either
    done = evaluate(*folders, MANIFEST)
    assert codes(done.problems) == [("E-IO", "bad.nii.gz")]


@pytest.mark.parametrize("side", [0, 1], ids=["predictions", "reference"])
def test_an_empty_folder_is_told(folders, side):
    write_masks(folders[1 - side], "a")
    with pytest.raises(DataError, match=r"E-EMPTY.*holds no label files.*<scan>\.nii\.gz"):
        evaluate(*folders, MANIFEST)


@pytest.mark.parametrize("place", ["seg.dcm", "series/1.dcm"])
def test_a_folder_of_dicom_is_told_with_what_to_do(folders, place):
    write_masks(folders[1], "a")
    (folders[0] / place).parent.mkdir(exist_ok=True)
    (folders[0] / place).write_bytes(b"")
    with pytest.raises(DataError, match=r"E-FORMAT.*DICOM.*Fix: export.*NIfTI") as caught:
        evaluate(*folders, MANIFEST)
    assert len(caught.value.problems) == 1


def test_a_file_that_is_no_table_is_told(folders):
    write_masks(folders[1], "a")
    write_label_map(folders[0] / "a.nii.gz", np.zeros(SHAPE, np.uint8), GRID, LABELS)
    with pytest.raises(DataError, match=r"E-FORMAT.*a\.nii\.gz.*name the folder"):
        evaluate(folders[0] / "a.nii.gz", folders[1], MANIFEST)


def test_a_run_that_has_not_predicted_yet_is_told(folders):
    write_masks(folders[1], "a")
    (folders[0] / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"E-EMPTY.*predictions: holds no label files"):
        evaluate(*folders, MANIFEST)


# --- The command ------------------------------------------------------------------------------


def ended(*words):
    return main(["evaluate", *map(str, words), "--workers", "1"])


def test_the_command_ends_with_0_3_or_6(folders, capsys):
    pred, ref = folders
    both(folders, "a", "b", stomach=box(2, 4))
    assert ended(pred, ref) == 0
    write_image(pred / "b.nii.gz", np.full(SHAPE, 9, np.uint8), GRID)
    assert ended(pred, ref) == 6
    write_image(pred / "a.nii.gz", np.full(SHAPE, 9, np.uint8), GRID)
    assert ended(pred, ref) == 3
    assert capsys.readouterr().err.count("error[E-LABEL]") == 3
