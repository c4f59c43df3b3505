"""``medseg run``: a bundle from data to scores."""

import json
from pathlib import Path
from typing import Any

import click

from medseg.cli import options
from medseg.cli.options import State

STAGES = ("prepare", "train", "predict", "evaluate", "report")


@click.command()
@click.argument("target")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Data folder; without it a phantom stands in, with demo settings.",
)
@click.option("--demo", is_flag=True, help="Lay the bundle's small demo settings over its own.")
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
@click.option("--resume", is_flag=True, help="Go on where the newest run of the fold stopped.")
@click.option("--weights", help="Folder or hub id of pretrained weights to start from.")
@click.option("--tracking-uri", help="MLflow store or server; default <output>/mlflow.db.")
@options.settings
@options.seed
@options.output
@options.device
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
    **asked: Any,  # noqa: ANN401
) -> None:
    """Prepare, train, predict, evaluate and report TARGET, a bundle's folder or name."""
    from medseg.cli.display import display
    from medseg.stages.begin import Request
    from medseg.stages.folds import run_folds
    from medseg.stages.run import run as run_stages

    if folds and each:
        raise click.UsageError("--fold and --folds exclude each other.")
    request = Request(stages=stages or STAGES, fold=next(iter(folds), 0), **asked)
    with display(quiet=state.json or state.verbosity < 0) as shown:
        if each or len(folds) > 1:
            done = run_folds(request, folds, shown)
        else:
            done = run_stages(request, shown)
    if state.json:
        click.echo(json.dumps({"run": str(done.folder), "summary": done.read("summary.json")}))
