"""``medseg compare`` as a user types it."""

import json

import pytest
from scored_runs import run, write_run

from medseg.cli import main
from medseg.cli.compare import compare
from medseg.metrics.scores import METRICS
from medseg.report.scores import write_csv


@pytest.fixture
def runs(tmp_path):
    """Two runs' folders, of ten scans each."""
    values = [0.6 + 0.02 * n for n in range(10)]
    write_run(tmp_path / "runs" / "segformer" / "r", run(*[v + 0.05 for v in values]))
    write_run(tmp_path / "runs" / "unet" / "r", run(*values))
    return [str(tmp_path / "runs" / name) for name in ("segformer", "unet")]


def test_tables_and_sentences_are_printed_and_files_written(runs, tmp_path, capsys):
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "10 scans that all runs share, of 10 patients" in printed.out
    assert "segformer is better than unet on stomach: 0.050 more Dice" in printed.out
    assert "exact. Holm p: corrected for 1 test." in " ".join(printed.out.split())
    assert f"written: {tmp_path / 'out' / 'comparison.json'}" in printed.out
    assert "warning[W-SPLITS]: unet: does not tell what was trained on" in printed.err
    assert (tmp_path / "out" / "comparison.md").exists()


def test_by_default_the_files_go_beside_the_experiments(runs, tmp_path, capsys):
    assert main(["compare", *runs, "-q"]) == 0
    (folder,) = (tmp_path / "runs" / "comparisons").iterdir()
    assert (folder / "comparison.png").exists()
    assert "written" not in capsys.readouterr().out


def test_json_is_one_object(runs, tmp_path, capsys):
    words = ["compare", *runs, "--json", "--metric", "hd95_mm", "--seed", "5"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["metric"]["name"], told["seed"], told["runs"]) == (
        "hd95_mm",
        5,
        ["segformer", "unet"],
    )
    assert told["organs"][0]["differences"][0]["better"] == "segformer"
    assert {problem["code"] for problem in told["problems"]} == {"W-SPLITS"}
    assert str(tmp_path / "out" / "comparison.json") in told["files"]


def test_scores_that_share_no_scan_end_with_code_3(runs, tmp_path, capsys):
    write_csv(tmp_path / "other.csv", [s._replace(scan_id="x_day0") for s in run(0.5)])
    assert main(["compare", runs[0], str(tmp_path / "other.csv")]) == 3
    assert (
        "error[E-PAIRS]: segformer and other: no scan is in all of them" in capsys.readouterr().err
    )


def test_one_run_or_the_same_twice_is_a_usage_error(runs, capsys):
    assert main(["compare", runs[0]]) == 2
    assert "it takes two runs" in capsys.readouterr().err
    assert main(["compare", runs[0], runs[0]]) == 2
    assert "compared with itself" in capsys.readouterr().err


def test_every_metric_may_be_asked_for():
    (choice,) = (p.type for p in compare.params if p.name == "metric")
    assert list(choice.choices) == [metric.name for metric in METRICS]
