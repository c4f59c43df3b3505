"""``medseg reproduce``: a run once more, and whether the same comes out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medseg.cli import options
from medseg.cli.options import State
from medseg.errors import PartialError

if TYPE_CHECKING:
    from medseg.stages.likeness import Reproduction


@click.command()
@click.argument("folder", metavar="RUN", type=options.Place(file_okay=False))
@click.option(
    "--data",
    type=options.Place(exists=True, file_okay=False),
    help="Data folder; by default where it was.",
)
@options.trust_bundle
@options.output
@options.device
@options.verbosity
@options.as_json
@options.pass_state
def reproduce(
    state: State, /, *, folder: Path, data: Path | None, output: Path, device: str
) -> None:
    """Do again what RUN did, with its settings, seeds and split, and compare.

    A new run is made in OUTPUT/<experiment>_reproduced, on the device of RUN unless another is
    named. Weights, training history, rules, scores
    and predictions are compared by their hashes. Exits 0 where all are equal, 6 where some are not,
    and tells what may be the reason.
    """
    from medseg.cli.display import display
    from medseg.stages.reproduce import again, reproduce

    with display(quiet=state.json or state.verbosity < 0) as shown:
        request = again(folder, data=data, output=output, device=device)
        done = reproduce(folder, request, shown)
    if state.json:
        click.echo(json.dumps(done.as_dict()))
    else:
        _tell(done)
    if not done.equal:
        click.get_current_context().exit(PartialError.exit_code)


def _tell(done: "Reproduction") -> None:
    for part in done.parts:
        hashes = " ".join((each or "none")[:12] for each in (part.before, part.now))
        names = f"  {', '.join(part.differing)}" if part.differing else ""
        click.echo(f"{'equal' if part.equal else 'differs':8}{part.name:12}{hashes}{names}")
    if done.equal:
        return
    why = done.reasons or ["nothing that is recorded differs: report it as a fault of medseg"]
    for reason in why:
        click.echo(f"why: {reason}")
