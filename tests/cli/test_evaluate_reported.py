"""``medseg evaluate --competition --slice-wise``: what others report, below the honest scores."""

import json
import math

import numpy as np
import pytest

from medseg.cli import main
from medseg.data.manifest import read_manifest
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_label_map
from medseg.metrics.slicewise import WARNING
from medseg.report.reported import Reported, reported_markdown, reported_plain, reported_text
from medseg.stages.evaluate import evaluate
from medseg.stages.evaluation import Options

MANIFEST = read_manifest("uwmgi")
LABELS = MANIFEST.labels
GRID = lpi_grid((6, 5, 4), (1.5, 1.5, 3.0))
BOTH = ("--competition", "--slice-wise")


def write(folder, scan_id, voxels):
    label_map = np.zeros(GRID.shape, np.uint8)
    for voxel in voxels:
        label_map[voxel] = 3
    write_label_map(folder / f"{scan_id}.nii.gz", label_map, GRID, LABELS)


@pytest.fixture
def folders(tmp_path):
    """Two scans: of one the stomach lies two columns off, the other is on the black list."""
    for side, voxel in (("pred", (2, 2, 2)), ("ref", (0, 2, 2))):
        (tmp_path / side).mkdir()
        write(tmp_path / side, "case1_day0", [voxel])
        write(tmp_path / side, "case9_day27", [(0, 0, 0)])
    return tmp_path


def evaluated(folders, *options):
    return main(
        ["evaluate", str(folders / "pred"), str(folders / "ref"), "-q", "--workers", "1", *options]
    )


# Rows: stomach 0 and 1, the other 22 empty. Unit cube: 2 / 6 over sqrt 3 in one of two scans.
OFFICIAL = 0.4 * 0.5 + 0.6 * (1 - (2 / 6 / math.sqrt(3)) / 2)


def test_both_are_in_the_json_beside_the_scores(folders, capsys):
    assert evaluated(folders, *BOTH, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    scores = told["competition"]
    assert scores["official"]["score"] == pytest.approx(OFFICIAL)
    assert scores["official_text"]["dice"] == pytest.approx(1 / 24)
    # Three organs a scan, of which two are on neither side: distance 0.
    assert scores["participants"]["hausdorff"] == pytest.approx(2 / math.sqrt(36 + 25 + 16) / 6)
    # case9_day27 is on the organisers' black list, so the shifted scan is left alone.
    assert scores["organisers"] == {
        "score": None, "dice": 0.0, "hausdorff": 3.0, "n_dice": 1, "n_hausdorff": 1,
    }  # fmt: skip
    stomach = told["slice_wise"]["organs"][2]
    assert (stomach["organ"], stomach["n"], stomach["n_empty"]) == ("stomach", 8, 6)
    assert stomach["dice_empties_one"] == pytest.approx(7 / 8)
    assert stomach["iou_empties_skipped"] == pytest.approx(1 / 2)
    assert told["slice_wise"]["warning"] == WARNING
    assert told["n_scans"] == 2


def test_both_are_printed_below_the_honest_table(folders, capsys):
    assert evaluated(folders, *BOTH) == 0
    printed = capsys.readouterr().out
    places = [printed.index(text) for text in ("Surface Dice", "official_text", WARNING)]
    assert places == sorted(places)
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.parametrize(
    ("option", "there", "absent"),
    [
        pytest.param("--competition", "competition", "slice_wise", id="competition"),
        pytest.param("--slice-wise", "slice_wise", "competition", id="slice-wise"),
    ],
)
def test_either_may_be_asked_for_alone(folders, capsys, option, there, absent):
    assert evaluated(folders, option, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert there in told
    assert absent not in told


def test_nothing_is_there_that_was_not_asked_for(folders, capsys):
    assert evaluated(folders, "--json") == 0
    assert not {"competition", "slice_wise"} & set(json.loads(capsys.readouterr().out))
    assert evaluated(folders) == 0
    assert "official" not in capsys.readouterr().out
    assert (reported_text(Reported()), reported_markdown(Reported())) == ("", "")
    assert reported_plain(Reported()) == {}


def test_both_are_saved(folders, capsys):
    assert evaluated(folders, *BOTH, "--save", str(folders / "out")) == 0
    told = json.loads((folders / "out" / "summary.json").read_text())
    assert told["competition"]["official"]["score"] == pytest.approx(OFFICIAL)
    assert told["slice_wise"]["organs"][-1]["organ"] == "all"
    page = (folders / "out" / "summary.md").read_text()
    assert page.index("## As others report") > page.index("## Means")
    assert WARNING in page
    assert WARNING in capsys.readouterr().out


def test_a_scan_without_prediction_is_worst_in_both(folders):
    (folders / "pred" / "case1_day0.nii.gz").unlink()
    asked = Options(competition=True, slice_wise=True)
    found = evaluate(folders / "pred", folders / "ref", MANIFEST, options=asked).reported
    # 12 rows of 0 and one of 1; the other scan's 11 empty rows are skipped.
    assert found.competition["official"].dice == pytest.approx(1 / 13)
    assert found.competition["mle_bench"].hausdorff == pytest.approx(1 / 2)
    stomach = found.slice_wise[2]
    assert (stomach.n, stomach.n_empty) == (8, 3)
    assert stomach.dice.one == pytest.approx(4 / 8)


def test_a_scan_whose_reference_cannot_be_read_is_in_neither(folders):
    (folders / "ref" / "case1_day0.nii.gz").write_bytes(b"no gzip")
    asked = Options(competition=True, slice_wise=True)
    found = evaluate(folders / "pred", folders / "ref", MANIFEST, options=asked).reported
    assert found.competition["official"].n_dice == 1
    assert found.slice_wise[-1].n == 12
