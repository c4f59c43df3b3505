"""``medseg report``: the page that tells of a run."""

import json
from pathlib import Path

import click

from medseg.cli import options
from medseg.cli.options import State


@click.command()
@click.argument("folder", metavar="RUN", type=options.Place(file_okay=False))
@options.verbosity
@options.as_json
@options.pass_state
def report(state: State, /, *, folder: Path) -> None:
    """Write report.html into RUN, the folder of a run or of folds below one parent.

    The page tells what was trained on what, how good it is on the held-out scans and how it fails.
    It needs nothing but itself: open it in any browser, offline, or print it.
    """
    from medseg.cli.display import display
    from medseg.runs import Run, folds_of, open_run
    from medseg.stages.report import write_report

    folds = folds_of(folder)
    run = Run(folder, folds[0].config) if folds else open_run(folder)
    with display(quiet=state.json or state.verbosity < 0) as shown:
        written = write_report(run, shown, folds=folds)
    click.echo(json.dumps({"report": str(written)}) if state.json else str(written))
