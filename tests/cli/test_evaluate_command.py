"""``medseg evaluate`` prints, writes and ends as it should."""

import csv
import json

import numpy as np
import pytest

from medseg.cli import main
from medseg.data.manifest import read_manifest
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_label_map

LABELS = read_manifest("uwmgi").labels
GRID = lpi_grid((6, 5, 4), (1.5, 1.5, 3.0))


def write(folder, scan_id, *, stomach=3):
    label_map = np.zeros(GRID.shape, np.uint8)
    label_map[:stomach, 2, 2] = 3
    write_label_map(folder / f"{scan_id}.nii.gz", label_map, GRID, LABELS)
    return folder / f"{scan_id}.nii.gz"


@pytest.fixture
def folders(tmp_path):
    for side in ("pred", "ref"):
        (tmp_path / side).mkdir()
        write(tmp_path / side, "case1_day0", stomach=3)
        write(tmp_path / side, "case2_day0", stomach=2)
    return tmp_path


def evaluated(folders, *options):
    return main(["evaluate", str(folders / "pred"), str(folders / "ref"), *options])


def table(printed, organ):
    """Return the lines of an organ in both tables, each as words."""
    return [" ".join(line.split()) for line in printed.splitlines() if line.startswith(organ)]


def test_a_table_tells_the_means_and_over_how_many(folders, capsys):
    assert evaluated(folders) == 0
    printed = capsys.readouterr()
    assert "2 scans" in printed.out
    assert table(printed.out, "stomach") == [
        "stomach 2 0 0 0 1.000 -",
        "stomach found 2 1.000 1.000 0.00 0.00 0.00",
        "stomach all 2 1.000 1.000 0.00 0.00 0.00",
    ]
    assert printed.err == ""


def test_quiet_prints_the_table_and_no_progress(folders, capsys):
    assert evaluated(folders, "-q") == 0
    assert capsys.readouterr().out.startswith("2 scans\n")


def test_json_is_one_object_with_scores_summary_and_problems(folders, capsys):
    write(folders / "pred", "case9_day0")
    assert evaluated(folders, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["organ"] for row in told["organs"]} == set(LABELS.names)
    assert len(told["scores"]) == 6
    assert [problem["code"] for problem in told["problems"]] == ["W-SURPLUS"]


def test_csv_holds_a_row_an_organ_and_scan(folders, capsys):
    assert evaluated(folders, "--csv", str(folders / "out" / "scores.csv")) == 0
    with (folders / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["scan_id"], row["case_id"], row["organ"]) for row in rows[:4]] == [
        ("case1_day0", "case1", "large_bowel"),
        ("case1_day0", "case1", "small_bowel"),
        ("case1_day0", "case1", "stomach"),
        ("case2_day0", "case2", "large_bowel"),
    ]
    assert "stomach" in capsys.readouterr().out


def test_save_writes_numbers_summary_and_page(folders, capsys):
    assert evaluated(folders, "--save", str(folders / "out"), "--tolerance-mm", "1.5") == 0
    told = json.loads((folders / "out" / "summary.json").read_text())
    assert {row["tolerance_mm"] for row in told["scores"]} == {1.5}
    assert "within 1.5 mm" in (folders / "out" / "summary.md").read_text()
    assert (folders / "out" / "scores.csv").read_text().count("\n") == 7
    assert "within 1.5 mm" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--tolerance-mm", "0"), ("--workers", "0")], ids=" ".join)
def test_numbers_that_make_no_sense_end_with_2(folders, capsys, words):
    assert evaluated(folders, *words) == 2
    assert words[0] in capsys.readouterr().err


def test_the_worst_scan_is_named(folders, capsys):
    write(folders / "pred", "case2_day0", stomach=5)
    assert evaluated(folders) == 0
    assert "stomach: case2_day0 0.571 (4.2 mm), case1_day0 1.000" in capsys.readouterr().out


def test_the_tolerance_is_the_metrics_own():
    from medseg.cli.evaluate import evaluate
    from medseg.metrics.scores import TOLERANCE_MM

    (option,) = (p for p in evaluate.params if p.name == "tolerance_mm")
    assert option.default == TOLERANCE_MM


def test_a_missing_prediction_warns_and_ends_well(folders, capsys):
    (folders / "pred" / "case2_day0.nii.gz").unlink()
    assert evaluated(folders) == 0
    printed = capsys.readouterr()
    assert table(printed.out, "stomach")[:2] == [
        "stomach 1 1 0 0 0.500 -",
        "stomach found 1 1.000 1.000 0.00 0.00 0.00",
    ]
    # Half of nothing, and half the scan's diagonal: 9 x 7.5 x 12 mm.
    assert table(printed.out, "stomach")[2].startswith("stomach all 2 0.500 0.500 8.39")
    assert "warning[W-MISSING]: case2_day0: has no prediction" in printed.err


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_case_that_cannot_be_read_ends_with_6_and_the_others_are_scored(folders, capsys, as_json):
    (folders / "pred" / "case2_day0.nii.gz").write_bytes(b"no gzip")
    assert evaluated(folders, *["--json"] * as_json) == 6
    printed = capsys.readouterr()
    if as_json:
        assert [row["code"] for row in json.loads(printed.out)["problems"]] == ["E-NII-FORMAT"]
    else:
        assert "2 scans" in printed.out
        assert "error[E-NII-FORMAT]" in printed.err


def test_bad_data_alone_end_with_3(folders, capsys):
    for path in (folders / "pred").iterdir():
        path.write_bytes(b"no gzip")
    assert evaluated(folders) == 3
    assert capsys.readouterr().err.count("error[E-NII-FORMAT]") == 2


def test_an_unknown_manifest_ends_with_2(folders, capsys):
    assert evaluated(folders, "--manifest", "uwmgj") == 2
    assert "uwmgi" in capsys.readouterr().err
