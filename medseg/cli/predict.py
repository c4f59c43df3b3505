"""``medseg predict``: scans in, NIfTI out."""

import json
from pathlib import Path
from typing import Any

import click

from medseg.cli import options
from medseg.cli.options import State


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to.",
)
@click.option("--per-organ", is_flag=True, help="Also write a mask an organ; these may overlap.")
@click.option("--probabilities", is_flag=True, help="Also write each organ's probability.")
@options.settings
@options.device
@options.verbosity
@options.as_json
@options.pass_state
def predict(
    state: State,
    /,
    *,
    model: Path,
    inputs: tuple[Path, ...],
    out: Path,
    **asked: Any,  # noqa: ANN401 - the options that become settings
) -> None:
    """Segment INPUTS with MODEL: a run folder, or a bundle with weights.

    An input is a scan's folder of slices, a data folder with train/, or a NIfTI file.
    """
    from medseg.cli.display import display
    from medseg.stages.predict import predict as predict_scans

    with display(quiet=state.json or state.verbosity < 0) as shown:
        written = predict_scans(model, inputs, _settings(out, **asked), shown)
    if state.json:
        click.echo(json.dumps({"written": [str(path) for path in written]}))
    elif state.verbosity >= 0:
        click.echo("\n".join(map(str, written)))


def _settings(
    out: Path, *, settings: dict[str, str], device: str, per_organ: bool, probabilities: bool
) -> dict[str, Any]:
    from medseg.engine.device import device_of

    flags = {"per_organ": per_organ, "probabilities": probabilities}
    chosen = {key: True for key, value in flags.items() if value}
    return {**settings, **chosen, "output_dir": str(out), "device": device_of(device)}
