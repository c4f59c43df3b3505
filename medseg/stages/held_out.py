"""Held out: predictions of the scans that a run has neither trained nor validated on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from medseg.bundle import Config
from medseg.data import label_set
from medseg.data.label_files import read_reference
from medseg.data.sources import Item, Role, items
from medseg.engine.provenance import sha256_of
from medseg.metrics.calibration import Calibration, count_by_probability
from medseg.runs import Run, inference_of
from medseg.stages.cleaning_effect import EFFECT, ScanEffect, effects, scan_effect
from medseg.stages.display import Display
from medseg.stages.predict import predict_items

_MADE_WITH = "predictions/made_with.json"


def held_out(run: Run) -> list[Item]:
    """Return the items of the test side of the run's fold, without their labels."""
    return side_of(run, "test")


def side_of(run: Run, role: Role) -> list[Item]:
    """Return the items of one side of the run's fold, without their labels."""
    labelled = items(
        run.config["dataset_dir"],
        manifest=run.config["manifest"],
        role=role,
        fold=run.config["fold"],
        split_file=run.splits,
    )
    return [{key: item[key] for key in item if key != "label"} for item in labelled]


def predict_held_out(run: Run, display: Display) -> list[Path]:
    """Predict the scans that `held_out` names into ``predictions/``; return the label maps.

    Predictions of an earlier checkpoint are removed first, and made again. Leaves
    ``calibration.json``: no probability is kept, their counts by organ are; and where rules are
    used ``cleaning_effect.json``, what they do to these scans.
    """
    if run.predictions.exists():
        shutil.rmtree(run.predictions)
    (run.folder / EFFECT).unlink(missing_ok=True)
    chosen, config = held_out(run), _config(run)
    labels = label_set(run.config["manifest"])
    scans = {item["scan_id"]: item["image"] for item in chosen}
    counts = dict.fromkeys(labels.names, Calibration())
    counted: list[str] = []
    cleaned: list[ScanEffect] = []

    def count(item: Item) -> Item:
        if item["probs"] is not None:
            truth = read_reference(scans[item["scan_id"]], labels)
            for name, probs, mask in zip(labels.names, item["probs"], truth.masks, strict=True):
                counts[name] = counts[name].plus(count_by_probability(np.asarray(probs), mask))
            counted.append(item["scan_id"])
            if config.get("cleaning"):
                given = {"truth": truth.masks, "label_mode": config["label_mode"]}
                pred, probs = item["pred"], item["probs"]
                cleaned.append(scan_effect(item["case_id"], pred, probs, **given))
        return {**item, "probs": None}

    written = predict_items(config, chosen, display, seen=count)
    run.write(_MADE_WITH, _made_with(run))
    if cleaned:
        run.write(EFFECT, effects(cleaned, labels.names))
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
    """Whether ``predictions/`` holds what the run's present checkpoint and rules predict."""
    made_with = run.read(_MADE_WITH)
    return made_with is not None and {"cleaning": {}, **made_with} == _made_with(run)


def _made_with(run: Run) -> dict[str, Any]:
    rules = inference_of(run).get("cleaning", {})
    return {"checkpoint_sha256": sha256_of(run.checkpoint), "cleaning": rules}
