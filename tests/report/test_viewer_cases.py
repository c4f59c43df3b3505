"""What the viewer lists: where scan, truth and prediction of each case come from."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from predicted_folder import MISSED, predicted

from medseg.data import read_manifest
from medseg.data.label_files import LabelFiles
from medseg.errors import DataError
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_image
from medseg.report.scores import read_csv
from medseg.report.viewer_cases import as_plain, find_cases
from medseg.scan import Scan

MANIFEST = read_manifest("uwmgi")


@pytest.fixture(scope="module")
def folder(tiny_phantom, tmp_path_factory):
    made = tmp_path_factory.mktemp("predictions")
    predicted(made, tiny_phantom)
    return made


def test_a_data_set_gives_scans_and_truth(folder, tiny_phantom):
    cases = find_cases(
        folder,
        MANIFEST,
        images=tiny_phantom,
        reference=tiny_phantom,
        scores=folder / "metrics.csv",
    )
    assert [case.scan_id for case in cases][:3] == ["case711_day0", MISSED, "case836_day0"]
    assert all(isinstance(case.image, Scan) for case in cases)
    assert all(isinstance(case.truth, Scan) and case.truth.rle for case in cases)
    assert all(isinstance(case.pred, LabelFiles) for case in cases)
    assert [len(case.scores) for case in cases] == [3] * 6


def test_without_folders_only_predictions_are_known(folder):
    cases = find_cases(folder, MANIFEST)
    assert len(cases) == 6
    assert {(case.image, case.truth, case.scores) for case in cases} == {(None, None, ())}


def test_images_are_found_by_the_name_of_the_scan(folder, tmp_path):
    for name in ("case711_day0.nii.gz", "case711_day28.nii", "other.nii", ".hidden.nii"):
        write_image(tmp_path / name, np.zeros((2, 2, 2), np.uint8), lpi_grid((2, 2, 2), (1, 1, 1)))
    found = {case.scan_id: case.image for case in find_cases(folder, MANIFEST, images=tmp_path)}
    assert found["case711_day0"] == tmp_path / "case711_day0.nii.gz"
    assert found["case711_day28"] == tmp_path / "case711_day28.nii"
    assert [name for name in found if found[name]] == ["case711_day0", "case711_day28"]
    assert len(found) == 6


def test_images_and_truth_may_lie_in_different_places(folder, tiny_phantom):
    cases = find_cases(folder, MANIFEST, images=tiny_phantom, reference=folder)
    assert all(isinstance(case.image, Scan) for case in cases)
    assert all(isinstance(case.truth, LabelFiles) for case in cases)


def test_a_scored_scan_without_prediction_is_listed(folder, tmp_path):
    (tmp_path / "case711_day0.nii.gz").symlink_to(folder / "case711_day0_stomach.nii.gz")
    cases = find_cases(tmp_path, MANIFEST, scores=folder / "metrics.csv")
    assert cases[0].scan_id == "case711_day0"
    assert len(cases) == 6
    assert [case.pred is None for case in cases] == [False] + [True] * 5


@pytest.mark.parametrize("made", [pytest.param(True, id="empty"), pytest.param(False, id="absent")])
def test_a_folder_with_nothing_to_show_is_refused(tmp_path, made):
    folder = tmp_path / "predictions"
    if made:
        folder.mkdir()
        (folder / "notes.txt").touch()
    with pytest.raises(DataError, match=r"E-EMPTY.*holds no label files"):
        find_cases(folder, MANIFEST)


def test_an_images_folder_without_scans_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="E-EMPTY"):
        find_cases(folder, MANIFEST, images=tmp_path)


def test_what_the_page_is_told_is_json_without_nan(folder, tiny_phantom):
    scores = folder / "metrics.csv"
    cases = find_cases(folder, MANIFEST, reference=tiny_phantom, scores=scores)
    told = as_plain(cases, MANIFEST.labels, title="a run")
    assert json.loads(json.dumps(told, allow_nan=False)) == json.loads(json.dumps(told))
    assert told["title"] == "a run"
    assert [organ["name"] for organ in told["organs"]] == list(MANIFEST.labels.names)
    assert told["organs"][0]["colour"] == MANIFEST.labels.organs[0].colour
    listed = {case["scan_id"]: case for case in told["cases"]}
    missed = listed[MISSED]["scores"]["large_bowel"]
    assert missed == {"status": "missed", "dice": 0.0, "hd95_mm": "inf"}
    assert (listed[MISSED]["image"], listed[MISSED]["truth"]) == (False, True)
    # Not a path, and nothing of the scores that the page does not show.
    assert set(listed[MISSED]) == {"scan_id", "image", "truth", "pred", "scores"}
    assert str(Path(folder).anchor + "tmp") not in json.dumps(told)


def test_scores_are_those_of_the_file(folder):
    rows = {(row.scan_id, row.organ): row for row in read_csv(folder / "metrics.csv")}
    for case in find_cases(folder, MANIFEST, scores=folder / "metrics.csv"):
        told = as_plain([case], MANIFEST.labels, title="")["cases"][0]["scores"]
        for organ, score in told.items():
            row = rows[case.scan_id, organ]
            assert score["status"] == row.status
            if math.isfinite(row.hd95_mm):
                assert (score["dice"], score["hd95_mm"]) == (row.dice, row.hd95_mm)
