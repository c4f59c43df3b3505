"""Report: what a pipeline came to, written, tracked and said."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from medseg.data.phantom import is_phantom
from medseg.engine.tracking import Tracker
from medseg.report.comparison import save_comparison
from medseg.report.pipeline_page import outcome_text, save_outcome
from medseg.report.pipeline_results import EntryResult, Results, Vote
from medseg.report.set_up import device
from medseg.runs import Run
from medseg.stages.display import Display
from medseg.stages.pipeline_attempts import Attempt, Study
from medseg.stages.pipeline_ensemble import vote
from medseg.stages.pipeline_outcome import by_seed, compared, entry_results
from medseg.stages.pipeline_split import Parted


def tell(
    attempts: Sequence[Attempt], study: Study, parted: Parted, tracker: Tracker, display: Display
) -> None:
    """Write what the attempts came to into the parent's folder, and keep it in MLflow."""
    pipeline, parent = study.pipeline, study.parent
    votes = list(_votes(attempts, study, parted, display)) if pipeline.ensemble else []
    entries = entry_results(pipeline, attempts)
    comparison, problems = compared(entries, pipeline.metric)
    results = Results(
        title=pipeline.title,
        about=pipeline.about,
        real=pipeline.real,
        phantom=is_phantom(Path(parent.config["dataset_dir"])),
        small=study.request.demo,
        citation=pipeline.source.citation,
        note=pipeline.source.note,
        counted=pipeline.source.counted,
        metric=pipeline.metric,
        entries=entries,
        comparison=comparison,
        votes=votes,
        problems=problems,
        made=_made(parent, study, parted),
    )
    files = save_outcome(results, parent.folder)
    files += save_comparison(comparison, parent.folder) if comparison else []
    for file in (*files, parent.folder / "pipeline.json", parent.splits):
        tracker.log_artifact(file)
    tracker.log_metrics(_metrics(entries), step=0)
    display.say(outcome_text(results))
    display.say(f"page: {parent.folder / 'report.html'}")


def _votes(
    attempts: Sequence[Attempt], study: Study, parted: Parted, display: Display
) -> Iterator[Vote]:
    """Yield the vote of the folds of each entry, with its first seed that has all of them."""
    outside = [scan for scan in parted.scans if scan.scan_id in parted.outside]
    for entry in study.pipeline.runs:
        own = [attempt for attempt in attempts if attempt.task.entry == entry]
        rows = next(iter(by_seed(own).values()), [])
        if len(rows) > 1:
            folder = study.parent.folder / "ensembles" / rows[0].task.name
            runs = [row.run for row in rows]
            yield vote(entry.name, runs, outside, display, folder=folder)


def _made(parent: Run, study: Study, parted: Parted) -> list[tuple[str, str]]:
    """Return what it takes to explain and repeat the pipeline, in rows."""
    told = parent.read("provenance.json") or {}
    git = told.get("git") or {}
    changed = ", with changes that were not committed" if git.get("dirty") else ""
    rows = [
        ("Date", f"{datetime.now():%Y-%m-%d}"),
        ("Command", " ".join(told.get("command", ()))),
        ("Commit", f"{git['commit']}{changed}" if git else ""),
        ("medseg", told.get("medseg", "")),
        ("Device", device(told)),
        ("Data", f"{study.pipeline.data}, {len(parted.scans)} scans"),
        ("SHA-256 of the split", parted.splits.sha256),
        ("Folder", parent.name),
    ]
    return [(name, value) for name, value in rows if value]


def _metrics(entries: Sequence[EntryResult]) -> dict[str, float]:
    """Return each entry's means as MLflow names them."""
    found = {}
    for entry in entries:
        name = "".join(c if c.isalnum() else "_" for c in entry.name)
        for mean in entry.means("dice"):
            found[f"{name}/dice/{mean.organ.replace(' ', '_')}"] = mean.counted.mean
    return found
