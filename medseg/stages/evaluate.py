"""Evaluate: predicted label files against a reference, organ by organ and scan by scan."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from medseg.data.label_files import find_label_files, find_references, read_reference, unmatched
from medseg.data.manifest import Manifest
from medseg.errors import DataError, Problem
from medseg.metrics.scores import OrganScore, score_scan
from medseg.metrics.summary import Summary, summarise


class Evaluation(NamedTuple):
    """Scores by organ and scan, their summary, and what went wrong or is worth knowing."""

    scores: tuple[OrganScore, ...]
    summary: Summary
    problems: tuple[Problem, ...]


def evaluate(
    predictions: Path,
    reference: Path,
    manifest: Manifest,
    *,
    scan_ids: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score every scan of the reference, one in memory at a time.

    A scan without a prediction, or with one that cannot be read, is missed for every organ.

    Args:
        predictions: A folder of label files, see `medseg.data.label_files`.
        reference: Such a folder, or a data set's root; its overlapping labels are kept.
        manifest: The labels, and how to read the data set.
        scan_ids: Evaluate only these; None takes all of the reference.
        progress: Called with the scans done and their number.

    Raises:
        DataError: No scan could be scored; all problems are told.
    """
    labels = manifest.labels
    references = find_references(reference, manifest)
    chosen = [scan_id for scan_id in references if scan_ids is None or scan_id in scan_ids]
    predicted = find_label_files(predictions, labels)
    problems = unmatched(chosen, predicted)
    scores: list[OrganScore] = []
    compared = 0
    for done, scan_id in enumerate(chosen, 1):
        with _noting(problems):
            truth, pred = read_reference(references[scan_id], labels), None
            if scan_id in predicted:
                with _noting(problems):
                    pred = predicted[scan_id].read(labels).onto(truth.grid, subject=scan_id)
                    compared += 1
            masks = pred.masks if pred else None
            scores += score_scan(
                masks, truth.masks, organs=labels.names, scan_id=scan_id, grid=truth.grid
            )
        if progress is not None:
            progress(done, len(chosen))
    if not compared:
        found = "no scan of the reference could be compared with a prediction"
        expected = "files named as the reference's scans"
        raise DataError(Problem("E-MISSING", str(predictions), found, expected), *problems)
    return Evaluation(tuple(scores), summarise(scores), tuple(problems))


@contextmanager
def _noting(problems: list[Problem]) -> Iterator[None]:
    """Keep the problems of a DataError and go on after the block."""
    try:
        yield
    except DataError as error:
        problems += error.problems
