"""Scores as text, CSV and JSON."""

import csv
import json
import math

from medseg.metrics.overlap import OrganScore, summarise
from medseg.report.scores import as_plain, summary_text, write_csv

NAN = math.nan
SCORES = [
    OrganScore("case1_day0", "stomach", "ok", 0.8, 2 / 3, 120.5, 130.25),
    OrganScore("case1_day2", "stomach", "missed", 0.0, 0.0, NAN, 99.0),
    OrganScore("case2_day0", "stomach", "both_empty", NAN, NAN, 0.0, 0.0),
]


def test_the_table_tells_beside_each_mean_over_how_many_scans_it_is():
    lines = summary_text(summarise(SCORES)).splitlines()
    assert lines[0] == "3 scans"
    row = "stomach 1 1 0 1 0.800 (n=1) 0.400 (n=2) 0.333 (n=2) 0.500 1.000"
    assert " ".join(lines[2].split()) == row
    assert max(map(len, lines)) <= 120


def test_a_mean_over_nothing_is_a_dash():
    line = summary_text(summarise(SCORES[2:])).splitlines()[2]
    assert " ".join(line.split()) == "stomach 0 0 0 1 - (n=0) - (n=0) - (n=0) - 1.000"


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
        "volume_pred_ml": "120.5",
        "volume_ref_ml": "130.25",
    }
    assert [row["status"] for row in rows] == ["ok", "missed", "both_empty"]
    assert rows[1]["volume_pred_ml"] == rows[2]["dice"] == "nan"


def test_json_knows_no_nan():
    plain = as_plain(SCORES, summarise(SCORES))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["n_scans"] == 3
    assert plain["scores"][2]["dice"] is None
    assert plain["organs"][0]["n_missed"] == 1
