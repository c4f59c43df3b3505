"""Evaluate: predictions against a reference, organ by organ and scan by scan."""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from medseg.data.label_files import unmatched
from medseg.data.manifest import Manifest
from medseg.data.sides import find_sides, held_out
from medseg.errors import DataError, Problem
from medseg.metrics.scores import OrganScore
from medseg.metrics.summary import Summary, summarise
from medseg.report.reported import Reported
from medseg.stages.evaluation import Options
from medseg.stages.reported import reported
from medseg.stages.scan_scores import Pair, ScanResult, score_one
from medseg.stages.workers import worked


class Evaluation(NamedTuple):
    """Scores by organ and scan, their summary, and what went wrong or is worth knowing.

    Scores as others report them are there if asked for.
    """

    scores: tuple[OrganScore, ...]
    summary: Summary
    problems: tuple[Problem, ...]
    reported: Reported = Reported()


_AS_USUAL = Options()


def _lost(pair: Pair, problem: Problem) -> ScanResult:
    return ScanResult((), (replace(problem, subject=pair.scan_id),), compared=False)


def evaluate(
    predictions: Path,
    reference: Path,
    manifest: Manifest,
    *,
    scan_ids: Collection[str] | None = None,
    options: Options = _AS_USUAL,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score every scan of the reference.

    A scan without a prediction, or with one that cannot be read, is missed for every organ.

    Args:
        predictions: What `medseg.data.sides` reads.
        reference: The same; overlapping labels are kept where it holds them.
        manifest: The labels, and how to read the data set.
        scan_ids: Evaluate only these; None takes all of the reference, of a run's predictions
            those that the run has not learnt from.
        options: How to evaluate.
        progress: Called with the scans done and their number.

    Raises:
        DataError: No scan could be scored; all problems are told.
    """
    predicted, references = find_sides(predictions, reference, manifest, data=options.data)
    wanted = held_out(predictions) if scan_ids is None else scan_ids
    chosen = [scan_id for scan_id in references if wanted is None or scan_id in wanted]
    pairs = [Pair(scan_id, predicted.get(scan_id), references[scan_id]) for scan_id in chosen]
    alike = options._replace(machines=None)
    score = partial(score_one, labels=manifest.labels, options=alike)
    if machines := options.machines:
        machines.require([predictions, reference, *([options.data] if options.data else [])])
    results = worked(
        score, pairs, workers=options.workers, progress=progress, machines=machines, lost=_lost
    )
    problems = unmatched(chosen, predicted) + [p for result in results for p in result.problems]
    if not any(result.compared for result in results):
        found = "no scan of the reference could be compared with a prediction"
        expected = "files named as the reference's scans"
        raise DataError(Problem("E-MISSING", str(predictions), found, expected), *problems)
    scores = tuple(score for result in results for score in result.scores)
    others = reported([result.reported for result in results], manifest)
    return Evaluation(scores, summarise(scores), tuple(problems), others)
