"""One network trained several times: scores of each scan, averaged over the trainings.

Another seed is another draw of the same network, not another patient. Averaged first, scan by scan,
five trainings leave as many patients as one, and neither a lucky nor an unlucky one decides.
"""

import math
from collections.abc import Sequence

from medseg.errors import DataError, Problem
from medseg.metrics.overlap import Status
from medseg.metrics.pairing import counted_value
from medseg.metrics.scores import METRICS, OrganScore


def averaged(repeats: Sequence[Sequence[OrganScore]]) -> list[OrganScore]:
    """Return a score an organ and scan: the mean over repeats, all on the same scans.

    A repeat that lost or invented the organ counts 0, or the scan's diagonal; one that rightly
    shows nothing, where another invents something, counts 1, or 0 mm. Signed errors keep their
    sign. Where all repeats show the organ on neither side the score says so. The scores of one
    repeat are returned as they are.

    Raises:
        DataError: The repeats have not the same scans and organs (E-PAIRS).
    """
    if len(repeats) == 1:
        return list(repeats[0])
    tables = [{(s.scan_id, s.organ): s for s in scores} for scores in repeats]
    first, *others = tables
    if any(other.keys() != first.keys() for other in others):
        found = f"trainings were tested on {', '.join(str(len(t)) for t in tables)} organs of scans"
        raise DataError(Problem("E-PAIRS", "trainings", found, "the same scans for each"))
    return [_averaged([table[key] for table in tables]) for key in first]


def _averaged(scores: Sequence[OrganScore]) -> OrganScore:
    statuses = {score.status for score in scores}
    if statuses == {"both_empty"}:
        return scores[0]
    means = {metric.name: _mean([counted_value(s, metric) for s in scores]) for metric in METRICS}
    for name in ("volume_error_ml", "volume_pred_ml", "volume_ref_ml"):
        means[name] = _mean([getattr(score, name) for score in scores])
    return scores[0]._replace(status=_status(statuses), **means)  # type: ignore[arg-type]


def _status(statuses: set[Status]) -> Status:
    """Return what can be said of all repeats: one that found the organ has outlines to judge."""
    if "ok" in statuses:
        return "ok"
    return "missed" if "missed" in statuses else "false_positive"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
