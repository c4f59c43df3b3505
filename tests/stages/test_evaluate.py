"""Predictions against a reference: rows 81 to 84 of the faults, and how they are told."""

import math

import numpy as np
import pytest

from medseg.data.manifest import read_manifest
from medseg.data.uwmgi import read_scans
from medseg.errors import DataError
from medseg.geometry import lpi_grid
from medseg.io.nifti import read_label_map, write_image, write_label_map, write_mask
from medseg.io.rle import decode_slices
from medseg.stages.evaluate import Options, evaluate

MANIFEST = read_manifest("uwmgi")
LABELS = MANIFEST.labels
SHAPE = (10, 8, 6)
GRID = lpi_grid(SHAPE, (1.5, 1.5, 3.0))


def box(i, n):
    """A bar of `n` voxels along I from `i`."""
    mask = np.zeros(SHAPE, bool)
    mask[i : i + n, 3, 2] = True
    return mask


EMPTY = box(0, 0)


def write_masks(folder, scan_id, *, grid=GRID, **masks):
    for organ in LABELS.names:
        write_mask(folder / f"{scan_id}_{organ}.nii.gz", masks.get(organ, EMPTY), grid)


@pytest.fixture
def folders(tmp_path):
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    pred.mkdir()
    ref.mkdir()
    return pred, ref


def codes(problems):
    return [(problem.code, problem.subject.split("/")[-1]) for problem in problems]


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
    assert rows["stomach"].volume_ref_ml == pytest.approx(4 * 1.5 * 1.5 * 3 / 1000)
    assert rows["small_bowel"].status == "missed"
    assert rows["large_bowel"].status == "false_positive"
    assert done.problems == ()
    assert done.summary.n_scans == 1


def test_an_organ_in_neither_is_counted_and_in_no_mean(folders):
    pred, ref = folders
    for folder in folders:
        write_masks(folder, "a", stomach=box(0, 2))
    organ = next(o for o in evaluate(pred, ref, MANIFEST).summary.organs if o.organ != "stomach")
    assert (organ.n, organ.n_both_empty, organ.n_penalised) == (1, 1, 0)
    assert math.isnan(organ.penalised["dice"])


# --- Row 82: geometry -------------------------------------------------------------------------


def test_volumes_use_the_references_own_spacing(folders):
    pred, ref = folders
    grid = lpi_grid(SHAPE, (1.0, 2.0, 5.0))
    for folder in folders:
        write_masks(folder, "a", grid=grid, stomach=box(0, 3))
    score = next(s for s in evaluate(pred, ref, MANIFEST).scores if s.organ == "stomach")
    assert score.volume_pred_ml == score.volume_ref_ml == pytest.approx(0.03)


def test_a_prediction_that_another_tool_turned_is_turned_back(folders):
    pred, ref = folders
    write_masks(ref, "a", stomach=box(2, 4))
    turned = GRID.reoriented(("S", "R", "A"))
    flipped = box(2, 4)[::-1, ::-1, ::-1].transpose(2, 0, 1)
    write_label_map(pred / "a.nii.gz", flipped * np.uint8(3), turned, LABELS)
    done = evaluate(pred, ref, MANIFEST)
    assert {s.organ: s.dice for s in done.scores}["stomach"] == 1.0


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(lpi_grid(SHAPE, (1.5, 1.5, 3.1)), id="another spacing"),
        pytest.param(lpi_grid((10, 8, 7), (1.5, 1.5, 3.0)), id="another shape"),
        pytest.param(GRID.boxed((1, 0, 0), SHAPE), id="another place"),
    ],
)
def test_a_prediction_on_another_grid_is_told_and_counts_as_missed(folders, grid):
    pred, ref = folders
    for scan_id in ("a", "b"):
        write_masks(ref, scan_id, stomach=box(2, 4))
    write_masks(pred, "a", stomach=box(2, 4))
    mask = np.zeros(grid.shape, np.uint8)
    write_label_map(pred / "b.nii.gz", mask, grid, LABELS)
    done = evaluate(pred, ref, MANIFEST)
    assert codes(done.problems) == [("E-GRID", "b")]
    assert {s.scan_id: s.status for s in done.scores if s.organ == "stomach"} == {
        "a": "ok",
        "b": "missed",
    }


# --- Row 83: missing and surplus ----------------------------------------------------------------


def test_a_scan_without_prediction_counts_as_missed_and_both_sides_are_named(folders):
    pred, ref = folders
    write_masks(ref, "a", stomach=box(2, 4))
    write_masks(ref, "b", stomach=box(2, 4))
    write_masks(pred, "a", stomach=box(2, 4))
    write_masks(pred, "z", stomach=box(2, 4))
    done = evaluate(pred, ref, MANIFEST)
    assert codes(done.problems) == [("W-MISSING", "b"), ("W-SURPLUS", "z")]
    assert {problem.level for problem in done.problems} == {"warning"}
    stomach = next(o for o in done.summary.organs if o.organ == "stomach")
    assert (stomach.n, stomach.n_missed) == (2, 1)
    assert stomach.found["dice"] == 1.0
    assert stomach.penalised["dice"] == 0.5
    assert stomach.sensitivity == 0.5


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


def test_some_scans_alone_can_be_asked_for(folders):
    pred, ref = folders
    for scan_id in ("a", "b"):
        write_masks(ref, scan_id)
    write_masks(pred, "a")
    done = evaluate(pred, ref, MANIFEST, scan_ids={"a"})
    assert done.summary.n_scans == 1
    assert done.problems == ()


# --- Row 84: what is no label ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "voxels",
    [
        pytest.param(np.full(SHAPE, 9, np.uint8), id="a code of another label set"),
        pytest.param(np.full(SHAPE, 0.9999, np.float32), id="fractions"),
        pytest.param(np.full(SHAPE, -1, np.int16), id="negative"),
    ],
)
@pytest.mark.parametrize("side", ["pred", "ref"])
def test_what_is_no_label_fails_its_scan_and_not_the_others(folders, voxels, side):
    pred, ref = folders
    for folder in folders:
        for scan_id in ("good", "bad"):
            write_masks(folder, scan_id, stomach=box(2, 4))
    write_image((pred if side == "pred" else ref) / "bad.nii.gz", voxels, GRID)
    done = evaluate(pred, ref, MANIFEST)
    assert codes(done.problems) == [("E-LABEL", "bad.nii.gz")]
    # A reference that cannot be read leaves nothing to score by; a prediction is missed.
    assert done.summary.n_scans == (2 if side == "pred" else 1)


def test_a_damaged_file_fails_its_scan_and_not_the_others(folders):
    pred, ref = folders
    for folder in folders:
        for scan_id in ("good", "bad"):
            write_label_map(folder / f"{scan_id}.nii.gz", np.zeros(SHAPE, np.uint8), GRID, LABELS)
    (pred / "bad.nii.gz").write_bytes((pred / "bad.nii.gz").read_bytes()[:-9])
    done = evaluate(pred, ref, MANIFEST)
    assert codes(done.problems) == [("E-NII-TRUNC", "bad.nii.gz")]


# --- Many processes -----------------------------------------------------------------------------


def test_processes_give_what_one_gives_in_its_order(folders):
    pred, ref = folders
    for n in range(5):
        write_masks(ref, f"case{10 - n}_day0", stomach=box(n, 4))
        write_masks(pred, f"case{10 - n}_day0", stomach=box(1, 2 + n))
    (pred / "case7_day0_stomach.nii.gz").write_bytes(b"no gzip")
    seen = []
    options = Options(workers=2)
    spread = evaluate(
        pred, ref, MANIFEST, options=options, progress=lambda n, of: seen.append((n, of))
    )
    alone = evaluate(pred, ref, MANIFEST)
    assert repr(spread) == repr(alone)  # which compares NaN too, and every digit
    assert [s.scan_id for s in spread.scores[::3]] == [f"case{6 + n}_day0" for n in range(5)]
    assert codes(spread.problems) == [("E-NII-FORMAT", "case7_day0_stomach.nii.gz")]
    assert seen == [(n + 1, 5) for n in range(5)]


# --- A data set as the reference --------------------------------------------------------------


def decoded(scan, organ):
    width, height = scan.size_px
    return decode_slices(scan.rle[organ], (height, width)).transpose(2, 1, 0)


def test_masks_of_the_data_set_itself_score_one_with_their_overlaps(tiny_phantom, tmp_path):
    scans = read_scans(tiny_phantom, MANIFEST)
    for scan in scans:
        masks = {organ: decoded(scan, organ) for organ in LABELS.names}
        for organ, mask in masks.items():
            write_mask(tmp_path / f"{scan.scan_id}_{organ}.nii.gz", mask, scan.grid)
    seen = []
    done = evaluate(tmp_path, tiny_phantom, MANIFEST, progress=lambda n, of: seen.append((n, of)))
    assert {score.dice for score in done.scores if score.status == "ok"} == {1.0}
    assert {score.status for score in done.scores} <= {"ok", "both_empty"}
    assert seen == [(n + 1, len(scans)) for n in range(len(scans))]
    assert done.summary.n_scans == len(scans)


def test_a_label_map_loses_the_overlap_that_the_reference_keeps(tiny_phantom, tmp_path):
    for scan in read_scans(tiny_phantom, MANIFEST):
        masks = [decoded(scan, organ) for organ in LABELS.names]
        path = tmp_path / f"{scan.scan_id}.nii.gz"
        write_label_map(path, LABELS.label_map(masks), scan.grid, LABELS)
    organs = {organ.organ: organ for organ in evaluate(tmp_path, tiny_phantom, MANIFEST)[1].organs}
    assert organs["stomach"].found["dice"] == 1.0  # the first in the priority
    assert 0.5 < organs["large_bowel"].found["dice"] < 1.0


def test_a_real_scan_keeps_its_grid_and_its_organs(shared_data, tmp_path):
    scan = next(s for s in read_scans(shared_data / "uwmgi_scan", MANIFEST) if s.size_px[0] == 360)
    masks = [decoded(scan, organ) for organ in LABELS.names]
    path = tmp_path / f"{scan.scan_id}.nii.gz"
    write_label_map(path, LABELS.label_map(masks), scan.grid, LABELS)
    label_map, grid = read_label_map(path)
    assert grid.axis_codes == ("L", "P", "I")
    assert grid.spacing_mm == (1.5, 1.5, 3.0)
    assert label_map.shape == (360, 310, 144)
    # Head to feet: the stomach above the bowels; to the patient's left of the whole.
    stomach, gut = (np.argwhere(m).mean(axis=0) for m in (label_map == 3, label_map > 0))
    assert grid.to_ras_mm(stomach)[2] > grid.to_ras_mm(gut)[2]
    assert grid.to_ras_mm(stomach)[0] < grid.to_ras_mm(gut)[0]
    done = evaluate(tmp_path, shared_data / "uwmgi_scan", MANIFEST, scan_ids={scan.scan_id})
    assert [score.dice > 0.99 for score in done.scores] == [True, True, True]
