"""Score: the held-out predictions against the original labels, as tables, pictures and metrics."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data import read_manifest
from medseg.data.label_files import find_label_files, read_reference
from medseg.data.manifest import Manifest
from medseg.engine.tracking import Tracker
from medseg.metrics.overlap import Summary
from medseg.report.figures import overlay_per_organ, run_picture, save
from medseg.report.scores import as_plain, summary_text, write_csv
from medseg.scan import Scan
from medseg.stages.display import Display
from medseg.stages.evaluate import Evaluation, evaluate
from medseg.stages.predict import held_out, predict_held_out
from medseg.stages.runs import Run
from medseg.transforms import ReadVolumed


def score(run: Run, tracker: Tracker, display: Display) -> Evaluation:
    """Score the test side of the run's fold on the scans' own grids.

    Predicts what is not predicted yet. Leaves ``metrics.csv``, ``summary.json`` and ``overlays/``.
    """
    manifest = read_manifest(run.config["manifest"])
    scans = {item["scan_id"]: item["image"] for item in held_out(run)}
    if any(not (run.predictions / f"{scan_id}.nii.gz").exists() for scan_id in scans):
        predict_held_out(run, display)
    display.begin("evaluate", len(scans))
    done = evaluate(
        run.predictions,
        Path(run.config["dataset_dir"]),
        manifest,
        scan_ids=set(scans),
        progress=display.advance,
    )
    write_csv(run.folder / "metrics.csv", done.scores)
    run.write("summary.json", as_plain(done.scores, done.summary))
    draw(run, scans[_median_scan(done)], manifest)
    for name in ("metrics.csv", "summary.json", "overlays"):
        tracker.log_artifact(run.folder / name, name if name == "overlays" else None)
    tracker.log_metrics(_numbers(done.summary), step=run.config["epochs"])
    display.say(summary_text(done.summary))
    return done


def draw(run: Run, scan: Scan, manifest: Manifest) -> None:
    """Draw one scan with reference and prediction: three planes, and each organ's largest slice."""
    labels, folder = manifest.labels, run.folder / "overlays"
    item: dict[str, Any] = ReadVolumed("image")({"image": scan})
    image = item["image"][0].numpy()
    truth = np.stack(read_reference(scan, labels).masks)
    pred = find_label_files(run.predictions, labels)[scan.scan_id].read(labels)
    masks = np.stack(pred.onto(scan.grid, subject=scan.scan_id).masks)
    spacing_mm, title = scan.spacing_mm, scan.scan_id
    planes = run_picture(image, truth, masks, labels, spacing_mm=spacing_mm, title=title)
    organs = overlay_per_organ(image, truth, masks, labels, spacing_mm=spacing_mm, title=title)
    for name, figure in {"scan": planes, **organs}.items():
        save(figure, folder / f"{name}.png")


def _median_scan(done: Evaluation) -> str:
    """Return the scan in the middle by its mean Dice: neither the best nor the worst is typical."""
    dice: dict[str, list[float]] = {}
    for organ in done.scores:
        dice.setdefault(organ.scan_id, []).append(0.0 if math.isnan(organ.dice) else organ.dice)
    ranked = sorted(dice, key=lambda scan_id: sum(dice[scan_id]))
    return ranked[len(ranked) // 2]


def _numbers(summary: Summary) -> dict[str, float]:
    """Return the metrics of the summary by name; those that do not exist are left out."""
    found = {
        f"test/{kind}/{organ.organ}": float(value)
        for organ in summary.organs
        for kind, value in (
            ("dice", organ.dice_penalised),
            ("dice_found", organ.dice_found),
            ("iou", organ.iou_penalised),
            ("n", organ.n_penalised),
        )
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}
