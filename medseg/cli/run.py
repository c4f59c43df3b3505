"""``medseg run``: a bundle from data to scores, or all that a pipeline asks for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg import resources
from medseg.cli import options
from medseg.cli.options import State

if TYPE_CHECKING:
    from medseg.pipeline import Folds
    from medseg.runs import Run
    from medseg.stages.begin import Request
    from medseg.stages.display import Display

STAGES = ("prepare", "train", "tune", "predict", "evaluate", "report")


class _Run(click.Command):
    """The command, whose help ends with the pipelines that are shipped."""

    def format_epilog(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        formatter: click.HelpFormatter,
    ) -> None:
        """Write their names: they may change without this file."""
        found = ", ".join(resources.names("pipelines"))
        with formatter.section("Pipelines"):
            formatter.write_text(f"{found}. See pipelines/README.md.")


@click.command(cls=_Run)
@click.argument("target")
@click.option(
    "--data",
    type=options.Place(exists=True, file_okay=False),
    help="Data folder; without it a phantom stands in, with demo settings.",
)
@click.option("--demo", is_flag=True, help="Small settings: minutes on two processor cores.")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Do only this stage, on what the ones before left; may be repeated.",
)
@click.option(
    "--fold",
    "folds",
    multiple=True,
    type=click.IntRange(min=0),
    help="Which group of patients to hold out, by default 0; may be repeated.",
)
@click.option("--folds", "each", type=click.Choice(["all"]), help="Hold out each group in turn.")
@click.option(
    "--resume/--no-resume",
    default=None,
    help="Go on where the newest run of the fold stopped; pipelines always do unless told not to.",
)
@click.option(
    "--nproc",
    type=click.IntRange(min=1),
    help="Processes that train together on this machine, each on a GPU where there are GPUs.",
)
@click.option("--weights", help="Folder or hub id of pretrained weights to start from.")
@click.option("--tracking-uri", help="MLflow store or server; default <output>/mlflow.db.")
@options.settings
@options.trust_bundle
@options.seed
@options.output
@options.device
@options.engine
@options.verbosity
@options.as_json
@options.pass_state
def run(
    state: State,
    /,
    *,
    stages: tuple[str, ...],
    folds: tuple[int, ...],
    each: str | None,
    resume: bool | None,
    nproc: int | None,
    **asked: Any,  # noqa: ANN401
) -> None:
    """Prepare, train, tune, predict, evaluate and report TARGET.

    TARGET is a bundle's folder or name, or a pipeline's file or name. A pipeline runs several
    bundles, folds and seeds, and compares them; what is done already is not done again.
    """
    from medseg import ranks
    from medseg.pipeline import find_pipeline

    if folds and each:
        raise click.UsageError("--fold and --folds exclude each other.")
    pipeline = find_pipeline(asked["target"])
    if pipeline and (stages or asked["weights"]):
        raise click.UsageError("--stage and --weights are for bundles.")
    if nproc and nproc > 1 and not ranks.launched():
        click.get_current_context().exit(_launched(state, nproc, asked["device"]))
    if ranks.follows():
        from medseg.stages.train import join

        return join()
    asked |= {"stages": stages or STAGES, "fold": next(iter(folds), 0)}
    asked["resume"] = bool(pipeline) if resume is None else resume
    return _led(state, asked, pipeline, folds, many=bool(each) or len(folds) > 1)


def _launched(state: State, processes: int, device: str) -> int:
    """Run the command line in several processes and return its exit code."""
    from medseg.engine.device import device_of
    from medseg.ranks import require_devices
    from medseg.stages.launch import launch

    require_devices(device_of(device), processes)
    return launch(state.words, processes=processes)


def _led(
    state: State,
    asked: dict[str, Any],
    pipeline: Path | None,
    folds: tuple[int, ...],
    *,
    many: bool,
) -> None:
    """Do what was asked for, alone or before others that take part, and tell what came of it."""
    from medseg.cli.display import display
    from medseg.ranks import to_the_end
    from medseg.stages.begin import Request, again
    from medseg.stages.engines import device_of, machines_of
    from medseg.stages.launch import lasting

    quiet = state.json or state.verbosity < 0
    engine = asked.pop("engine"), asked.pop("address")
    with to_the_end(), lasting(), display(quiet=quiet) as shown, machines_of(*engine) as machines:
        if machines:
            # What is trained in this process needs a device of this machine.
            there = machines if pipeline else None
            asked |= {"machines": machines, "device": device_of(asked["device"], there)}
        request = Request(**asked) if pipeline else again(Request(**asked))
        done = _done(request, pipeline, folds, many=many, display=shown)
    if state.json:
        click.echo(json.dumps({"run": str(done.folder), "summary": done.read("summary.json")}))


def _done(
    request: "Request",
    pipeline: Path | None,
    folds: tuple[int, ...],
    *,
    many: bool,
    display: "Display",
) -> "Run":
    """Do what was asked for: a pipeline, several folds of a bundle, or one run."""
    from medseg.stages.folds import run_folds
    from medseg.stages.pipeline import run_pipeline
    from medseg.stages.run import run as run_stages

    if pipeline:
        wanted: Folds = "all" if many and not folds else list(folds)
        return run_pipeline(pipeline, request, display, folds=wanted or None)
    return run_folds(request, folds, display) if many else run_stages(request, display)
