"""Which trainings a pipeline asks for, when two are the same, and whom an ensemble may be asked."""

import json
from dataclasses import replace

import pytest
from scored_runs import splits_of

from medseg.bundle import find_bundle
from medseg.errors import DataError, UsageError
from medseg.pipeline import Entry, Part, Pipeline
from medseg.runs import Run
from medseg.scan import case_id_of
from medseg.stages.begin import Request
from medseg.stages.pipeline_attempts import Attempt
from medseg.stages.pipeline_measures import MEASURED
from medseg.stages.pipeline_outcome import by_seed
from medseg.stages.pipeline_split import keep_split, part_patients
from medseg.stages.pipeline_tasks import done, left, parent_of, runs_by_key, tasks_of

SPLITS = splits_of(["case1"], ["case2"], ["case3"])
BUNDLE = find_bundle("uwmgi_segformer")
CONFIG = {"epochs": 3, "device": "cpu", "dataset_dir": "/a", "store_dir": "/b", "folds": 6}


def part(name, *, folds=(0,), seeds=(0,)):
    entry = Entry(name=name, bundle="uwmgi_segformer")
    wanted = folds if folds == "all" else list(folds)
    return Part(entry, BUNDLE, {}, wanted, list(seeds), CONFIG)


def tasks(*parts, config=CONFIG, splits=SPLITS, **asked):
    return tasks_of(parts, [config] * len(parts), splits, **asked)


def test_every_entry_has_its_first_seed_before_any_has_the_second():
    found = tasks(part("U-Net", seeds=(3, 1), folds=(0, 2)), part("ViT", seeds=(3,)))
    assert [task.name for task in found] == [
        *("U_Net_seed3_fold0", "U_Net_seed3_fold2", "ViT_seed3_fold0"),
        *("U_Net_seed1_fold0", "U_Net_seed1_fold2"),
    ]
    assert {task.config["folds"] for task in found} == {3}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"seed": 7}, [(7, 0)], id="one seed in place of the file's"),
        pytest.param({"folds": [2, 1, 2]}, [(0, 2), (0, 1), (1, 2), (1, 1)], id="folds, each once"),
        pytest.param({"folds": "all", "seed": 0}, [(0, 0), (0, 1), (0, 2)], id="all folds"),
    ],
)
def test_the_command_line_wins_over_the_file(asked, expected):
    found = tasks(part("A", seeds=(0, 1)), **asked)
    assert [(task.config["seed"], task.config["fold"]) for task in found] == expected


def test_all_folds_are_as_many_as_there_are_groups():
    assert [task.config["fold"] for task in tasks(part("A", folds="all"))] == [0, 1, 2]


def test_a_fold_that_no_group_belongs_to_is_refused():
    with pytest.raises(UsageError, match=r"E-FOLD.*fold 3: does not exist \(expected 0-2\)"):
        tasks(part("A", folds=(0, 3)))


def test_a_fold_without_an_organ_is_told_before_any_training():
    facts = {
        scan_id: known.model_copy(
            update={"organ_slices": {"stomach": 3 * (scan_id[:5] == "case1")}}
        )
        for scan_id, known in SPLITS.scans.items()
    }
    with pytest.raises(DataError, match=r"E-SPLIT.*fold 0: no slice of the training side shows"):
        tasks(part("A", folds="all"), splits=replace(SPLITS, scans=facts))


def key(config=CONFIG, splits=SPLITS, **changes):
    (task,) = tasks(part("A", **changes), config=config, splits=splits)
    return task.key


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"config": {**CONFIG, "epochs": 4}}, id="a setting"),
        pytest.param({"config": {**CONFIG, "optimizer": {"lr": 1}}}, id="a setting more"),
        pytest.param({"folds": (1,)}, id="the fold"),
        pytest.param({"seeds": (1,)}, id="the seed"),
        pytest.param({"splits": splits_of(["case1", "case2"], ["case3"])}, id="the sides"),
        pytest.param(
            {"splits": splits_of(["case1"], ["case2"], ["case3"], salt="x")},
            id="the scans' content",
        ),
    ],
)
def test_what_decides_the_outcome_makes_another_task(changes):
    assert key() != key(**changes)


def test_where_things_lie_and_what_computes_makes_no_other_task():
    elsewhere = {"device": "cuda", "dataset_dir": "/c", "store_dir": "/d", "resume": True}
    assert key() == key(config={**CONFIG, **elsewhere})


@pytest.fixture
def parent(tmp_path):
    folder = tmp_path / "p_pipeline" / "20260101-000000-pipeline"
    folder.mkdir(parents=True)
    return Run(folder, {})


def begun_run(parent, name, *, key="k", study=None, config=True):
    run = Run(parent.folder.parent / name, {})
    run.write("task.json", {"key": key, "study": study or parent.name, "entry": "A"})
    if config:
        run.write("config.json", {})
    return run


def test_runs_are_known_by_their_key_below_their_own_parent(parent):
    begun_run(parent, "1", key="a")
    begun_run(parent, "2", key="b", study="another")
    begun_run(parent, "3", key="c", config=False)
    assert {k: run.name for k, run in runs_by_key(parent).items()} == {"a": "1"}


def test_a_trained_run_is_not_trained_again(parent):
    stages = ("prepare", "train", "predict", "evaluate")
    run = begun_run(parent, "1")
    assert tuple(left(run, stages)) == stages
    (run.folder / "weights.safetensors").touch()
    assert tuple(left(run, stages)) == ("predict", "evaluate")
    assert not done(run)
    run.write(MEASURED, {})
    assert done(run)


def pipeline(**changes):
    facts = {"title": "T", "about": "A", "real": "R", "data": "uwmgi"}
    return Pipeline(**facts, runs=[Entry(name="A", bundle="b")], **changes)


def test_a_pipeline_goes_on_below_its_newest_parent_unless_it_is_to_begin_anew(tmp_path):
    request = Request("", output=tmp_path, demo=True, resume=True)
    (task,) = tasks(part("A"))
    first = parent_of(tmp_path / "p.yaml", pipeline(), [task], request)
    assert first.experiment == "p_pipeline_demo"
    assert parent_of(tmp_path / "p.yaml", pipeline(), [task], request).folder == first.folder
    anew = replace(request, resume=False)
    assert parent_of(tmp_path / "p.yaml", pipeline(), [task], anew).folder != first.folder
    assert json.loads((first.folder / "pipeline.json").read_text())["title"] == "T"


def test_patients_outside_are_on_no_side_of_any_fold(tiny_phantom, parent):
    config = {"dataset_dir": str(tiny_phantom), "manifest": "uwmgi", "folds": 2}
    parted = part_patients(pipeline(ensemble=True), config)
    outside = set(parted.outside)
    assert len(parted.splits.groups) == 2
    assert len({case_id_of(scan_id) for scan_id in outside}) == 1
    sides = [side for fold in (0, 1) for side in parted.splits.fold(fold)]
    assert not outside & {scan_id for side in sides for scan_id in side}
    inside = {scan.scan_id for scan in parted.scans} - outside
    assert {scan_id for fold in (0, 1) for scan_id in parted.splits.fold(fold).test} == inside
    keep_split(parent, parted)
    assert json.loads(parent.splits.read_text())["groups"] == [*map(list, parted.whole.groups)]


def test_without_an_ensemble_every_patient_is_in_a_group(tiny_phantom):
    config = {"dataset_dir": str(tiny_phantom), "manifest": "uwmgi", "folds": 2}
    parted = part_patients(pipeline(), config)
    assert parted.outside == ()
    assert parted.splits == parted.whole


def attempts(*rows):
    """Return attempts of (seed, fold, whether it failed)."""
    fault = UsageError()
    made = [
        (tasks(part("A", seeds=(seed,), folds=(fold,)))[0], failed) for seed, fold, failed in rows
    ]
    return [Attempt(task, Run(None, {}), fault if failed else None) for task, failed in made]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([(0, 0, False), (1, 0, False)], {0: [0], 1: [0]}, id="two seeds"),
        pytest.param(
            [(0, 0, False), (0, 1, True), (1, 0, False), (1, 1, False)],
            {1: [0, 1]},
            id="a seed that lacks a fold is left out",
        ),
        pytest.param(
            [(0, 0, True), (0, 1, False), (0, 2, True)],
            {0: [1]},
            id="none is whole",
        ),
        pytest.param([(0, 0, True)], {}, id="all failed"),
    ],
)
def test_seeds_are_averaged_over_the_same_folds(rows, expected):
    found = by_seed(attempts(*rows))
    assert {s: [a.task.config["fold"] for a in them] for s, them in found.items()} == expected
