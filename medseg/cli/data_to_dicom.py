"""``medseg data to-dicom``: a DICOM series of a volume."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medseg.cli import options
from medseg.cli.options import State

if TYPE_CHECKING:
    from medseg.io.dicom_secondary import Secondary


@click.command()
@click.argument("volume", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to, empty or new.",
)
@click.option(
    "--manifest",
    default="uwmgi",
    show_default=True,
    help="Data set, or a file, whose rules a folder of slices follows.",
)
@options.verbosity
@options.as_json
@options.pass_state
def to_dicom(state: State, volume: Path, out: Path, manifest: str) -> None:
    """Make a DICOM series of a volume, for tests and demonstrations.

    VOLUME is a file that 'medseg predict' reads, or the folder of a scan's slices. The series is
    marked as secondary, of a patient that there is not. Geometry is kept; so are whole numbers that
    fit into 16 bits; others are scaled to 65536 steps.
    """
    from medseg.stages.to_dicom import to_dicom as stage

    made = stage(volume, out, manifest=manifest)
    click.echo(json.dumps(_plain(out, made)) if state.json else _told(out, made))


def _plain(out: Path, made: "Secondary") -> dict[str, object]:
    return {
        "folder": str(out),
        "files": len(made.files),
        "shape_vox": made.grid.shape,
        "spacing_mm": made.grid.spacing_mm,
        "largest_error": made.error,
    }


def _told(out: Path, made: "Secondary") -> str:
    values = f"off by at most {made.error:.3g}" if made.error else "kept exactly"
    return f"{out}: {len(made.files)} files, {made.grid}, values {values}"
