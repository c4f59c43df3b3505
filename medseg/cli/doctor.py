"""``medseg doctor``: what this machine and installation offer."""

import click

from medseg.cli import options


@click.command()
@options.output
@options.verbosity
@options.as_json
@options.pass_state
def doctor(state: options.State, output: object) -> None:
    """Tell versions, devices, memory and disk, and what is missing."""
