"""``medseg data new``: a manifest for data of the user's own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medseg.cli import options
from medseg.cli.options import State

if TYPE_CHECKING:
    from medseg.stages.data_new import NewData


class _Labels(click.ParamType):  # type: ignore[type-arg]
    """``liver=1,tumour=2``: names and integers."""

    name = "NAME=CODE,…"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, int]:
        """Return the integers by name."""
        if isinstance(value, dict):
            return value
        pairs = [part.partition("=") for part in str(value).split(",")]
        if not all(name.strip() and code.strip().isdecimal() for name, _, code in pairs):
            self.fail("must be like liver=1,tumour=2", param, ctx)
        return {name.strip(): int(code) for name, _, code in pairs}


@click.command()
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--labels", type=_Labels(), help="The organs' integers; default is dataset.json's.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; default is NAME.yaml.",
)
@options.verbosity
@options.as_json
@options.pass_state
def new(
    state: State, name: str, source: Path, labels: dict[str, int] | None, out: Path | None
) -> None:
    """Describe data of your own in a manifest, without writing code.

    SOURCE is a folder with imagesTr and labelsTr, as nnU-Net and the Medical Segmentation Decathlon
    have them, or a CSV table with the columns image, mask and, if you have it, patient.
    """
    from medseg.stages.data_new import new_data

    made = new_data(name, source, labels=labels or {}, out=out or Path(f"{name}.yaml"))
    click.echo(json.dumps(_plain(made)) if state.json else _told(made))


def _plain(made: "NewData") -> dict[str, object]:
    return {
        "manifest": str(made.file),
        "data": str(made.root),
        "scans": len(made.scans),
        "labelled": sum(scan.rle is not None for scan in made.scans),
        "patients": len({scan.case_id for scan in made.scans}),
        "channels": list(made.manifest.channels),
        "labels": {organ.name: organ.code for organ in made.manifest.labels.organs},
        "size_px": made.manifest.size_px,
        "spacing_mm": _spacing(made),
    }


def _told(made: "NewData") -> str:
    facts = _plain(made)
    spacing = _spacing(made)
    usual = " x ".join(f"{mm:g}" for mm in spacing) + " mm" if spacing else "not in the files"
    size = " x ".join(map(str, made.manifest.size_px or ()))
    labels = ", ".join(f"{o.name} {o.code}" for o in made.manifest.labels.organs)
    return "\n".join(
        [
            f"{made.file}: {facts['scans']} scans of {facts['patients']} patients, "
            f"{facts['labelled']} with labels",
            f"channels  {', '.join(made.manifest.channels)}",
            f"labels    {labels}",
            f"usually   {size} pixels, {usual}",
            "next      " + f"medseg data check {made.file} --data {made.root}",
            f"          medseg bundle new {made.file} unet",
        ]
    )


def _spacing(made: "NewData") -> tuple[float, float, float] | None:
    return made.manifest.spacing_mm if made.manifest.spacing_known else None
