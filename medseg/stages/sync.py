"""Sync: what runs kept while MLflow was away goes to MLflow."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medseg.engine.provenance import portable
from medseg.engine.tracking import FALLBACK, pending, require_store, sync
from medseg.errors import MedsegError, PartialError, Problem, ResourceError, UsageError
from medseg.io.remote_work import owned
from medseg.runs import Run
from medseg.stages.display import Display


class Synced(NamedTuple):
    """What was sent of one run.

    Attributes:
        folder: The run's folder.
        rows: How many things: batches of metrics, files, data sets, its settings, its end.
        run_id: The run in MLflow.
    """

    folder: Path
    rows: int
    run_id: str


def sync_runs(
    folders: Sequence[Path], display: Display, *, output: Path, uri: str | None = None
) -> list[Synced]:
    """Send what runs kept, once, and return what was sent; a run that kept nothing is left alone.

    Args:
        folders: Run folders; none stands for all in `output`.
        display: Where to show progress.
        output: The folder of runs.
        uri: Another store than the one that a run was meant for.

    Raises:
        UsageError: A folder is no run's, or `uri` is no store.
        PartialError: Some runs could not be sent; they keep what is left.
        ResourceError: None could be sent.
    """
    if uri:
        require_store(uri)
    strange = [folder for folder in folders if not (folder / "provenance.json").is_file()]
    if strange:
        raise UsageError(
            *(Problem("E-RUN", str(folder), "is no run folder", "a run") for folder in strange)
        )
    # In the order in which they began, so that a parent is there before its folds.
    chosen = folders or sorted(file.parent for file in output.glob(f"*/*/{FALLBACK}"))
    waiting = [(folder, rows) for folder in chosen if (rows := pending(folder))]
    display.begin("sync", len(waiting))
    done: list[Synced] = []
    problems: list[Problem] = []
    for number, (folder, rows) in enumerate(waiting, 1):
        try:
            done.append(Synced(folder, rows, _sent(folder, uri)))
        except MedsegError as fault:
            problems += fault.problems
        except Exception as fault:
            problems.append(_unsent(folder, fault))
        display.advance(number, len(waiting), folder.name)
    if problems:
        raise (PartialError if done else ResourceError)(*problems)
    return done


def _sent(folder: Path, uri: str | None) -> str:
    with owned(folder):  # a command that works on the run sends them, too
        run, run_id = Run(folder, {}), str(sync(folder, uri))
        known = run.read("provenance.json") or {}
        run.write("provenance.json", {**known, "mlflow_run_id": run_id})
    return run_id


def _unsent(folder: Path, fault: Exception) -> Problem:
    reason = portable(" ".join(str(fault).split())[:200])
    fix = f"look at the store, and run it again: {FALLBACK} keeps what is left"
    return Problem("E-SYNC", str(folder), f"MLflow failed: {reason}", fix=fix)
