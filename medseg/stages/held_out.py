"""Held out: predictions of the scans that a run has neither trained nor validated on."""

import shutil
from pathlib import Path

import numpy as np

from medseg.bundle import Config
from medseg.data import label_set
from medseg.data.label_files import read_reference
from medseg.data.sources import Item, items
from medseg.engine.provenance import sha256_of
from medseg.metrics.calibration import Calibration, count_by_probability
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

    Predictions of an earlier checkpoint are removed first, and made again. Leaves
    ``calibration.json``: no probability is kept, their counts by organ are.
    """
    if run.predictions.exists():
        shutil.rmtree(run.predictions)
    chosen = held_out(run)
    labels = label_set(run.config["manifest"])
    scans = {item["scan_id"]: item["image"] for item in chosen}
    counts = dict.fromkeys(labels.names, Calibration())
    counted = []

    def count(item: Item) -> Item:
        if item["probs"] is not None:
            truth = read_reference(scans[item["scan_id"]], labels)
            for name, probs, mask in zip(labels.names, item["probs"], truth.masks, strict=True):
                counts[name] = counts[name].plus(count_by_probability(np.asarray(probs), mask))
            counted.append(item["scan_id"])
        return {**item, "probs": None}

    written = predict_items(_config(run), chosen, display, seen=count)
    run.write(_MADE_WITH, {"checkpoint_sha256": sha256_of(run.checkpoint)})
    told = {name: of_organ._asdict() for name, of_organ in counts.items()}
    run.write("calibration.json", {"scans": counted, "organs": told})
    return written


def _config(run: Run) -> Config:
    """Return the run's inference configuration, with probabilities where its inferer gives them."""
    config = inference_of(run)
    if "probabilities" in config["inferer"]:
        config["inferer"] = {**config["inferer"], "probabilities": True}
    return {**config, "device": run.config["device"], "output_dir": str(run.predictions)}


def predicted(run: Run) -> bool:
    """Whether ``predictions/`` holds what the run's present checkpoint predicts."""
    made_with = run.read(_MADE_WITH)
    return made_with is not None and made_with["checkpoint_sha256"] == sha256_of(run.checkpoint)
