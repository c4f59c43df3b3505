"""One scan of an evaluation: both sides read, compared and let go again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from medseg.data.label_files import LabelFiles, LabelRows
from medseg.errors import DataError, Problem
from medseg.labels import LabelSet
from medseg.metrics.scores import OrganScore, score_scan
from medseg.stages.evaluation import Options
from medseg.stages.reported import ReportedTerms, measure_reported


class Pair(NamedTuple):
    """Where the masks of a scan come from; `pred` is None where nothing was predicted."""

    scan_id: str
    pred: LabelFiles | LabelRows | None
    ref: LabelFiles | LabelRows


class ScanResult(NamedTuple):
    """What one scan gave.

    Attributes:
        scores: One an organ; none where the reference cannot be read.
        problems: What is wrong with either side.
        compared: Whether both sides could be read, and lie on one grid.
        reported: What it adds to scores as others report them.
    """

    scores: tuple[OrganScore, ...]
    problems: tuple[Problem, ...]
    compared: bool
    reported: ReportedTerms = ReportedTerms()


def score_one(pair: Pair, *, labels: LabelSet, options: Options) -> ScanResult:
    """Score a scan; a prediction that cannot be read, or lies elsewhere, is missed."""
    problems: list[Problem] = []
    scores: list[OrganScore] = []
    pred, others = None, ReportedTerms()
    with _noting(problems):
        truth = pair.ref.read(labels)
        if pair.pred is not None:
            with _noting(problems):
                pred = pair.pred.read(labels).onto(truth.grid, subject=pair.scan_id)
        scores = score_scan(
            pred.masks if pred else None,
            truth.masks,
            organs=labels.names,
            scan_id=pair.scan_id,
            grid=truth.grid,
            tolerance_mm=options.tolerance_mm,
        )
        others = measure_reported(
            pred, truth, scan_id=pair.scan_id, organs=labels.names, options=options
        )
    return ScanResult(tuple(scores), tuple(problems), pred is not None, others)


@contextmanager
def _noting(problems: list[Problem]) -> Iterator[None]:
    """Keep the problems of a DataError and go on after the block."""
    try:
        yield
    except DataError as error:
        problems += error.problems
