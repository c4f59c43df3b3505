"""Pipeline: every training that a file asks for, each once, and what came of all of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import PartialError, Problem, UsageError
from medseg.io.remote_work import address_of
from medseg.pipeline import Folds, parts, read_pipeline
from medseg.runs import Run
from medseg.stages.begin import Request
from medseg.stages.display import Display
from medseg.stages.pipeline_attempts import Attempt, Study, attempts
from medseg.stages.pipeline_report import tell
from medseg.stages.pipeline_split import keep_split, part_patients
from medseg.stages.pipeline_spread import spread_attempts
from medseg.stages.pipeline_tasks import configs_of, parent_of, tasks_of
from medseg.stages.track import tracked


def run_pipeline(
    path: Path, request: Request, display: Display, *, folds: Folds | None = None
) -> Run:
    """Run what a pipeline's file asks for, and return the parent of its runs.

    Runs that are done are not repeated, and those that were interrupted go on; see
    `medseg.stages.pipeline_tasks` for what makes a run the same. One that fails is told, and the
    others go on.

    Args:
        path: The file.
        request: How to run it. Its settings are laid over the file's, its seed stands in place of
            the file's; without ``resume`` all is done anew. Target, fold and stages do not count.
        display: Where to show progress.
        folds: In place of the file's own.

    Raises:
        UsageError: Something in the file or the request is wrong; nothing has run.
        DataError: So with the data.
        PartialError: Some runs failed; the outcome tells of the others.
        MedsegError: All runs failed.
    """
    _require_here(request)
    pipeline, demo = read_pipeline(path), request.demo or request.data is None
    chosen = parts(pipeline, path, demo=demo)
    configs = configs_of(chosen, request, display)
    request = replace(request, demo=demo, data=Path(configs[0]["dataset_dir"]))
    parted = part_patients(pipeline, configs[0])
    tasks = tasks_of(chosen, configs, parted.splits, folds=folds, seed=request.seed)
    parent = parent_of(path, pipeline, tasks, request)
    keep_split(parent, parted)
    study = Study(pipeline, request, parent, parted.splits)
    done: list[Attempt] = []
    with tracked(parent, request.tracking_uri, output=request.output) as tracker:
        try:
            if request.machines:
                done += spread_attempts(tasks, study, display, request.machines)
            else:
                done += attempts(tasks, study, display)
        except KeyboardInterrupt:
            display.say("stopped: the same command goes on where it was")
            raise
        tell(done, study, parted, tracker, display)
    display.say(f"pipeline: {parent.folder}")
    _require_all(done)
    return parent


def _require_here(request: Request) -> None:
    """Refuse to let other machines write runs into a copy that only this one has.

    Raises:
        UsageError: The output is an object store's.
    """
    address = address_of(request.output)
    if request.machines and address != str(request.output):
        found, fix = "is sent from this machine only", "name a folder that all machines see"
        raise UsageError(Problem("E-REMOTE", address, found, "--engine local", fix))


def _require_all(attempts: Sequence[Attempt]) -> None:
    faults = [attempt.fault for attempt in attempts if attempt.fault]
    problems = [problem for fault in faults for problem in fault.problems]
    if faults:
        kind = type(faults[0]) if len(faults) == len(attempts) else PartialError
        raise kind(*problems)
