"""View: scans with their organs, predicted and true, on a page for this machine alone."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medseg.data.findings import log_warnings
from medseg.data.manifest import read_manifest
from medseg.errors import Problem, Stopped
from medseg.report.viewer_cases import find_cases
from medseg.report.viewer_server import HOST, bound, new_token, routes


class Shown(NamedTuple):
    """What to show: as `medseg.report.viewer_cases.find_cases` takes it, and a title."""

    predictions: Path
    manifest: str
    images: Path | None
    reference: Path | None
    scores: Path | None
    title: str


def shown(
    target: Path,
    *,
    images: Path | None = None,
    reference: Path | None = None,
    manifest: str | None = None,
) -> Shown:
    """Return what there is to show of a run folder or a folder of predictions.

    A run knows its data set, and is shown without it where that is no longer there.
    """
    scores = target / "metrics.csv"
    found = scores if scores.is_file() else None
    if not (target / "config.json").is_file():
        return Shown(target, manifest or "uwmgi", images, reference, found, target.resolve().name)
    from medseg.runs import open_run

    run = open_run(target)
    data = Path(run.config["dataset_dir"])
    there = data if data.is_dir() else None
    if there is None and images is None:
        fix = "name it with --images and --reference"
        gone = Problem("W-DATA", str(data), "is no longer there", fix=fix, level="warning")
        log_warnings([gone])
    return Shown(
        run.predictions,
        manifest or run.config["manifest"],
        images or there,
        reference or there,
        found,
        f"{run.experiment} {run.name}",
    )


def view(what: Shown, *, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; `ready` is called with its URL once it answers.

    Raises:
        DataError: There is nothing to show, or a folder holds faults.
        ResourceError: The port is in use.
        Stopped: A signal other than Ctrl-C ended it.
    """
    facts = read_manifest(what.manifest)
    folders = {"images": what.images, "reference": what.reference, "scores": what.scores}
    cases = find_cases(what.predictions, facts, **folders)
    answer, token = routes(cases, facts.labels, title=what.title), new_token()
    with bound(answer, port=port, token=token) as server:
        try:
            ready(f"http://{HOST}:{server.server_port}/{token}/")
            server.serve_forever()
        except Stopped:
            raise
        except KeyboardInterrupt:
            return
