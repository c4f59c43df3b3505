"""``medseg compare``: which of several runs is better, and can that be believed."""

import json
from pathlib import Path

import click

from medseg.cli import options
from medseg.cli.options import State
from medseg.errors import shown

_METRICS = (
    *("dice", "iou", "precision", "recall", "nsd", "hd_mm", "hd95_mm", "assd_mm"),
    *("centroid_shift_mm", "volume_error_ml"),
)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=options.Place(exists=True))
@click.option(
    "--metric",
    type=click.Choice(_METRICS),
    default="dice",
    show_default=True,
    help="What to compare by.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files; default <output>/comparisons/<time>.",
)
@click.option("--no-tracking", is_flag=True, help="Keep nothing of it in MLflow.")
@options.seed
@options.verbosity
@options.as_json
@options.pass_state
def compare(
    state: State,
    /,
    *,
    runs: tuple[Path, ...],
    metric: str,
    out: Path | None,
    no_tracking: bool,
    seed: int | None,
) -> None:
    """Compare two or more RUNS: by patient, with intervals, tests, and sentences.

    A run is a run's folder, an experiment's, which stands for its newest finished run and the
    other folds of the same model, or a CSV that 'medseg evaluate' wrote. Only scans that all were
    tested on are compared.
    """
    if len(runs) < 2:
        raise click.UsageError("it takes two runs at least to compare.")
    from medseg.report.comparison import as_plain, text
    from medseg.stages.compare import compare as compare_runs

    done = compare_runs(runs, metric=metric, out=out, seed=seed or 0, tracking=not no_tracking)
    files = [str(file) for file in done.files]
    if state.json:
        click.echo(json.dumps({**as_plain(done.comparison), "files": files}))
        return
    click.echo(text(done.comparison))
    if done.comparison.problems:
        click.echo(shown(done.comparison.problems), err=True)
    if state.verbosity >= 0:
        click.echo(f"written: {', '.join(files)}")
