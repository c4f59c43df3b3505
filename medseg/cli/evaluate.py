"""``medseg evaluate``: predictions against a reference."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli import options
from medseg.cli.options import State
from medseg.errors import PartialError, shown

if TYPE_CHECKING:
    from medseg.data.manifest import Manifest
    from medseg.labels import LabelSet
    from medseg.stages.evaluate import Evaluation

_PLACE = options.Place(exists=True)


@click.command()
@click.argument("predictions", type=_PLACE)
@click.argument("reference", type=_PLACE)
@click.option(
    "--manifest",
    default="uwmgi",
    show_default=True,
    help="Data set whose labels these are: a name or a YAML file.",
)
@click.option(
    "--data",
    type=options.Place(exists=True, file_okay=False),
    help="Folder of the data set that a CSV is about, where neither side is one.",
)
@click.option(
    "--tolerance-mm",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Of the surface Dice.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a row an organ and scan.",
)
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write scores.csv, summary.json and summary.md into this folder.",
)
@click.option(
    "--competition",
    is_flag=True,
    help="Also give the UW-Madison competition's score, in its variants.",
)
@click.option(
    "--slice-wise", is_flag=True, help="Also give means over slices, as many papers report them."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes, each with a scan in memory; default is one a core, fewer for few scans.",
)
@options.engine
@options.verbosity
@options.as_json
@options.pass_state
def evaluate(
    state: State,
    /,
    *,
    predictions: Path,
    reference: Path,
    manifest: str,
    csv_file: Path | None,
    save: Path | None,
    **asked: Any,  # noqa: ANN401 - how to evaluate
) -> None:
    """Score PREDICTIONS against REFERENCE per organ and scan.

    Either is a folder with a label map a scan, <scan>.nii.gz, or a mask an organ,
    <scan>_<organ>.nii.gz, where masks win, for they may overlap; a run's folder; the folder of a
    data set, with train.csv; or a CSV of run-length rows: id, class and segmentation or predicted.
    A scan without a prediction counts as missed; of a run only scans that it has not learnt from
    are asked for.
    """
    from medseg.data.manifest import read_manifest
    from medseg.report.scores import save_scores, write_csv

    facts, quiet = read_manifest(manifest), state.json or state.verbosity < 0
    done = _evaluated(predictions, reference, facts, quiet=quiet, **asked)
    if csv_file is not None:
        write_csv(csv_file, done.scores)
    if save is not None:
        save_scores(save, done.scores, done.summary, done.problems, reported=done.reported)
    _tell(done, facts.labels, as_json=state.json)
    if any(problem.level == "error" for problem in done.problems):
        click.get_current_context().exit(PartialError.exit_code)


def _evaluated(
    predictions: Path,
    reference: Path,
    facts: "Manifest",
    *,
    quiet: bool,
    **asked: Any,  # noqa: ANN401 - fields of Options
) -> "Evaluation":
    from medseg.cli.display import display
    from medseg.stages.engines import machines_of
    from medseg.stages.evaluate import evaluate as evaluate_sides
    from medseg.stages.evaluation import Options

    engine = asked.pop("engine"), asked.pop("address")
    with display(quiet=quiet) as watched, machines_of(*engine) as machines:
        how = Options(**asked, machines=machines)

        def advance(done: int, total: int) -> None:
            if done == 1:
                watched.begin("evaluate", total)
            watched.advance(done, total)

        return evaluate_sides(predictions, reference, facts, options=how, progress=advance)


def _tell(done: "Evaluation", labels: "LabelSet", *, as_json: bool) -> None:
    """Print the summary on stdout, and what is worth knowing on stderr or in the same JSON."""
    from rich.console import Console

    from medseg.cli.score_tables import print_scores
    from medseg.report.reported import reported_plain, reported_text
    from medseg.report.scores import as_plain, summary_text

    if as_json:
        problems = [problem.as_dict() for problem in done.problems]
        told = {**as_plain(done.scores, done.summary), **reported_plain(done.reported)}
        click.echo(json.dumps({**told, "problems": problems}))
        return
    console = Console()
    if console.is_terminal:
        print_scores(console, done.scores, done.summary, labels)
    else:
        click.echo(summary_text(done.summary, done.scores))
    if text := reported_text(done.reported):
        click.echo(f"\n{text}")
    if done.problems:
        click.echo(shown(done.problems), err=True)
