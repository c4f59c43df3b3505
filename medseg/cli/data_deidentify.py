"""``medseg data deidentify``: DICOM images without whose they are."""

import json
from pathlib import Path

import click

from medseg.cli import options
from medseg.cli.options import State


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to.",
)
@click.option(
    "--key",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the secret key; made if it is not there.",
)
@options.verbosity
@options.as_json
@options.pass_state
def deidentify(state: State, folder: Path, out: Path, key: Path) -> None:
    """Copy DICOM images without whose they are.

    FOLDER is searched for MR and CT images. Texts and private elements are removed, identifiers and
    dates replaced, the same way in every run with the same key. An image that may show a name is
    refused. Pixels are not changed: a face in them is still a face.
    """
    from medseg.cli.display import display
    from medseg.stages.deidentify import deidentify as stage

    with display(quiet=state.json or state.verbosity < 0) as shown_on:
        written = stage(folder, out, key=key, display=shown_on)
    if state.json:
        click.echo(json.dumps({"folder": str(out), "files": len(written), "key": str(key)}))
    else:
        click.echo(f"{out}: {len(written)} files, cleaned with {key}")
