"""Scores as text, CSV and JSON."""

import csv
import json
import math

import pytest

from medseg.errors import DataError, Problem
from medseg.metrics.scores import OrganScore
from medseg.metrics.summary import summarise
from medseg.report.scores import as_plain, read_csv, save_scores, summary_text, write_csv

NAN, INF = math.nan, math.inf
SIZES = (3.0, 600.0)
OK = (0.8, 2 / 3, 0.75, 0.9, 0.95, 9.0, 4.5, 1.25, 2.0, -9.75, 120.5, 130.25)
MISSED = (0.0,) * 5 + (INF,) * 4 + (-99.0, NAN, 99.0)
SCORES = [
    OrganScore("case1_day0", "stomach", "ok", *OK, *SIZES),
    OrganScore("case1_day2", "stomach", "missed", *MISSED, *SIZES),
    OrganScore("case2_day0", "stomach", "both_empty", *(NAN,) * 9, 0.0, 0.0, 0.0, *SIZES),
]


def words(lines, name):
    """Return the lines that begin with a name, each as words."""
    return [" ".join(line.split()) for line in lines if line.startswith(name)]


def test_the_table_tells_beside_each_mean_over_how_many_scans_it_is():
    lines = summary_text(summarise(SCORES)).splitlines()
    assert lines[0] == "3 scans"
    assert words(lines, "stomach") == [
        "stomach 1 1 0 1 0.500 1.000",
        "stomach found 1 0.800 0.950 4.50 1.25 -9.75",
        "stomach all 2 0.400 0.475 302.25 300.62 -54.38",
    ]
    assert max(map(len, lines)) <= 120


def test_a_mean_over_nothing_is_a_dash():
    lines = summary_text(summarise(SCORES[2:])).splitlines()
    assert words(lines, "stomach") == [
        "stomach 0 0 0 1 - 1.000",
        "stomach found 0 - - - - -",
        "stomach all 0 - - - - -",
    ]


def test_the_csv_holds_a_row_an_organ_and_scan(tmp_path):
    write_csv(tmp_path / "scores.csv", SCORES)
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "scan_id": "case1_day0",
        "case_id": "case1",
        "organ": "stomach",
        "status": "ok",
        "dice": "0.8",
        "iou": "0.666667",
        "precision": "0.75",
        "recall": "0.9",
        "nsd": "0.95",
        "hd_mm": "9",
        "hd95_mm": "4.5",
        "assd_mm": "1.25",
        "centroid_shift_mm": "2",
        "volume_error_ml": "-9.75",
        "volume_pred_ml": "120.5",
        "volume_ref_ml": "130.25",
        "tolerance_mm": "3",
        "diagonal_mm": "600",
    }
    assert [row["status"] for row in rows] == ["ok", "missed", "both_empty"]
    assert rows[1]["volume_pred_ml"] == rows[2]["dice"] == "nan"
    assert rows[1]["hd95_mm"] == "inf"


def test_scores_read_back_are_those_written(tmp_path):
    write_csv(tmp_path / "scores.csv", SCORES)
    for before, after in zip(SCORES, read_csv(tmp_path / "scores.csv"), strict=True):
        assert after[:3] == before[:3]
        assert after[3:] == pytest.approx(before[3:], nan_ok=True, rel=1e-5)


def test_a_file_that_holds_no_scores_is_refused(tmp_path):
    (tmp_path / "scores.csv").write_text("id,class\n1,stomach\n")
    with pytest.raises(DataError, match=r"E-CSV.*scan_id.*medseg evaluate --csv"):
        read_csv(tmp_path / "scores.csv")


def test_json_knows_no_nan():
    plain = as_plain(SCORES, summarise(SCORES))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["n_scans"] == 3
    assert plain["scores"][2]["dice"] is None
    assert plain["scores"][1]["hd95_mm"] == "inf"
    assert plain["organs"][0]["penalised"]["hd95_mm"] == pytest.approx((4.5 + 600) / 2)
    assert plain["organs"][0]["n_missed"] == 1


def test_a_folder_of_scores_holds_three_files_of_the_same_numbers(tmp_path):
    problem = Problem("W-SURPLUS", "case9_day0", "is no scan", level="warning")
    save_scores(tmp_path / "new", SCORES, summarise(SCORES), [problem])
    names = ["scores.csv", "summary.json", "summary.md"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    told = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert told["organs"] == as_plain(SCORES, summarise(SCORES))["organs"]
    assert [row["code"] for row in told["problems"]] == ["W-SURPLUS"]
    assert len(read_csv(tmp_path / "new" / "scores.csv")) == 3
    assert "| stomach | all | 2 | 0.400 |" in (tmp_path / "new" / "summary.md").read_text()


def test_text_names_the_worst_scans_where_it_has_the_scores():
    text = summary_text(summarise(SCORES), SCORES)
    assert "Worst scans, by Dice (HD95)\n  stomach: case1_day2 missed, case1_day0 0.800" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "Worst" not in summary_text(summarise(SCORES))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"\x80", "E-CSV.*no scores: 'utf-8' codec", id="no text"),
        pytest.param(b"scan_id,organ\nx", "E-CSV.*no scores: 'status'", id="a column too few"),
        pytest.param(b"a\n" + b"x" * (1 << 24) + b"x", "E-CSV.*field larger", id="endless"),
    ],
)
def test_what_is_no_table_of_scores_is_refused(tmp_path, content, told):
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_csv(path)


def test_a_row_that_is_cut_short_is_refused(tmp_path):
    write_csv(tmp_path / "scores.csv", SCORES[:1])
    whole = (tmp_path / "scores.csv").read_text()
    (tmp_path / "scores.csv").write_text(whole.rpartition(",")[0])
    with pytest.raises(DataError, match=r"E-CSV.*not 'NoneType'"):
        read_csv(tmp_path / "scores.csv")


def test_scores_that_cannot_be_opened_are_told(tmp_path):
    with pytest.raises(DataError, match=r"E-IO.*Is a directory"):
        read_csv(tmp_path)
