"""Score: the held-out predictions against the original labels, as tables, pictures and metrics."""

import math
from pathlib import Path

from medseg.data import read_manifest
from medseg.engine.tracking import Tracker
from medseg.metrics.summary import Summary
from medseg.report.pictures import draw_scan
from medseg.report.scores import as_plain, summary_text, write_csv
from medseg.runs import Run
from medseg.stages.display import Display
from medseg.stages.evaluate import Evaluation, evaluate
from medseg.stages.held_out import held_out, predict_held_out, predicted


def score(run: Run, tracker: Tracker, display: Display) -> Evaluation:
    """Score the test side of the run's fold on the scans' own grids.

    Predicts what is not predicted yet. Leaves ``metrics.csv``, ``summary.json`` and ``overlays/``.
    """
    manifest = read_manifest(run.config["manifest"])
    scans = {item["scan_id"]: item["image"] for item in held_out(run)}
    if not predicted(run):
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
    typical = scans[_median_scan(done)]
    draw_scan(typical, run.predictions, manifest.labels, folder=run.folder / "overlays")
    for name in ("metrics.csv", "summary.json", "overlays"):
        tracker.log_artifact(run.folder / name, name if name == "overlays" else None)
    tracker.log_metrics(_numbers(done.summary), step=run.config["epochs"])
    display.say(summary_text(done.summary))
    return done


def _median_scan(done: Evaluation) -> str:
    """Return the scan in the middle by its mean Dice: neither the best nor the worst is typical."""
    dice: dict[str, list[float]] = {}
    for organ in done.scores:
        dice.setdefault(organ.scan_id, []).append(0.0 if math.isnan(organ.dice) else organ.dice)
    ranked = sorted(dice, key=lambda scan_id: sum(dice[scan_id]))
    return ranked[len(ranked) // 2]


def _numbers(summary: Summary) -> dict[str, float]:
    """Return the means of the summary by name; those that do not exist are left out."""
    found = {
        f"test/{metric}{kind}/{organ.organ}": mean
        for organ in summary.organs
        for kind, means in (("", organ.penalised), ("_found", organ.found))
        for metric, mean in means.items()
    }
    counts = {f"test/n/{organ.organ}": float(organ.n_penalised) for organ in summary.organs}
    return {name: value for name, value in found.items() if not math.isnan(value)} | counts
