"""Which scans a report shows: the best, the median and the worst of every organ, and failures."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from medseg.metrics.scores import OrganScore

POOREST = 0.1  # of the scans of an organ that was found
MOST_PICTURES = 24


class Case(NamedTuple):
    """One organ in one scan, and why it is shown: ``best``, ``median``, ``worst``, ``failure``."""

    score: OrganScore
    why: str

    @property
    def key(self) -> tuple[str, str]:
        """Scan and organ: there is one picture of them, whatever the reasons."""
        return self.score.scan_id, self.score.organ


def typical_cases(scores: Sequence[OrganScore]) -> list[Case]:
    """Return the worst, the median and the best scan of each organ by Dice, as far as there are.

    Scans that show the organ on neither side have no Dice and do not count.
    """
    cases = []
    for organ in dict.fromkeys(score.organ for score in scores):
        ranked = _ranked([score for score in scores if score.organ == organ])
        if len(ranked) >= 2:
            cases.append(Case(ranked[-1], "best"))
        if len(ranked) >= 3:
            cases.append(Case(ranked[len(ranked) // 2], "median"))
        if ranked:
            cases.append(Case(ranked[0], "worst"))
    return cases


def failures(scores: Sequence[OrganScore]) -> list[Case]:
    """Return every missed and falsely drawn organ, and of those found the poorest tenth by organ.

    At least one of an organ that was found; those that are wrong altogether come first.
    """
    wrong = [score for score in scores if score.status in ("missed", "false_positive")]
    poor = []
    for organ in dict.fromkeys(score.organ for score in scores):
        found = [score for score in scores if score.organ == organ and score.status == "ok"]
        poor += _ranked(found)[: math.ceil(POOREST * len(found))]
    return [Case(score, "failure") for score in (*wrong, *sorted(poor, key=lambda s: s.dice))]


def pictured(scores: Sequence[OrganScore]) -> list[Case]:
    """Return the cases to draw, each scan and organ once, at most `MOST_PICTURES`."""
    every = {case.key: case for case in reversed([*typical_cases(scores), *failures(scores)])}
    return list(reversed(every.values()))[:MOST_PICTURES]


def by_scan(scores: Sequence[OrganScore]) -> dict[str, list[Case]]:
    """Return the cases to draw by scan, so that each is read once; the typical scan is among them.

    Args:
        scores: At least one.
    """
    wanted: dict[str, list[Case]] = {median_scan(scores): []}
    for case in pictured(scores):
        wanted.setdefault(case.score.scan_id, []).append(case)
    return wanted


def median_scan(scores: Sequence[OrganScore]) -> str:
    """Return the scan in the middle by its mean Dice: neither the best nor the worst is typical."""
    dice: dict[str, list[float]] = {}
    for score in scores:
        dice.setdefault(score.scan_id, []).append(0.0 if math.isnan(score.dice) else score.dice)
    ranked = sorted(dice, key=lambda scan_id: sum(dice[scan_id]))
    return ranked[len(ranked) // 2]


def _ranked(scores: Sequence[OrganScore]) -> list[OrganScore]:
    """Return the scores that have a Dice, the lowest first."""
    return sorted((s for s in scores if not math.isnan(s.dice)), key=lambda s: (s.dice, s.scan_id))
