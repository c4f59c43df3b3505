"""What a pipeline tells of itself: source beside ours, both ways of counting, gaps, one file."""

import csv
import io
import json

import pytest
from pipeline_results import SLICES, entry, results_of, scores_of, vote
from reported_run import Page

from medseg.report.pipeline_figure import outcome_figure
from medseg.report.pipeline_page import (
    outcome_markdown,
    outcome_page,
    outcome_text,
    save_outcome,
)
from medseg.report.pipeline_results import OneRun
from medseg.report.pipeline_tables import (
    beside_source,
    costs,
    organs,
    outcome,
    results_csv,
    runs_csv,
    runs_table,
    two_ways,
)
from medseg.report.pipeline_words import sentences, why_ways_differ


def rows(shown):
    header = shown.table.header
    return [dict(zip(header, row, strict=True)) for row in shown.table.rows]


def test_the_outcome_is_by_scan_with_an_interval_and_the_spread_of_seeds():
    first, second = rows(outcome(results_of()))
    # Eight patients from 0.9 downwards by 0.02, the second organ 0.1 below: 0.9 - 0.07 - 0.05.
    assert (first["all"], first["found"]) == ("0.780", "0.780")
    low, high = (float(end) for end in first["95 % interval"].split(" to "))
    assert low < 0.78 < high
    assert first["over seeds ±"] == "0.007"  # of 0.90 and 0.91
    assert (first["runs"], first["scans"], first["patients"]) == ("2 of 2", "16", "8")
    assert second[""] == "ViT <b>"


def test_the_source_stands_beside_ours_in_both_ways():
    found = rows(beside_source(results_of()))
    assert [row["figure"] for row in found] == ["Dice", "IoU", "loss, training"]
    dice, iou, loss = found
    assert (dice["source"], dice["ours, slice by slice"]) == ("0.93786", "1.0000 ± 0.0000")
    assert (iou["source"], loss["source"]) == ("0.8684", "0.0642")
    assert dice["ours, by scan"].startswith("0.780 (")
    assert iou["ours, by scan"].startswith("0.780 (")
    assert (loss["ours, slice by slice"], loss["ours, by scan"]) == ("0.2500 ± 0.0000", "-")


def test_a_figure_counted_by_batches_is_called_so():
    results = results_of(counted="batches")
    assert "ours, batch by batch" in beside_source(results).table.header
    assert "The source counts the pixels of a batch together" in why_ways_differ(results)[0]


def test_without_a_source_nobody_is_said_to_have_counted():
    assert why_ways_differ(results_of(citation=""))[0].startswith("Many count slice by slice")


def test_both_ways_of_counting_stand_side_by_side_and_words_say_why_they_differ():
    first = rows(two_ways(results_of()))[0]
    assert (first["slices"], first["empty"]) == ("200", "50")
    assert [first[name] for name in ("empty 1", "empty 0", "left out")] == [
        *("0.850", "0.600", "0.800")
    ]
    assert first["scans, all"] == "0.780"
    told = " ".join(why_ways_differ(results_of()))
    assert "empty slice that stays empty counts 1" in told
    assert "U-Net: 50 of 200 slices (25 %) are empty on both sides" in told
    assert "a mean Dice of 0.850; left out, the same slices give 0.800" in told


def test_without_empty_slices_nothing_is_said_to_be_lifted():
    full = [SLICES[0]._replace(n_empty=0)]
    told = why_ways_differ(results_of(entry("A", 0.9, slices=full), entry("B", 0.8, slices=full)))
    assert len(told) == 1


def test_organs_are_told_apart_and_a_single_one_is_not_told_twice():
    found = rows(organs(results_of()))
    assert [(row[""], row["run"]) for row in found] == [
        ("large bowel", "U-Net"),
        ("large bowel", "ViT <b>"),
        ("stomach", "U-Net"),
        ("stomach", "ViT <b>"),
    ]
    assert [row["all"] for row in found] == ["0.830", "0.530", "0.730", "0.430"]
    one = [row for row in scores_of(0.9) if row.organ == "stomach"]
    assert rows(organs(results_of(entry("A", 0.9, scores=one)))) == []


def test_costs_have_units_people_read():
    first = rows(costs(results_of()))[0]
    assert (first["parameters M"], first["MACs G"], first["MiB"]) == ("3.71", "0.07", "60")
    assert (first["images/s"], first["training images/s"]) == ("154.1", "18.5")
    assert first["minutes"] == "1.5"
    assert rows(costs(results_of(entry("A", 0.9, costs={})))) == []


@pytest.fixture
def gap():
    """One network of which a seed failed, and one of which nothing is left."""
    good = entry("U-Net", 0.9)
    half = good._replace(runs=[good.runs[0], OneRun(1, 0, "f", "error[E-NONFINITE]: diverged")])
    lost = [OneRun(0, 0, "g", "error[E-NONFINITE]: diverged")]
    none = entry("ViT", 0.1, runs=lost, scores=(), slices=(), costs={}, source={"dice": 0.9})
    return results_of(half, none)


def test_what_failed_is_a_gap_and_told_with_its_reason(gap):
    half, none = rows(outcome(gap))
    assert half["runs"] == "1 of 2"
    assert half["over seeds ±"] == "-"
    assert (none["runs"], none["all"], none["patients"]) == ("0 of 1", "-", "-")
    assert rows(beside_source(gap))[0]["ours, slice by slice"] == "-"
    assert rows(runs_table(gap))[-1]["folder"] == "failed: error[E-NONFINITE]: diverged"
    told = sentences(gap)
    assert told[0] == "U-Net: 1 of 2 runs failed. error[E-NONFINITE]: diverged"
    assert told[1] == "ViT: 1 of 1 run failed. error[E-NONFINITE]: diverged"
    page = Page(outcome_page(gap))
    assert page.faults == []
    assert "diverged" in page.sections["runs"]
    figure = outcome_figure(gap)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["U-Net", "ViT"]


def test_what_computed_patients_and_small_settings_cannot_say_is_said():
    assert any("patients are computed" in line for line in sentences(results_of()))
    assert any("Demo settings" in line for line in sentences(results_of()))
    real = sentences(results_of(phantom=False, small=False))
    assert not any("computed" in line or "Demo" in line for line in real)


def test_an_ensemble_is_compared_with_one_network():
    results = results_of(votes=[vote()])
    told = sentences(results)
    assert any("networks of 3 folds" in line and "8 patients" in line for line in told)
    assert any(line.startswith("ensemble is better than one network") for line in told)
    assert "U-Net: the vote of all folds" in outcome_text(results)
    page = Page(outcome_page(results))
    assert "one network" in page.sections["differences-2"]


def test_the_page_needs_nothing_but_itself_and_takes_names_for_text():
    page = Page(outcome_page(results_of()))
    assert page.faults == []
    assert "<b>" not in page.html.replace("ViT &lt;b&gt;", "")
    assert "0.93786" in page.sections["source"]
    assert "0.850" in page.sections["ways"]
    assert "Only the real data set can tell." in page.sections["source"]
    assert "left out" in page.sections["left-out"]


def test_text_and_markdown_tell_the_same_numbers():
    results = results_of()
    for told in (outcome_text(results), outcome_markdown(results)):
        for text in ("0.93786", "0.780", "154.1", "Somebody, somewhere", "Only the real"):
            assert text in told
    assert max(map(len, outcome_text(results).splitlines())) <= 120


def test_the_tables_of_numbers_are_read_by_a_program(tmp_path):
    results = results_of()
    first, second = csv.DictReader(io.StringIO(results_csv(results)))
    assert float(first["mean_all"]) == pytest.approx(0.78)
    assert (first["source_dice"], first["ours_train_loss"]) == ("0.93786", "0.25")
    assert (second["source_dice"], second["runs_done"], second["bundle"]) == ("", "2", "uwmgi_unet")
    runs = list(csv.DictReader(io.StringIO(runs_csv(results))))
    assert [(row["name"], row["seed"]) for row in runs] == [
        *(("U-Net", "0"), ("U-Net", "1"), ("ViT <b>", "0"), ("ViT <b>", "1"))
    ]
    files = save_outcome(results, tmp_path)
    assert {file.name for file in files} == {path.name for path in tmp_path.iterdir()}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["runs"][1]["source_dice"] is None
    assert summary["conclusions"] == sentences(results)
