"""``medseg view``: scans and organs in the browser."""

from pathlib import Path

import click

from medseg.cli import options

_FOLDER = options.Place(exists=True, file_okay=False)


@click.command()
@click.argument("target", type=_FOLDER, metavar="RUN_OR_FOLDER")
@click.option("--images", type=_FOLDER, help="Scans: NIfTI by scan id, or a data set's folder.")
@click.option("--reference", type=_FOLDER, help="Truth: label files, or a data set's folder.")
@click.option("--manifest", help="Data set whose labels these are.  [default: the run's, or uwmgi]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5050,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@options.verbosity
def view(
    target: Path,
    *,
    images: Path | None,
    reference: Path | None,
    manifest: str | None,
    port: int,
    opens: bool,
) -> None:
    """Show scans and their organs, predicted and true, until Ctrl-C.

    RUN_OR_FOLDER is a run, which knows its data, or a folder of predictions:
    <scan>.nii.gz, or <scan>_<organ>.nii.gz; metrics.csv in it orders the list. Only this machine
    reaches the page, at the address that is told.
    """
    from medseg.stages.view import shown
    from medseg.stages.view import view as serve

    def ready(url: str) -> None:
        click.echo(f"{url}  (Ctrl-C ends it)")
        if opens:
            click.launch(url)

    serve(
        shown(target, images=images, reference=reference, manifest=manifest),
        port=port,
        ready=ready,
    )
