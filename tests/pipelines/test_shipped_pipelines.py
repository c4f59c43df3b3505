"""The pipelines that are shipped: what they run is there, and says what the sources say."""

from functools import cache

import pytest

from medseg.pipeline import parts, read_pipeline
from medseg.resources import names, shipped

# As the sources give them.
SOURCES = {
    "cells_unets": {
        "U-Net": {"dice": 0.9295, "iou": 0.8684, "train_loss": 0.0642, "validation_loss": 0.1059},
        "PotiNet": {"dice": 0.9008, "iou": 0.8213, "train_loss": 0.0750, "validation_loss": 0.2119},
        "XopiNet": {"dice": 0.8977, "iou": 0.8153, "train_loss": 0.0618, "validation_loss": 0.1022},
    },
    "lgg_unext_settings": {
        "UNeXt": {"iou": 0.7553, "dice": 0.8546},
        "UNeXt, rate 0.01": {"iou": 0.3714, "dice": 0.4879},
        "UNeXt, batch 16": {"iou": 0.7404, "dice": 0.8477},
    },
    "uwmgi_segformer": {
        "SegFormer": {
            "train_loss": 0.20646,
            "validation_loss": 0.31851,
            "train_dice": 0.93363,
            "dice": 0.93786,
        }
    },
}


def test_the_example_of_the_readme_is_a_pipeline(repository, tmp_path):
    text = (repository / "pipelines" / "README.md").read_text()
    file = tmp_path / "example.yaml"
    file.write_text(text.split("```yaml\n")[1].split("```")[0])
    example = read_pipeline(file)
    told = {key for key in type(example).model_fields if key in file.read_text()}
    assert told == set(type(example).model_fields)
    assert len(parts(example, file, demo=True)) == 2


def test_the_five_experiments_are_shipped():
    assert names("pipelines") == [
        *("cells_unets", "crossval", "lgg_unext_settings", "uwmgi_networks", "uwmgi_segformer")
    ]


@pytest.mark.parametrize("name", names("pipelines"))
def test_figures_of_the_source_are_the_sources(name):
    pipeline = read_pipeline(shipped("pipelines", name))
    given = {
        run.name: {
            key: value for key, value in run.source.model_dump().items() if value is not None
        }
        for run in pipeline.runs
    }
    assert {run: figures for run, figures in given.items() if figures} == SOURCES.get(name, {})
    assert bool(pipeline.source.citation) == (name in SOURCES)


@pytest.mark.parametrize("demo", [pytest.param(False, id="whole"), pytest.param(True, id="demo")])
@pytest.mark.parametrize("name", names("pipelines"))
def test_what_a_pipeline_runs_is_there(name, demo):
    pipeline = read_pipeline(shipped("pipelines", name))
    assert len(configs(name, demo=demo)) == len(pipeline.runs)


@cache
def configs(name, *, demo=False):
    """Return the configuration of each run of a pipeline, by its name."""
    path = shipped("pipelines", name)
    return {p.entry.name: p.config for p in parts(read_pipeline(path), path, demo=demo)}


def test_networks_are_compared_under_one_budget():
    pipeline = read_pipeline(shipped("pipelines", "uwmgi_networks"))
    bundles = {run.bundle for run in pipeline.runs}
    assert bundles == {bundle for bundle in names("bundles") if bundle.startswith("uwmgi_")}
    assert pipeline.costs
    for demo in (False, True):
        found = configs("uwmgi_networks", demo=demo).values()
        budgets = {(c["epochs"], c["epoch_length"], c["batch_size"], c["folds"]) for c in found}
        assert len(budgets) == 1


def test_the_settings_of_unext_differ_in_one_value_each():
    first = configs("lgg_unext_settings")["UNeXt"]
    assert (first["epochs"], first["batch_size"], first["optimizer"]["lr"]) == (20, 8, 1e-4)
    assert first["optimizer"]["_target_"] == "torch.optim.Adam"
    assert first["loss"]["_target_"] == "medseg.losses.dice_bce"
    fast = configs("lgg_unext_settings")["UNeXt, rate 0.01"]
    assert fast["optimizer"]["lr"] == 0.01
    large = configs("lgg_unext_settings")["UNeXt, batch 16"]
    assert large["batch_size"] == 16
    for each in (first, fast, large):
        schedule = each["lr_scheduler"]["lr_lambda"]
        assert schedule["_target_"] == "medseg.engine.warmup_cosine"
        assert schedule["warmup"] == 0
        assert schedule["minimum"] * each["optimizer"]["lr"] == pytest.approx(1e-5)


def test_the_cells_are_trained_as_the_source_did():
    pipeline = read_pipeline(shipped("pipelines", "cells_unets"))
    assert pipeline.seeds == [0, 1, 2, 3, 4]
    for run in ("U-Net", "PotiNet", "XopiNet"):
        found = configs("cells_unets")[run]
        assert found["batch_size"] == 1
        assert found["optimizer"]["_target_"] == "torch.optim.Adam"
        assert found["loss"]["_target_"].startswith("medseg.losses.dice")


def test_segformer_is_trained_for_its_hundred_epochs():
    found = configs("uwmgi_segformer")["SegFormer"]
    assert (found["epochs"], found["batch_size"], found["optimizer"]["lr"]) == (100, 8, 3e-4)
    assert found["roi_px"] == [288, 288]
    assert found["patience"] >= found["epochs"]


def test_cross_validation_holds_everyone_out_once_and_keeps_a_group_for_the_vote():
    pipeline = read_pipeline(shipped("pipelines", "crossval"))
    assert pipeline.folds == "all"
    assert pipeline.ensemble
    assert len(pipeline.runs) == 1
