"""A comparison as sentences, tables, Markdown, CSV, JSON and a picture."""

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image
from scored_runs import run, score, study

from medseg.metrics.comparison import compare_scores
from medseg.report.comparison import as_plain, csv_text, markdown, save_comparison, tables, text
from medseg.report.comparison_figure import differences_figure
from medseg.report.conclusions import conclusions


def compared(a, b, metric="dice"):
    return compare_scores({"ours": a, "theirs": b}, metric, n_resamples=2000)


def spread(middle, n, step=0.01):
    """Return a value a patient, evenly about the middle."""
    return [middle + step * (i - (n - 1) / 2) for i in range(n)]


def test_the_better_run_is_named_with_interval_p_and_patients():
    first, *_ = conclusions(compared(run(*[0.9] * 8), run(*spread(0.8, 8))))
    assert first.startswith("ours is better than theirs on stomach: 0.100 more Dice (95 % interval")
    assert first.endswith("; corrected p = 0.008; 8 patients).")


def test_the_better_run_may_be_the_second_and_less_may_be_better():
    first, *_ = conclusions(compared(run(*[0.7] * 8), run(*[0.9] * 8), "hd95_mm"))
    assert first == (
        "theirs is better than ours on stomach: 2.00 mm less HD95 "
        "(95 % interval 2.00 to 2.00 mm; corrected p = 0.008; 8 patients)."
    )


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        pytest.param(
            run(*[0.9] * 3),
            run(*[0.1] * 3),
            "With 3 patients nothing can be concluded: before any of 1 test can show a difference "
            "it takes 6, all on one side.",
            id="too few patients",
        ),
        pytest.param(
            run(*spread(0.8, 8)),
            run(*reversed(spread(0.8, 8))),
            "Between ours and theirs no difference can be shown on stomach (interval -0.0",
            id="zero inside",
        ),
        pytest.param(
            run(*[0.801] * 19, 0.0),
            run(*[0.8] * 20),
            "no difference can be concluded, for most patients are on one side but the mean may "
            "not be, on stomach",
            id="ranks and mean disagree",
        ),
        pytest.param(
            run(*[0.8] * 8), run(*[0.8] * 8), "nothing differs on stomach", id="the same run"
        ),
    ],
)
def test_what_may_not_be_concluded_is_said(a, b, said):
    told = "\n".join(conclusions(compared(a, b)))
    assert said in told
    assert ("not proved equal" in told) == ("Between" in told)


def test_an_interval_without_zero_is_not_enough_among_many_tests():
    # Eight of nine patients up, the ninth down by least: p is 2 x 2 / 512, and there are 7 tests.
    same = [score for organ in "abcde" for score in run(*[0.8] * 9, organ=organ)]
    a = [*same, *run(*spread(0.85, 8), 0.799)]
    b = [*same, *run(*[0.8] * 9)]
    comparison = compared(a, b)
    row = next(o for o in comparison.organs if o.organ == "stomach").differences[0]
    assert row.interval.low > 0
    assert row.p_holm == pytest.approx(7 * 4 / 512)
    told = "\n".join(conclusions(comparison))
    assert "the interval leaves out zero but the test corrected for 7 comparisons does not" in told
    assert "is better than" not in told


def test_an_organ_with_too_few_patients_is_told_apart():
    a = [*run(*[0.9] * 9), *run(0.9, 0.9, organ="liver")]
    b = [*run(*spread(0.8, 9)), *run(0.5, 0.5, organ="liver")]
    told = "\n".join(conclusions(compared(a, b)))
    assert "ours is better than theirs on stomach" in told
    assert "there are too few patients to conclude anything on liver" in told
    assert "; 2 patients." in told


def test_the_ranking_tells_how_firm_it_is():
    *_, last = conclusions(compared(run(*[0.9] * 8), run(*[0.8] * 8)))
    assert last == (
        "Ranked by stomach: ours, theirs. Of draws of other patients 100 % keep this order, and "
        "100 % keep ours first."
    )
    *_, last = conclusions(compared(run(0.9, 0.9), run(0.8, 0.8)))
    assert last.endswith("So few patients do not tell how firm that is.")


def test_without_any_organ_there_is_nothing_to_tell():
    nothing = [score("case1_day0", "stomach", math.nan, status="both_empty")]
    comparison = compared(nothing, nothing)
    assert "nothing to tell" in text(comparison)
    assert "nothing to tell" in markdown(comparison)
    assert len(csv_text(comparison).splitlines()) == 1
    assert as_plain(comparison)["organs"] == []
    assert differences_figure(comparison).axes


def test_tables_show_means_and_differences_with_their_intervals():
    means, differences = tables(compared(run(0.9, 0.7), run(0.5, 0.7)))
    assert means.rows[0][:3] == ("stomach", "ours", "0.800")
    assert means.rows[0][3].endswith(" *")
    assert means.rows[1][4:] == ("0.600", "2", "2", "2")
    assert differences.rows[0][:3] == ("stomach", "ours - theirs", "+0.200")
    assert differences.rows[0][4:] == ("1", "1", "+1.00", "-")
    single = tables(compared(run(0.9), run(0.5)))[1].rows[0]
    assert single[2:4] == ("+0.400", "-")


def test_markdown_holds_conclusions_tables_and_what_was_left_out():
    told = markdown(compared(run(0.9, 0.8, 0.7), run(0.5, 0.7)))
    assert told.startswith("# Dice: ours, theirs\n")
    assert "![Differences by organ, a dot a patient](comparison.png)" in told
    assert "| stomach | ours - theirs | +0.250 |" in told
    assert "1 scan that not all runs have, left out: case2_day0" in told
    widths = {
        line.count("|") for line in told.splitlines() if line.startswith("| stomach | ours |")
    }
    assert widths == {told.split("\n| --- ")[0].splitlines()[-1].count("|")}


def test_csv_holds_a_row_an_organ_and_pair():
    runs = study(np.random.default_rng(0), n_patients=4, n_runs=3)
    comparison = compare_scores(runs, n_resamples=100)
    rows = list(csv.DictReader(csv_text(comparison).splitlines()))
    assert len(rows) == 4 * 3
    row = rows[1]
    assert (row["organ"], row["first"], row["second"]) == ("large_bowel", "run0", "run2")
    difference = float(row["mean_first"]) - float(row["mean_second"])
    assert float(row["difference"]) == pytest.approx(difference, abs=1e-5)
    assert float(row["low"]) < float(row["difference"]) < float(row["high"])


def test_json_is_strict_and_tells_the_conclusions():
    comparison = compared(run(0.9), run(0.5))
    told = json.loads(json.dumps(as_plain(comparison), allow_nan=False))
    assert told["organs"][0]["differences"][0]["interval"] == {
        "mean": pytest.approx(0.4),
        **{"low": None, "high": None, "n_scans": 1, "n_patients": 1},
    }
    assert told["conclusions"] == conclusions(comparison)


def test_all_files_are_written_and_the_picture_can_be_looked_at(tmp_path):
    runs = study(np.random.default_rng(0), n_patients=12, n_runs=3, shift=0.8)
    files = save_comparison(compare_scores(runs, n_resamples=500), tmp_path / "new")
    assert [file.name for file in files] == [
        *("comparison.json", "comparison.csv", "comparison.md", "comparison.png")
    ]
    with Image.open(files[-1]) as picture:
        assert min(picture.size) > 400
    assert files[-1].stat().st_size < 300_000


def test_the_picture_has_a_panel_a_pair_and_says_which_side_is_whose():
    runs = study(np.random.default_rng(0), n_patients=8, n_runs=3)
    figure = differences_figure(compare_scores(runs, n_resamples=100))
    sides = [(axes.get_title("left"), axes.get_title("right")) for axes in figure.axes]
    assert sides[0] == ("← better: run1", "better: run0 →")
    assert len(sides) == 3
    distances = differences_figure(compare_scores(runs, "hd95_mm", n_resamples=100))
    assert distances.axes[0].get_title("right") == "better: run1 →"


def test_the_picture_tells_who_is_better_by_shape_as_well_as_colour():
    n = 8
    a = [*run(*[0.9] * n), *run(*[0.5] * n, organ="liver"), *run(*spread(0.5, n), organ="spleen")]
    b = [*run(*[0.8] * n), *run(*[0.6] * n, organ="liver")]
    b += run(*reversed(spread(0.5, n)), organ="spleen")
    (axes,) = differences_figure(compared(a, b)).axes
    means = [line for line in axes.lines if line.get_markersize() == 8]
    looks = [(line.get_marker(), line.get_markerfacecolor()) for line in means]
    assert looks[:3] == [("o", "#0072B2"), ("s", "#D55E00"), ("o", "white")]
