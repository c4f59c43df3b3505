"""Predictions against a reference: which scans, in how many processes, from where."""

import numpy as np
import pytest
from mask_folders import LABELS, MANIFEST, box, codes, decoded, write_masks

from medseg.data.readers import read_scans
from medseg.data.splits import make_splits
from medseg.io.nifti import read_label_map, write_label_map, write_mask
from medseg.stages.evaluate import Options, evaluate


@pytest.fixture
def folders(tmp_path):
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    pred.mkdir()
    ref.mkdir()
    return pred, ref


def test_some_scans_alone_can_be_asked_for(folders):
    pred, ref = folders
    for scan_id in ("a", "b"):
        write_masks(ref, scan_id)
    write_masks(pred, "a")
    done = evaluate(pred, ref, MANIFEST, scan_ids={"a"})
    assert done.summary.n_scans == 1
    assert done.problems == ()


def test_a_run_is_asked_for_the_scans_that_it_has_not_learnt_from(tiny_phantom, tmp_path):
    scans = read_scans(tiny_phantom, MANIFEST)
    splits = make_splits(scans, folds=3)
    splits.write(tmp_path / "splits.json")
    (tmp_path / "config.json").write_text('{"fold": 1}')
    test = splits.fold(1).test
    for scan in scans:
        if scan.scan_id in test:
            masks = {organ: decoded(scan, organ) for organ in LABELS.names}
            (tmp_path / "predictions").mkdir(exist_ok=True)
            for organ, mask in masks.items():
                path = tmp_path / "predictions" / f"{scan.scan_id}_{organ}.nii.gz"
                write_mask(path, mask, scan.grid)
    done = evaluate(tmp_path, tiny_phantom, MANIFEST)
    assert {score.scan_id for score in done.scores} == set(test)
    assert done.problems == ()
    folder = evaluate(tmp_path / "predictions", tiny_phantom, MANIFEST)
    assert folder.summary.n_scans == len(scans)


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
