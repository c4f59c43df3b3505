"""Held out: predictions of the scans that a run has neither trained nor validated on."""

import shutil
from pathlib import Path

from medseg.data.sources import Item, items
from medseg.engine.provenance import sha256_of
from medseg.runs import Run, inference_of
from medseg.stages.display import Display
from medseg.stages.predict import predict_items

_MADE_WITH = "predictions/made_with.json"


def held_out(run: Run) -> list[Item]:
    """Return the items of the test side of the run's fold, without their labels."""
    labelled = items(
        run.config["dataset_dir"],
        manifest=run.config["manifest"],
        role="test",
        fold=run.config["fold"],
        split_file=run.splits,
    )
    return [{key: item[key] for key in item if key != "label"} for item in labelled]


def predict_held_out(run: Run, display: Display) -> list[Path]:
    """Predict the scans that `held_out` names into ``predictions/``; return the label maps.

    Predictions of an earlier checkpoint are removed first, and made again.
    """
    if run.predictions.exists():
        shutil.rmtree(run.predictions)
    config = {
        **inference_of(run),
        "device": run.config["device"],
        "output_dir": str(run.predictions),
    }
    written = predict_items(config, held_out(run), display)
    run.write(_MADE_WITH, {"checkpoint_sha256": sha256_of(run.checkpoint)})
    return written


def predicted(run: Run) -> bool:
    """Whether ``predictions/`` holds what the run's present checkpoint predicts."""
    made_with = run.read(_MADE_WITH)
    return made_with is not None and made_with["checkpoint_sha256"] == sha256_of(run.checkpoint)
