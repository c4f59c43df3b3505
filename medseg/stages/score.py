"""Score: the held-out predictions against the original labels, as tables and as metrics."""

import math
from pathlib import Path

from medseg.data import read_manifest
from medseg.engine.tracking import Tracker
from medseg.metrics.summary import Summary
from medseg.report.scores import as_plain, summary_text, write_csv
from medseg.runs import Run
from medseg.stages.display import Display
from medseg.stages.evaluate import Evaluation, evaluate
from medseg.stages.held_out import held_out, predict_held_out, predicted


def score(run: Run, tracker: Tracker, display: Display) -> Evaluation:
    """Score the test side of the run's fold on the scans' own grids.

    Predicts what is not predicted yet. Leaves ``metrics.csv`` and ``summary.json``.
    """
    manifest = read_manifest(run.config["manifest"])
    scans = {item["scan_id"] for item in held_out(run)}
    if not predicted(run):
        predict_held_out(run, display)
    display.begin("evaluate", len(scans))
    done = evaluate(
        run.predictions,
        Path(run.config["dataset_dir"]),
        manifest,
        scan_ids=scans,
        progress=display.advance,
    )
    write_csv(run.folder / "metrics.csv", done.scores)
    run.write("summary.json", as_plain(done.scores, done.summary))
    for name in ("metrics.csv", "summary.json"):
        tracker.log_artifact(run.folder / name)
    tracker.log_metrics(numbers(done.summary), step=run.config["epochs"])
    display.say(summary_text(done.summary))
    if manifest.scale_note:
        display.say(manifest.scale_note)
    return done


def numbers(summary: Summary) -> dict[str, float]:
    """Return the means of a summary as MLflow names them; those that do not exist are left out."""
    found = {
        f"test/{metric}{kind}/{organ.organ}": mean
        for organ in summary.organs
        for kind, means in (("", organ.penalised), ("_found", organ.found))
        for metric, mean in means.items()
    }
    counts = {f"test/n/{organ.organ}": float(organ.n_penalised) for organ in summary.organs}
    return {name: value for name, value in found.items() if not math.isnan(value)} | counts
