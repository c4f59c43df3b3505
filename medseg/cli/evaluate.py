"""``medseg evaluate``: predictions against a reference."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medseg.cli import options
from medseg.cli.options import State
from medseg.errors import PartialError, shown

if TYPE_CHECKING:
    from medseg.stages.evaluate import Evaluation

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("predictions", type=_FOLDER)
@click.argument("reference", type=_FOLDER)
@click.option(
    "--manifest",
    default="uwmgi",
    show_default=True,
    help="Data set whose labels these are: a name or a YAML file.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a row an organ and scan.",
)
@options.verbosity
@options.as_json
@options.pass_state
def evaluate(
    state: State, /, *, predictions: Path, reference: Path, manifest: str, csv_file: Path | None
) -> None:
    """Score PREDICTIONS against REFERENCE per organ and scan.

    Either is a folder with a label map a scan, <scan>.nii.gz, or a mask an organ,
    <scan>_<organ>.nii.gz; masks win, for they may overlap. REFERENCE may also be the folder of a
    data set, with train.csv. A scan without a prediction counts as missed.
    """
    from medseg.cli.display import display
    from medseg.data.manifest import read_manifest
    from medseg.report.scores import write_csv
    from medseg.stages.evaluate import evaluate as evaluate_folders

    facts = read_manifest(manifest)
    with display(quiet=state.json or state.verbosity < 0) as watched:

        def advance(done: int, total: int) -> None:
            if done == 1:
                watched.begin("evaluate", total)
            watched.advance(done, total)

        done = evaluate_folders(predictions, reference, facts, progress=advance)
    if csv_file is not None:
        write_csv(csv_file, done.scores)
    _tell(done, as_json=state.json)
    if any(problem.level == "error" for problem in done.problems):
        click.get_current_context().exit(PartialError.exit_code)


def _tell(done: "Evaluation", *, as_json: bool) -> None:
    """Print the summary on stdout, and what is worth knowing on stderr or in the same JSON."""
    from medseg.report.scores import as_plain, summary_text

    if as_json:
        problems = [problem.as_dict() for problem in done.problems]
        click.echo(json.dumps({**as_plain(done.scores, done.summary), "problems": problems}))
        return
    click.echo(summary_text(done.summary))
    if done.problems:
        click.echo(shown(done.problems), err=True)
