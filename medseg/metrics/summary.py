"""What may be said of an organ over many scans.

A mean is only as good as what it leaves out, so none stands alone: the *found* mean is over the
scans where the organ is there and was predicted, and says how good outlines are where there are
any; the *penalised* mean is over all but those that show it on neither side, a distance that was
never measured counting as the scan's diagonal. It is the one to compare by, because losing a
detection can never improve it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from medseg.metrics.overlap import STATUSES
from medseg.metrics.scores import METRICS, OrganScore


class OrganSummary(NamedTuple):
    """One organ over many scans; every mean says over how many, and is NaN over none.

    Attributes:
        organ: The organ's name.
        n: Scans.
        n_ok: Scans where it was predicted and there: those of the found means.
        n_both_empty: Scans where it was neither.
        n_missed: Scans where it was there but not predicted, or where nothing was predicted at all.
        n_false_positive: Scans where it was predicted but not there.
        found: Mean over the `n_ok` scans, by the name of the metric.
        penalised: Mean over the `n_penalised` scans, likewise.
        sensitivity: Share of the scans with the organ in which it was predicted.
        specificity: Share of the scans without the organ in which it was left out.
    """

    organ: str
    n: int
    n_ok: int
    n_both_empty: int
    n_missed: int
    n_false_positive: int
    found: Mapping[str, float]
    penalised: Mapping[str, float]
    sensitivity: float
    specificity: float

    @property
    def n_penalised(self) -> int:
        """Scans in the penalised means."""
        return self.n - self.n_both_empty


class Summary(NamedTuple):
    """Every organ over many scans."""

    n_scans: int
    organs: tuple[OrganSummary, ...]


def summarise(scores: Sequence[OrganScore]) -> Summary:
    """Return the summary of scores, organs in the order in which they first appear."""
    organs = list(dict.fromkeys(score.organ for score in scores))
    by_organ = [[score for score in scores if score.organ == organ] for organ in organs]
    n_scans = len({score.scan_id for score in scores})
    return Summary(n_scans, tuple(_of_organ(rows) for rows in by_organ))


def worst(scores: Sequence[OrganScore], *, count: int) -> dict[str, list[OrganScore]]:
    """Return the `count` worst scans by organ, worst first: by Dice, then by HD95.

    Scans with the organ on neither side have no Dice, and are not among them.
    """
    organs = dict.fromkeys(score.organ for score in scores)
    counted = [score for score in scores if score.status != "both_empty"]
    ranked = sorted(counted, key=lambda score: (score.dice, -penalised(score, "hd95_mm")))
    return {organ: [s for s in ranked if s.organ == organ][:count] for organ in organs}


def penalised(score: OrganScore, metric: str) -> float:
    """Return what a score counts in penalised means: the scan's diagonal where it is infinite.

    NaN where the organ is in neither mask, for that is in no mean.
    """
    value = float(getattr(score, metric))
    return score.diagonal_mm if math.isinf(value) else value


def _of_organ(scores: Sequence[OrganScore]) -> OrganSummary:
    n = {status: sum(score.status == status for score in scores) for status in STATUSES}
    found = [score for score in scores if score.status == "ok"]
    counted = [score for score in scores if score.status != "both_empty"]
    present = sum(score.volume_ref_ml > 0 for score in scores)
    return OrganSummary(
        organ=scores[0].organ,
        n=len(scores),
        n_ok=n["ok"],
        n_both_empty=n["both_empty"],
        n_missed=n["missed"],
        n_false_positive=n["false_positive"],
        found=_means(found, getattr),
        penalised=_means(counted, penalised),
        sensitivity=_share(n["ok"], present),
        specificity=_share(n["both_empty"], len(scores) - present),
    )


def _means(
    scores: Sequence[OrganScore], of: Callable[[OrganScore, str], float]
) -> dict[str, float]:
    names = [metric.name for metric in METRICS]
    return {name: _share(math.fsum(of(s, name) for s in scores), len(scores)) for name in names}


def _share(part: float, whole: int) -> float:
    return part / whole if whole else math.nan
