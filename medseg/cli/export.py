"""``medseg export``: predictions in the forms that others take."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli import options
from medseg.cli.lazy import LazyGroup
from medseg.cli.options import State
from medseg.errors import Problem, UsageError, shown

if TYPE_CHECKING:
    from medseg.data.submission import Missing


@click.group(cls=LazyGroup)
def export() -> None:
    """Write predictions in the forms that others take."""


@export.command()
@click.argument("predictions", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("submission.csv"),
    show_default=True,
    help="File to write.",
)
@click.option(
    "--data",
    "root",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the data set that was predicted.",
)
@click.option(
    "--manifest",
    default="uwmgi",
    show_default=True,
    help="Data set whose labels these are: a name or a YAML file.",
)
@click.option("--only-predicted", is_flag=True, help="Leave out the rows of scans not predicted.")
@click.option("--missing-as-empty", is_flag=True, help="Write empty rows for scans not predicted.")
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@options.verbosity
@options.as_json
@options.pass_state
def submission(
    state: State,
    /,
    *,
    predictions: Path,
    out: Path,
    root: Path,
    overwrite: bool,
    **asked: Any,  # noqa: ANN401 - the manifest, and what to do about missing predictions
) -> None:
    """Write PREDICTIONS as the competition's submission.csv.

    PREDICTIONS is a folder with a label map a scan, <scan>.nii.gz, or a mask an organ,
    <scan>_<organ>.nii.gz, where masks win, for they may overlap; or a run's folder. Rows are in the
    order of the data set's sample_submission.csv where that has rows.
    """
    from medseg.cli.display import display
    from medseg.data.manifest import read_manifest
    from medseg.stages.submission import write_submission

    missing = _missing(only=asked["only_predicted"], empty=asked["missing_as_empty"])
    if out.exists() and not overwrite:
        fix = "name another file, or give --overwrite"
        raise UsageError(Problem("E-EXISTS", str(out), "exists already", fix=fix))
    with display(quiet=state.json or state.verbosity < 0) as watched:
        facts = read_manifest(asked["manifest"])
        done = write_submission(predictions, root, out, facts, display=watched, missing=missing)
    if state.json:
        counts = {"scans": done.scans, "rows": done.rows, "empty_rows": done.empty_rows}
        problems = [problem.as_dict() for problem in done.problems]
        click.echo(json.dumps({"file": str(out), **counts, "problems": problems}))
        return
    click.echo(f"{out}: {done.rows} rows of {done.scans} scans, {done.empty_rows} of them empty")
    if done.problems:
        click.echo(shown(done.problems), err=True)


def _missing(*, only: bool, empty: bool) -> "Missing":
    if only and empty:
        found = "--only-predicted and --missing-as-empty exclude each other"
        raise UsageError(Problem("E-USAGE", "medseg export submission", found, fix="give one"))
    return "skip" if only else "empty" if empty else "refuse"
