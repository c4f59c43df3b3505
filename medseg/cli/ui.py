"""``medseg ui``: the runs in MLflow's user interface."""

from pathlib import Path

import click

from medseg.cli import options


@click.command()
@options.output
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; MLflow asks nobody for a password.",
)
@options.verbosity
def ui(output: Path, port: int, host: str) -> None:
    """Browse the runs of an output folder in MLflow, until Ctrl-C."""
    from medseg.stages.ui import serve

    click.echo(f"starting MLflow on {output / 'mlflow.db'} …", err=True)
    serve(
        output,
        host=host,
        port=port,
        ready=lambda url: click.echo(f"{url}  (Ctrl-C ends it)"),
    )
