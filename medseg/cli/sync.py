"""``medseg sync``: what runs kept while MLflow was away goes to MLflow."""

import json
from pathlib import Path

import click

from medseg.cli import options
from medseg.cli.options import State


@click.command()
@click.argument(
    "runs",
    nargs=-1,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="[RUN…]",
)
@click.option("--tracking-uri", help="Another MLflow store or server than the runs were meant for.")
@options.output
@options.verbosity
@options.as_json
@options.pass_state
def sync(
    state: State, /, *, runs: tuple[Path, ...], tracking_uri: str | None, output: Path
) -> None:
    """Send MLflow what runs kept while it was away: RUN folders, or all in --output.

    Each thing is sent once: to sync again adds nothing.
    """
    from medseg.cli.display import display
    from medseg.stages.sync import sync_runs

    with display(quiet=state.json or state.verbosity < 0) as shown:
        done = sync_runs(runs, shown, output=output, uri=tracking_uri)
    if state.json:
        rows = [{"run": str(s.folder), "rows": s.rows, "mlflow_run_id": s.run_id} for s in done]
        click.echo(json.dumps({"synced": rows}))
        return
    for each in done:
        click.echo(f"{each.folder}: {each.rows} rows sent to run {each.run_id}")
    if not done:
        click.echo("nothing is waiting")
