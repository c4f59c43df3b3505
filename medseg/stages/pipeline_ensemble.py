"""Ensemble: the networks of all folds vote on patients that none of them has seen."""

import json
from collections.abc import Sequence
from pathlib import Path

from medseg.bundle import Config
from medseg.data import read_manifest
from medseg.data.sources import item_of
from medseg.engine.provenance import sha256_of
from medseg.io.atomic import replacing
from medseg.metrics.comparison import compare_scores
from medseg.metrics.repeats import averaged
from medseg.metrics.scores import OrganScore
from medseg.report.pipeline_results import Vote
from medseg.report.scores import read_csv, write_csv
from medseg.runs import Run, inference_of
from medseg.scan import Scan
from medseg.stages.display import Display
from medseg.stages.evaluate import evaluate
from medseg.stages.predict import predict_items

_MADE_WITH = "made_with.json"


def vote(
    name: str, runs: Sequence[Run], scans: Sequence[Scan], display: Display, *, folder: Path
) -> Vote:
    """Return how the vote compares with the networks that vote, these averaged.

    Args:
        name: Whose networks they are.
        runs: One a fold, of one seed.
        scans: Held out of all folds.
        display: Where to show progress.
        folder: Where predictions and scores go; those of the same weights are kept.
    """
    members = [_scored([run], scans, folder / run.name, display) for run in runs]
    together = _scored(runs, scans, folder / "ensemble", display)
    compared = compare_scores({"ensemble": together, "one network": averaged(members)})
    return Vote(name, len(runs), len({scan.case_id for scan in scans}), compared)


def _scored(
    runs: Sequence[Run], scans: Sequence[Scan], folder: Path, display: Display
) -> list[OrganScore]:
    """Return the scores of what some networks together say of the scans."""
    made_with = {run.name: sha256_of(run.checkpoint) for run in runs}
    known, scored = folder / _MADE_WITH, folder / "metrics.csv"
    if known.exists() and json.loads(known.read_text()) == made_with:
        return read_csv(scored)
    config = _config(runs, folder / "predictions")
    items = [{k: v for k, v in item_of(scan).items() if k != "label"} for scan in scans]
    predict_items(config, items, display)
    data, manifest = Path(runs[0].config["dataset_dir"]), read_manifest(config["manifest"])
    scan_ids = {scan.scan_id for scan in scans}
    done = evaluate(folder / "predictions", data, manifest, scan_ids=scan_ids)
    write_csv(scored, done.scores)
    with replacing(known) as stream:
        stream.write(json.dumps(made_with).encode())
    return list(done.scores)


def _config(runs: Sequence[Run], out: Path) -> Config:
    """Return the inference configuration of the first run, with the networks of all of them."""
    config = inference_of(runs[0])
    network = {
        "_target_": "medseg.engine.Ensemble",
        "networks": [config["network_def"] for _ in runs],
        "weights": [str(run.checkpoint) for run in runs],
    }
    out.mkdir(parents=True, exist_ok=True)
    changed = {"network_def": network, "initialize": [], "output_dir": str(out)}
    # Rules were chosen for one network, not for a vote; members are compared with it as they are.
    return {**config, **changed, "cleaning": {}, "device": runs[0].config["device"]}
