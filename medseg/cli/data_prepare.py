"""``medseg data prepare``: fill the store for a bundle, so that no training waits for it."""

import json
from pathlib import Path
from typing import Any

import click

from medseg.cli import options
from medseg.cli.options import State


@click.command()
@click.argument("bundle")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Data folder; without it a phantom stands in, with demo settings.",
)
@click.option("--demo", is_flag=True, help="Prepare as 'medseg run --demo' does.")
@options.settings
@options.trust_bundle
@options.output
@options.engine
@options.verbosity
@options.as_json
@options.pass_state
def prepare(state: State, /, **asked: Any) -> None:  # noqa: ANN401 - the options
    """Bring every scan of a data set into the store as BUNDLE reads it.

    Runs with the same data, settings and --output find them there. What is there already is not
    done again.
    """
    from medseg.cli.display import display
    from medseg.stages.begin import Request
    from medseg.stages.engines import machines_of
    from medseg.stages.prepare import prepare_data

    engine = asked.pop("engine"), asked.pop("address")
    request = Request(target=asked.pop("bundle"), device="cpu", **asked)
    with display(quiet=state.json or state.verbosity < 0) as shown, machines_of(*engine) as others:
        prepared = prepare_data(request, shown, others)
    store = request.output / "store"
    if state.json:
        entries = {each.scan_id: str(each.folder) for each in prepared}
        click.echo(json.dumps({"store": str(store), "scans": entries}))
    elif state.verbosity >= 0:
        click.echo(f"{store}: {len(prepared)} scans are ready")
