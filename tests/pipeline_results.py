"""The outcome of a pipeline, made up for tests of its page."""

from scored_runs import score

from medseg.metrics.comparison import compare_scores
from medseg.metrics.slicewise import Means, SliceSummary
from medseg.report.pipeline_results import EntryResult, OneRun, Results, Vote

ORGANS = ("large_bowel", "stomach")
SLICES = [SliceSummary("all", 200, 50, Means(0.85, 0.6, 0.8), Means(0.75, 0.5, 0.667))]
COSTS = {
    "parameters": 3_712_036,
    "macs": 71_135_232,
    "images_per_s": 154.1,
    "training_images_per_s": 18.5,
    "training_memory_bytes": 60 * 2**20,
}


def scores_of(best, *, n_patients=8):
    """Return scores of two scans a patient that fall from patient to patient."""
    return [
        score(f"case{patient}_day{day}", organ, best - 0.02 * patient - 0.1 * channel)
        for patient in range(n_patients)
        for day in range(2)
        for channel, organ in enumerate(ORGANS)
    ]


def entry(name, best, **changes):
    """Return one of the compared, with two seeds."""
    figures = {"dice": best + 0.1, "iou": best, "train_loss": 0.25, "validation_loss": 0.5}
    runs = [
        OneRun(seed, 0, f"2026-{name}-{seed}", "", best + 0.01 * seed, figures, 90.0)
        for seed in (0, 1)
    ]
    told = {"runs": runs, "scores": scores_of(best), "slices": SLICES, "costs": COSTS}
    return EntryResult(name, "uwmgi_unet", **(told | changes))


def results_of(*entries, **changes):
    """Return the outcome of two networks, or of those given."""
    if not entries:
        source = {"dice": 0.93786, "iou": 0.8684, "train_loss": 0.0642}
        entries = (entry("U-Net", 0.9, source=source), entry("ViT <b>", 0.6))
    done = {e.name: e.scores for e in entries if e.scores}
    comparison = compare_scores(done, n_resamples=200) if len(done) > 1 else None
    told = {
        "title": "Two networks",
        "about": "Which is better?",
        "real": "Only the real data set can tell.",
        "phantom": True,
        "small": True,
        "citation": "Somebody, somewhere",
        "note": "One training.",
        "counted": "slices",
        "metric": "dice",
        "entries": entries,
        "comparison": comparison,
        "problems": ["warning[W-PAIRS]: left out"],
        "made": [("Command", "medseg run two.yaml")],
    }
    return Results(**(told | changes))


def vote():
    """Return an ensemble that is better than its members on every patient."""
    sides = {"ensemble": scores_of(0.9), "one network": scores_of(0.8)}
    return Vote("U-Net", 3, 8, compare_scores(sides, n_resamples=200))
