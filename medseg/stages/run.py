"""Run: a bundle from data to scores, every stage on what the one before left."""

from collections.abc import Callable

from medseg.engine.tracking import Tracker
from medseg.io.remote_work import address_of
from medseg.runs import Run
from medseg.stages.begin import STAGES, Request, begin
from medseg.stages.display import Display
from medseg.stages.engines import Machines
from medseg.stages.held_out import predict_held_out
from medseg.stages.prepare import prepare
from medseg.stages.register import register
from medseg.stages.report import report
from medseg.stages.score import score
from medseg.stages.track import tracked
from medseg.stages.train import train
from medseg.stages.tune import tune


def run(request: Request, display: Display, *, parent: Run | None = None) -> Run:
    """Do the stages asked for and return the run they worked on.

    Args:
        request: What the user asked for.
        display: Where to show progress.
        parent: The run below which MLflow shows this one, already tracked; see `run_folds`.

    Raises:
        MedsegError: Something was wrong; what earlier stages left stays.
    """
    return work(begin(request, display), request, display, parent=parent)


def work(
    current: Run,
    request: Request,
    display: Display,
    *,
    parent: Run | None = None,
    then: Callable[[Run, Tracker], None] | None = None,
) -> Run:
    """Do the stages asked for on a run that has begun, and `then` what else there is; see `run`."""
    uri, output = request.tracking_uri, request.output
    with tracked(current, uri, output=output, parent=parent) as tracker:
        for stage in (stage for stage in STAGES if stage in request.stages):
            _do(stage, current, tracker, display, request.machines)
        # One that was interrupted after its training is registered when it goes on.
        changed = {"train", "tune"} & {*request.stages}
        if current.trained and (changed or not current.read("inference.json")):
            register(current, tracker)
        if then:
            then(current, tracker)
    display.say(f"run: {address_of(current.folder)}")
    return current


def _do(
    stage: str, current: Run, tracker: Tracker, display: Display, machines: Machines | None
) -> None:
    if stage == "prepare" or not current.splits.exists():
        prepare(current, tracker, display, machines)
    match stage:
        case "train":
            train(current, tracker, display)
        case "tune":
            tune(current, tracker, display)
        case "predict":
            predict_held_out(current, display)
        case "evaluate":
            score(current, tracker, display)
        case "report":
            report(current, tracker, display)
