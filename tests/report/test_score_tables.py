"""Tables of scores: every mean beside its n, the worst scans by name, the same in every form."""

import math

import pytest
from rich.console import Console

from medseg.cli.score_tables import print_scores
from medseg.data.manifest import read_manifest
from medseg.errors import Problem
from medseg.metrics.scores import METRICS, OrganScore
from medseg.metrics.summary import summarise
from medseg.report.score_tables import aligned, legend, markdown, tables, worst_lines

NAN, INF = math.nan, math.inf
LABELS = read_manifest("uwmgi").labels


def row(scan_id, status, dice=0.0, hd95_mm=INF, organ="stomach"):
    names = [metric.name for metric in METRICS]
    numbers = {**dict.fromkeys(names, 0.5), "dice": dice, "hd95_mm": hd95_mm}
    return OrganScore(
        scan_id,
        organ,
        status,
        **numbers,
        volume_pred_ml=1.0,
        volume_ref_ml=float(status in ("ok", "missed")),
        tolerance_mm=2.5,
        diagonal_mm=500.0,
    )


SCORES = [
    row("case1_day0", "ok", 0.9, 4.0),
    row("case2_day0", "ok", 0.6, 8.26),
    row("case3_day0", "missed"),
    row("case4_day0", "false_positive"),
    row("case1_day0", "ok", 0.7, 4.0, organ="large_bowel"),
    row("case2_day0", "both_empty", NAN, NAN, organ="large_bowel"),
]
SUMMARY = summarise(SCORES)


def test_both_tables_say_how_many_scans_stand_behind_a_number():
    counts, means = tables(SUMMARY)
    assert counts.header[1:5] == ("found", "missed", "false positive", "neither")
    assert counts.rows == (
        ("stomach", "2", "1", "1", "0", "0.667", "0.000"),
        ("large_bowel", "1", "0", "0", "1", "1.000", "1.000"),
    )
    assert means.header == (
        *("", "over", "n", "Dice", "Surface Dice"),
        *("HD95 mm", "ASSD mm", "Volume error ml"),
    )
    assert means.rows[:2] == (
        ("stomach", "found", "2", "0.750", "0.500", "6.13", "0.50", "0.50"),
        ("stomach", "all", "4", "0.375", "0.500", "253.06", "0.50", "0.50"),
    )


def test_columns_line_up():
    lines = aligned(tables(SUMMARY)[1]).splitlines()
    assert len({len(line) for line in lines}) == 1
    ends = {line.index("0.500") for line in lines[1:]}
    assert len(ends) == 1


def test_the_three_worst_scans_of_each_organ_are_named():
    assert worst_lines(SCORES) == {
        "stomach": "case3_day0 missed, case4_day0 false positive, case2_day0 0.600 (8.3 mm)",
        "large_bowel": "case1_day0 0.700 (4.0 mm)",
    }
    assert worst_lines(SCORES[-1:]) == {}


def test_the_legend_tells_the_tolerance():
    assert "within 2.5 mm" in legend(SCORES)[-1]
    assert not any("mm" in line for line in legend([]))


def test_markdown_has_the_same_tables_with_legend_worst_scans_and_problems():
    text = markdown(SCORES, SUMMARY, [Problem("W-MISSING", "case3_day0", "a | b", level="warning")])
    assert text.startswith("# Scores of 4 scans\n")
    for table in tables(SUMMARY):
        for cells in (table.header, *table.rows):
            assert f"\n| {' | '.join(cells)} |\n" in text
        bars = [line.count("|") for line in text.splitlines() if line.startswith("|")]
        assert set(bars) == {8, 9}
    assert all(f"\n- {line}\n" in text for line in legend(SCORES))
    assert "- stomach: case3_day0 missed, case4_day0" in text
    assert "warning[W-MISSING]: case3_day0" in text


def test_markdown_of_good_scores_has_no_problems():
    assert "Problems" not in markdown(SCORES, SUMMARY)


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_every_number_within_its_width(width):
    console = Console(width=width, force_terminal=True, color_system="truecolor", record=True)
    with console.capture() as captured:
        print_scores(console, SCORES, SUMMARY, LABELS)
    plain = Console(width=width, force_terminal=False, color_system=None)
    with plain.capture() as shown:
        print_scores(plain, SCORES, SUMMARY, LABELS)
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= width
    words = [line.split() for line in lines]
    counts, means = tables(SUMMARY)
    assert all(list(cells) in words for cells in counts.rows)
    assert all(list(cells[1:]) in [row[-len(cells) + 1 :] for row in words] for cells in means.rows)
    assert "Worst scans" in shown.get()
    stomach = next(organ for organ in LABELS.organs if organ.name == "stomach")
    assert "38;2;{};{};{}".format(*stomach.colour) in captured.get()


def test_a_scan_that_was_missed_stands_out():
    console = Console(width=120, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        print_scores(console, SCORES, SUMMARY, LABELS)
    red = [line for line in captured.get().splitlines() if "\x1b[1;31m" in line]
    assert len(red) == 1
    assert "stomach" in red[0]
    assert [part.split("\x1b")[0].strip() for part in red[0].split("\x1b[1;31m")[1:]] == ["1", "1"]
