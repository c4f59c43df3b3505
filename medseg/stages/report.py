"""Report: the page that tells what a run was, how good it is, and how it fails."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.data.label_files import LabelFiles, find_label_files
from medseg.engine.tracking import Tracker
from medseg.errors import DataError
from medseg.io.atomic import replacing
from medseg.labels import LabelSet
from medseg.report.cases import Case, by_scan, median_scan
from medseg.report.facts import RunFacts
from medseg.report.figures import run_picture, save
from medseg.report.page import Picture, photograph
from medseg.report.pictures import case_picture, read_scene
from medseg.report.run_page import PLANES, Key, run_page
from medseg.runs import Run
from medseg.scan import Scan
from medseg.stages.display import Display
from medseg.stages.gather import Scans, facts_of, scans_of

Predicted = Mapping[str, LabelFiles]

_OF_FOLDS = "Each fold was trained for itself: its report has its curves."
_RULES_OF_FOLDS = "Each fold chose rules for its own network: its report has them."


def report(run: Run, tracker: Tracker, display: Display, *, folds: Sequence[Run] = ()) -> None:
    """Write the run's report and keep it, with the picture of its typical scan, in MLflow."""
    tracker.log_artifact(write_report(run, display, folds=folds))
    if (run.folder / "overlays").exists():
        tracker.log_artifact(run.folder / "overlays", "overlays")


def write_report(run: Run, display: Display, *, folds: Sequence[Run] = ()) -> Path:
    """Write ``report.html`` from what the run's folder holds; return its path.

    What is missing the page says. Leaves ``overlays/scan.png``, too.

    Args:
        run: The run, or the parent of `folds`, whose scores are in its folder.
        display: Where to show progress.
        folds: The runs that trained and predicted, where the run is their parent.

    Raises:
        UsageError: The manifest that the run names is not there.
        DataError: A table or the split was changed by hand.
        ResourceError: The disk is full, or the folder cannot be written.
    """
    scans, parts = scans_of(run), tuple(folds) or (run,)
    facts = facts_of(run, scans, parts=parts)
    predicted = _predicted(parts, facts.manifest.labels)
    why = _why_not(facts, scans, predicted)
    wanted = {} if why else by_scan(facts.scores)
    display.begin("report", len(wanted) + 1)
    pictures: dict[Key, Picture] = {}
    for done, (scan_id, cases) in enumerate(wanted.items(), 1):
        try:
            pictures |= _drawn(run, facts, cases, scan=scans[scan_id], files=predicted.get(scan_id))
        except DataError as error:  # its organs count as missed; the others are shown
            display.say(str(error))
        display.advance(done, len(wanted) + 1)
    absent = {"curves": _OF_FOLDS, "cleaning": _RULES_OF_FOLDS} if folds else {}
    page = run_page(facts, pictures, absent=absent | ({"cases": why} if why else {}))
    file = run.folder / "report.html"
    with replacing(file) as stream:
        stream.write(page.encode())
    display.advance(len(wanted) + 1, len(wanted) + 1)
    return file


def _predicted(parts: Sequence[Run], labels: LabelSet) -> Predicted:
    """Return the label files of each scan; a scan is held out in one fold only."""
    found: dict[str, LabelFiles] = {}
    for part in parts:
        if any(part.predictions.glob("*.nii*")):
            found |= find_label_files(part.predictions, labels)
    return found


def _why_not(facts: RunFacts, scans: Scans, predicted: Predicted) -> str:
    """Return why there can be no pictures; nothing when there can."""
    if not facts.scores:
        return "The held-out scans have not been scored: there is no best or worst one yet."
    if not predicted:
        return "The run's folder holds no predictions any more."
    if not all(score.scan_id in scans for score in facts.scores):
        return "The data set is not where it was, so that no slice of it can be shown."
    return ""


def _drawn(
    run: Run, facts: RunFacts, cases: Sequence[Case], *, scan: Scan, files: LabelFiles | None
) -> dict[Key, Picture]:
    labels, scan_id = facts.manifest.labels, scan.scan_id
    scene = read_scene(scan, files, labels)
    pictures: dict[Key, Picture] = {c.key: case_picture(scene, labels, c) for c in cases}
    if scan_id == median_scan(facts.scores):
        planes = run_picture(*scene[:3], labels, spacing_mm=scene.spacing_mm, title=scan_id)
        save(planes, run.folder / "overlays" / "scan.png")
        told = f"{scan_id} from below, from the front and from the side"
        pictures[PLANES] = photograph(planes, told, dpi=100)
    return pictures
