"""``medseg predict``: scans in; NIfTI, DICOM SEG and RTSTRUCT out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli import options
from medseg.cli.options import State

if TYPE_CHECKING:
    from medseg.stages.engines import Machines
    from medseg.stages.segment import Segmentation

FORMATS = ("nifti", "seg", "rtstruct")


def _formats(_ctx: click.Context, _param: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    if unknown := [name for name in names if name not in FORMATS]:
        raise click.BadParameter(f"{', '.join(unknown)}: known are {', '.join(FORMATS)}")
    return list(dict.fromkeys(names))


def _output(command: options.Command) -> options.Command:
    """Add what to write, and where."""
    for option in (
        click.option("--bids", is_flag=True, help="Name files as BIDS derivatives."),
        click.option("--overwrite", is_flag=True, help="Replace what another model has written."),
        click.option("--no-preview", is_flag=True, help="Draw no pictures."),
        click.option("--probabilities", is_flag=True, help="Also write each organ's probability."),
        click.option(
            "--per-organ", is_flag=True, help="Also write a mask an organ; these may overlap."
        ),
        click.option(
            "--format",
            "formats",
            default="nifti",
            show_default=True,
            callback=_formats,
            metavar="FORMAT,…",
            help="nifti, seg, rtstruct: one or several, with commas.",
        ),
        click.option(
            "-o",
            "--out",
            required=True,
            type=options.Place(results="predictions", file_okay=False),
            help="Folder to write to, or its address.",
        ),
    ):
        command = option(command)
    return command


def _input(command: options.Command) -> options.Command:
    """Add how images are to be read."""
    for option in (
        click.option("--nan-to-min", is_flag=True, help="Fill voxels that are no number."),
        click.option("--assume-ras", is_flag=True, help="Take images without a place as RAS."),
        click.option(
            "--use",
            type=click.Choice(["sform", "qform"]),
            help="Of a NIfTI file whose forms disagree, believe this one.",
        ),
        click.option(
            "--series",
            metavar="UID|NUMBER|all",
            help="Of several DICOM series: the UID or its end, the number, or all.",
        ),
    ):
        command = option(command)
    return command


def _exchange(command: options.Command) -> options.Command:
    """Add the PACS, MLflow's store, and what leaves no names."""
    for option in (
        click.option("--tracking-uri", help="MLflow's store; default runs/mlflow.db."),
        click.option(
            "--deidentify",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="KEYFILE",
            help="Map all identifiers in DICOM results with this key, made where there is none.",
        ),
        click.option("--to", "target", metavar="PACS", help="Send DICOM results there."),
        click.option("--study", "studies", multiple=True, help="UID of a study to fetch."),
        click.option(
            "--from",
            "source",
            metavar="PACS",
            help="Fetch from there: dicomweb:URL or dimse:AET@HOST:PORT.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("model", callback=options.model)
@click.argument("inputs", nargs=-1, type=options.Place(exists=True))
@_output
@_input
@_exchange
@options.settings
@options.trust_bundle
@options.device
@options.engine
@options.verbosity
@options.as_json
@options.pass_state
def predict(state: State, /, *, out: Path, **asked: Any) -> None:  # noqa: ANN401 - the options
    """Segment INPUTS with MODEL: a run folder, a bundle with weights, or a model in MLflow.

    An input is a DICOM folder or file, a NIfTI, NRRD or MetaImage file, a scan's folder of slices,
    a data folder with train/, or a CSV or JSON list of these.
    """
    from medseg.cli.display import display
    from medseg.stages.engines import machines_of
    from medseg.stages.segment import segment

    engine = asked.pop("engine"), asked.pop("address")
    with display(quiet=state.json or state.verbosity < 0) as shown, machines_of(*engine) as others:
        rows = segment(_wanted(out, asked, others), shown)
    if state.json:
        written = [{"scan_id": row["scan_id"], "files": [*row["files"]]} for row in rows]
        click.echo(json.dumps({"out": str(out), "studies": written}))
    elif state.verbosity >= 0:
        from medseg.io.remote_work import address_of

        click.echo(f"{address_of(out)}: {len(rows)} studies; see report.html")


def _wanted(out: Path, asked: dict[str, Any], others: "Machines | None") -> "Segmentation":
    from medseg.io.images import Reading
    from medseg.stages.cohort import Asked
    from medseg.stages.engines import device_of
    from medseg.stages.segment import Segmentation

    flags = {name: True for name in ("per_organ", "probabilities") if asked.pop(name)}
    settings = {"formats": asked.pop("formats"), **asked.pop("settings"), **flags}
    settings |= {"output_dir": str(out), "device": device_of(asked.pop("device"), others)}
    reading = Reading(*(asked.pop(name) for name in ("use", "assume_ras", "nan_to_min")))
    drawn = not asked.pop("no_preview")
    how = Asked(asked.pop("bids"), drawn, asked.pop("overwrite"), reading, machines=others)
    return Segmentation(settings=settings, asked=how, **asked)
