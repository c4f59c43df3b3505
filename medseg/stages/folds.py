"""Folds: a run a fold, every patient held out once, and the scores of all of them together."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from medseg.data import read_splits
from medseg.engine.tracking import Tracker
from medseg.errors import Problem, UsageError
from medseg.io.remote_work import brought
from medseg.metrics.summary import summarise
from medseg.report.scores import as_plain, read_csv, summary_text, write_csv
from medseg.runs import Run, latest_folder, latest_run, new_run
from medseg.stages.begin import Request, configured, experiment_of
from medseg.stages.display import Display
from medseg.stages.report import report
from medseg.stages.run import run
from medseg.stages.score import numbers
from medseg.stages.track import tracked

KIND = "folds"


def run_folds(request: Request, folds: Sequence[int], display: Display) -> Run:
    """Do the stages asked for on each fold, and score the held-out scans of all folds together.

    MLflow shows the runs of the folds below one parent, whose folder ``<experiment>/<time>-folds``
    gets ``metrics.csv``, ``summary.json`` and ``report.html``.

    Args:
        request: What to do. With ``resume``, folds that the newest parent finished are left alone.
        folds: Which; none stands for all there are.
        display: Where to show progress.

    Raises:
        UsageError: There is no such fold.
    """
    folds = tuple(dict.fromkeys(folds))
    study = _study(replace(request, fold=max(folds, default=0)), folds, display)
    with tracked(study, request.tracking_uri, output=request.output) as tracker:
        done = list(_each(request, folds, study, display))
        if "evaluate" in request.stages:
            _score(done, study, tracker, display)
        if "report" in request.stages:
            report(study, tracker, display, folds=done)
    display.say(f"folds: {study.folder}")
    return study


def _study(request: Request, folds: Sequence[int], display: Display) -> Run:
    """Return the parent of the folds' runs: a new one, or the newest one to go on with."""
    experiment = experiment_of(request)
    goes_on = request.resume or "prepare" not in request.stages
    first = latest_run(experiment, fold=folds[0] if folds else 0) if goes_on else None
    config = dict(first.config) if first else configured(request, display)
    config["fold"] = ",".join(map(str, folds)) or "all"
    before = latest_folder(experiment, KIND) if request.resume else None
    return Run(brought(before), config) if before else new_run(experiment, config, kind=KIND)


def _each(request: Request, folds: Sequence[int], study: Run, display: Display) -> Iterator[Run]:
    """Yield the finished run of each fold."""
    first, *others = folds or (0,)
    done = _one(request, first, study, display)
    yield done
    # Now that the patients are parted it is known how many folds there are.
    count = len(read_splits(done.splits).groups)
    if max(others, default=0) >= count:
        found, expected = f"fold {max(others)} does not exist", f"0-{count - 1}"
        raise UsageError(Problem("E-FOLD", study.name, found, expected))
    for fold in others if folds else range(1, count):
        yield _one(request, fold, study, display)


def _one(request: Request, fold: int, study: Run, display: Display) -> Run:
    display.say(f"fold {fold}")
    before = latest_run(experiment_of(request), fold=fold) if request.resume else None
    own = before if before and brought(before.folder) and before.parent == study.name else None
    if own and own.read("summary.json"):
        return own
    return run(replace(request, fold=fold, resume=own is not None), display, parent=study)


def _score(runs: Sequence[Run], study: Run, tracker: Tracker, display: Display) -> None:
    scores = [row for each in runs for row in read_csv(each.folder / "metrics.csv")]
    summary = summarise(scores)
    write_csv(study.folder / "metrics.csv", scores)
    study.write("summary.json", as_plain(scores, summary))
    for name in ("metrics.csv", "summary.json"):
        tracker.log_artifact(study.folder / name)
    tracker.log_metrics(numbers(summary), step=study.config["epochs"])
    display.say(summary_text(summary))
