"""What a comparison may be asked for, what it refuses, and what it leaves."""

import json

import pytest
from mlflow import MlflowClient
from scored_runs import held_out_scores, run, splits_of, write_run

from medseg.engine.tracking import Tracker, default_uri
from medseg.errors import DataError, UsageError
from medseg.report.scores import write_csv
from medseg.stages.compare import compare
from medseg.stages.contenders import find_contenders

GROUPS = splits_of(("case1", "case2"), ("case3", "case4"), ("case5", "case6"))


def scans(contender):
    return sorted(score.scan_id for score in contender.scores)


def experiment(output, name, *, value, splits=GROUPS, folds=(0, 1, 2), **more):
    """Write a finished run a fold; return the experiment's folder."""
    for fold in folds:
        folder = output / name / f"20260101-00000{fold}-fold{fold}"
        write_run(folder, held_out_scores(splits, fold, value), splits=splits, fold=fold, **more)
    return output / name


def codes(compared):
    return [problem.code for problem in compared.comparison.problems]


def test_two_runs_of_one_fold_are_called_by_their_experiments(tmp_path):
    runs = [experiment(tmp_path, name, value=v, folds=[1]) for name, v in (("a", 0.8), ("b", 0.7))]
    done = compare([folder / "20260101-000001-fold1" for folder in runs], out=tmp_path / "out")
    assert done.comparison.runs == ("a", "b")
    assert (done.comparison.n_scans, done.comparison.problems) == (2, ())
    assert {file.name for file in done.files} >= {
        *("comparison.json", "comparison.csv", "comparison.md", "comparison.png"),
        "comparison.html",
    }
    assert all(file.parent == tmp_path / "out" for file in done.files)


def test_an_experiment_is_the_folds_of_its_newest_model_together(tmp_path):
    a, b = experiment(tmp_path, "a", value=0.8), experiment(tmp_path, "b", value=0.7)
    done = compare([a, b])
    assert done.comparison.n_scans == 6
    assert done.comparison.n_patients == 6
    assert done.files[0].parent.parent == tmp_path / "comparisons"


def test_of_one_fold_twice_the_newer_run_counts(tmp_path):
    folder = experiment(tmp_path, "a", value=0.8)
    again = folder / "20260202-000000-fold1"
    write_run(again, held_out_scores(GROUPS, 1, 0.9), splits=GROUPS, fold=1)
    write_run(folder / "20260303-000000-fold1", [], splits=GROUPS, fold=1)
    (folder / "20260303-000000-fold1" / "metrics.csv").unlink()  # not finished yet
    (contender,) = find_contenders([folder]).values()
    assert [r.name for r in contender.runs] == [
        *("20260101-000000-fold0", "20260202-000000-fold1", "20260101-000002-fold2")
    ]
    assert contender.problems == ()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"epochs": 9}, id="other settings"),
        pytest.param(
            {"splits": splits_of(("case1",), ("case2", "case3"), ("case4", "case5", "case6"))},
            id="another split",
        ),
    ],
)
def test_folds_of_another_model_are_left_out_by_name(tmp_path, change):
    folder = experiment(tmp_path, "a", value=0.8, folds=[0, 1])
    newest = {"splits": GROUPS, "fold": 2} | change
    write_run(folder / "20260202-000000-fold2", held_out_scores(newest["splits"], 2, 0.9), **newest)
    (contender,) = find_contenders([folder]).values()
    assert [r.name for r in contender.runs] == ["20260202-000000-fold2"]
    (problem,) = contender.problems
    assert problem.code == "W-RUN"
    assert "20260101-000000-fold0, 20260101-000001-fold1" in problem.found


@pytest.mark.parametrize(
    "asked", [pytest.param("x-folds", id="parent"), pytest.param("", id="all")]
)
def test_folds_below_one_parent_are_one_model(tmp_path, asked):
    folder = experiment(tmp_path, "a", value=0.8, parent="x-folds")
    write_run(folder / "20250101-000000-fold0", held_out_scores(GROUPS, 0, 0.1), splits=GROUPS)
    (folder / "x-folds").mkdir()
    write_csv(folder / "x-folds" / "metrics.csv", [])
    (contender,) = find_contenders([folder / asked]).values()
    assert [r.name[:8] for r in contender.runs] == ["20260101"] * 3
    assert len(scans(contender)) == 6
    assert contender.problems == ()


def test_a_file_of_scores_and_a_folder_that_evaluate_wrote_can_be_compared(tmp_path):
    write_csv(tmp_path / "ours.csv", run(0.9, 0.8))
    write_csv(tmp_path / "theirs" / "scores.csv", run(0.7, 0.8))
    done = compare([tmp_path / "ours.csv", tmp_path / "theirs"], out=tmp_path / "out")
    assert done.comparison.runs == ("ours", "theirs")
    assert codes(done) == ["W-SPLITS", "W-SPLITS"]


def test_names_grow_until_they_tell_the_runs_apart(tmp_path):
    for folder in ("x/one", "y/one"):
        write_csv(tmp_path / folder / "metrics.csv", run(0.9, 0.8))
    assert list(find_contenders([tmp_path / "x/one", tmp_path / "y/one"])) == ["x/one", "y/one"]
    folder = experiment(tmp_path, "a", value=0.8)
    runs = [folder / "20260101-000000-fold0", folder / "20260101-000001-fold1"]
    assert list(find_contenders(runs)) == ["a/20260101-000000-fold0", "a/20260101-000001-fold1"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        pytest.param("a", "a", "a: is compared with itself", id="an experiment twice"),
        pytest.param(
            "a", "a/20260101-000001-fold1", "fold1: is in both|a: is in both", id="a part of it"
        ),
        pytest.param("a", "empty", "empty: holds no finished run", id="no run"),
        pytest.param("a", "a/unfinished", "has no metrics.csv", id="a run without scores"),
    ],
)
def test_what_is_no_run_of_its_own_is_refused(tmp_path, first, second, message):
    experiment(tmp_path, "a", value=0.8)
    (tmp_path / "empty").mkdir()
    (write_run(tmp_path / "a" / "unfinished", []) / "metrics.csv").unlink()
    with pytest.raises(UsageError, match=message):
        compare([tmp_path / first, tmp_path / second])


def test_scans_that_a_run_learned_from_are_refused(tmp_path):
    a = experiment(tmp_path, "a", value=0.8, folds=[0])
    for seen in (1, 2):  # the validation side chose the checkpoint
        scores = [*held_out_scores(GROUPS, 0, 0.9), *held_out_scores(GROUPS, seen, 0.9)]
        b = write_run(tmp_path / f"b{seen}" / "run", scores, splits=GROUPS)
        with pytest.raises(DataError, match=r"b\d: has scores of 2 scans that it learned from: "):
            compare([a, b], out=tmp_path / "out")


def test_scans_that_the_other_learned_from_are_left_out_by_name(tmp_path):
    others = splits_of(("case1", "case3"), ("case2", "case4"), ("case5", "case6"))
    a = experiment(tmp_path, "a", value=0.8, folds=[0])
    b = experiment(tmp_path, "b", value=0.7, splits=others, folds=[0])
    done = compare([a, b], out=tmp_path / "out")
    assert done.comparison.n_scans == 1
    told = [str(problem) for problem in done.comparison.problems]
    leak = "tested on 1 scan that {} learned from, left out: {}_day0"
    assert any(leak.format("b", "case2") in line for line in told)
    assert any(leak.format("a", "case3") in line for line in told)
    assert any("a and b: the splits differ" in line for line in told)


def test_the_same_name_for_another_scan_is_refused(tmp_path):
    others = splits_of(*GROUPS.groups, salt="another scanner")
    a = experiment(tmp_path, "a", value=0.8, folds=[0])
    b = experiment(tmp_path, "b", value=0.7, splits=others, folds=[0])
    with pytest.raises(DataError, match=r"b: other slices than in a .*: case1_day0, case2_day0"):
        compare([a, b], out=tmp_path / "out")


def test_no_common_scan_is_refused(tmp_path):
    folder = experiment(tmp_path, "a", value=0.8)
    runs = [folder / "20260101-000000-fold0", folder / "20260101-000001-fold1"]
    with pytest.raises(DataError, match="no scan is in all of them"):
        compare(runs, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def pair(tmp_path):
    return [experiment(tmp_path, name, value=value) for name, value in (("a", 0.8), ("b", 0.7))]


def test_the_store_of_the_runs_keeps_the_files_and_whose_they_are(tmp_path):
    uri = default_uri(tmp_path)
    with Tracker(uri, experiment="a", run_name="r", output=tmp_path, params={}, tags={}):
        pass
    done = compare(pair(tmp_path))
    client = MlflowClient(uri)
    (kept,) = client.search_runs([client.get_experiment_by_name("comparisons").experiment_id])
    assert {file.path for file in client.list_artifacts(kept.info.run_id)} == {
        file.name for file in done.files
    }
    assert kept.info.status == "FINISHED"
    assert kept.data.params["metric"] == "dice"
    of_a = [f"id-of-20260101-00000{fold}-fold{fold}" for fold in range(3)]
    assert json.loads(kept.data.tags["medseg.compared"])["a"] == of_a
    compare([tmp_path / "a", tmp_path / "b"], tracking=False)
    assert len(client.search_runs([kept.info.experiment_id])) == 1


def test_no_store_is_made_where_there_is_none(tmp_path):
    compare(pair(tmp_path))
    assert not (tmp_path / "mlflow.db").exists()


def test_a_broken_store_does_not_fail_the_comparison(tmp_path, caplog):
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 100)
    done = compare(pair(tmp_path))
    assert all(file.exists() for file in done.files)
    assert "W-TRACKING" in caplog.text


def test_json_tells_what_was_compared(tmp_path):
    done = compare(pair(tmp_path), metric="hd95_mm", seed=3)
    told = json.loads(done.files[0].read_text())
    assert told["runs"] == ["a", "b"]
    assert (told["metric"]["name"], told["seed"]) == ("hd95_mm", 3)
    assert [organ["organ"] for organ in told["organs"]] == ["stomach"]
