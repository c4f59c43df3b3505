"""Scores of several runs side by side: the same organs of the same scans, and nothing else.

A scan counts for an organ when the reference shows it or any of the runs predicted it. A run that
then rightly shows nothing has the best value there is, a share of 1 or a distance of 0, for
against a run that invented the organ it is right. An organ lost counts 0, or the scan's diagonal,
as in penalised means.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medseg.errors import DataError, Problem
from medseg.metrics.scores import METRICS, Metric, OrganScore
from medseg.metrics.statistics import Floats
from medseg.metrics.summary import penalised
from medseg.scan import case_id_of

ALL_ORGANS = "all organs"

_SHOWN = 5
# Scores are kept with six digits.
_SAME_VOLUME = 1e-4

Rows = Mapping[tuple[str, str], OrganScore]  # by scan and organ


class PairedOrgan(NamedTuple):
    """One organ, or the mean of several, in the scans where it counts.

    Attributes:
        organ: Its name, or `ALL_ORGANS`.
        scan_ids: The scans.
        values: What each run has there, ``(scans, runs)``.
        found: For each run the values where it predicted what is there; empty of `ALL_ORGANS`.
    """

    organ: str
    scan_ids: tuple[str, ...]
    values: Floats
    found: tuple[Floats, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """The patient of each scan."""
        return tuple(map(case_id_of, self.scan_ids))


class Paired(NamedTuple):
    """What may be compared, and what may not.

    Attributes:
        runs: The names of the runs.
        metric: What is compared.
        scan_ids: The scans that all runs share.
        organs: Those that all share, in the order of the first, and where there are several their
            mean by scan.
        problems: What was left out, as warnings.
    """

    runs: tuple[str, ...]
    metric: Metric
    scan_ids: tuple[str, ...]
    organs: tuple[PairedOrgan, ...]
    problems: tuple[Problem, ...]


def pair_scores(runs: Mapping[str, Sequence[OrganScore]], metric: Metric) -> Paired:
    """Pair the scores of runs by scan and organ.

    Raises:
        DataError: No scan or no organ is in all runs, a scan is in one twice, has no value, or was
            measured against another reference (E-PAIRS).
    """
    tables = {name: _table(name, scores) for name, scores in runs.items()}
    scan_ids, organs = (_shared(tables, part) for part in (0, 1))
    if not scan_ids or not organs:
        what = "organ" if scan_ids else "scan"
        counts = ", ".join(f"{len({key[0] for key in rows})} in {n}" for n, rows in tables.items())
        fix = "compare runs that were tested on the same scans"
        found = f"no {what} is in all of them; scans: {counts}"
        raise DataError(Problem("E-PAIRS", " and ".join(tables), found, f"common {what}s", fix))
    _require_one_reference(tables, scan_ids, metric)
    singles = [_organ(organ, tables, scan_ids, metric) for organ in organs]
    whole = [_mean_of(singles)] if len(organs) > 1 else []
    counted = tuple(organ for organ in singles + whole if organ.scan_ids)
    return Paired(tuple(tables), metric, scan_ids, counted, tuple(_left_out(tables, scan_ids)))


def metric_named(name: str) -> Metric:
    """Return a row of `METRICS`.

    Raises:
        KeyError: There is none of that name.
    """
    return {metric.name: metric for metric in METRICS}[name]


def counted_value(score: OrganScore, metric: Metric) -> float:
    """Return what a score counts in a comparison; a signed error counts by its size."""
    if score.status == "both_empty":
        return 1.0 if metric.better == "higher" else 0.0
    value = penalised(score, metric.name)
    return abs(value) if metric.better == "zero" else value


def _table(run: str, scores: Sequence[OrganScore]) -> Rows:
    twice = [key for key, n in Counter((s.scan_id, s.organ) for s in scores).items() if n > 1]
    if twice:
        found = f"{len(twice)} scores are there twice, such as {' '.join(twice[0])}"
        raise DataError(Problem("E-PAIRS", run, found, "one score an organ and scan"))
    return {(score.scan_id, score.organ): score for score in scores}


def _shared(tables: Mapping[str, Rows], part: int) -> tuple[str, ...]:
    """Return the scans (part 0) or organs (part 1) that all have, in the order of the first."""
    named = [dict.fromkeys(key[part] for key in rows) for rows in tables.values()]
    return tuple(name for name in named[0] if all(name in others for others in named[1:]))


def _require_one_reference(
    tables: Mapping[str, Rows], scan_ids: Sequence[str], metric: Metric
) -> None:
    """Refuse runs that were not scored against the same masks, or not in the same way."""
    (first, ours), *others = tables.items()
    wrong = []
    for name, theirs in others:
        both = [key for key in ours if key[0] in scan_ids and key in theirs]
        pairs = [(key, ours[key], theirs[key]) for key in both]
        differ = [key for key, a, b in pairs if not _same(a.volume_ref_ml, b.volume_ref_ml)]
        if differ:
            found = f"the reference of {' '.join(differ[0])} has another volume than in {first}"
            wrong.append(Problem("E-PAIRS", name, found, "scores against the same masks"))
        if metric.name == "nsd" and any(a.tolerance_mm != b.tolerance_mm for _, a, b in pairs):
            found = f"has another tolerance than {first}"
            wrong.append(Problem("E-PAIRS", name, found, "one tolerance for all"))
    for name, rows in tables.items():
        lost = [key for key, s in rows.items() if math.isnan(counted_value(s, metric))]
        if lost:
            found = f"{metric.name} of {' '.join(lost[0])} is no number"
            wrong.append(Problem("E-PAIRS", name, found, "a value for every organ and scan"))
    if wrong:
        raise DataError(*wrong)


def _same(a_ml: float, b_ml: float) -> bool:
    return math.isclose(a_ml, b_ml, rel_tol=_SAME_VOLUME, abs_tol=_SAME_VOLUME)


def _counting(organ: str, tables: Mapping[str, Rows], scan_ids: Sequence[str]) -> list[str]:
    """Return the scans in which an organ counts: scored in all runs, and not empty in all."""
    return [
        scan_id
        for scan_id in scan_ids
        if all((scan_id, organ) in rows for rows in tables.values())
        and any(rows[scan_id, organ].status != "both_empty" for rows in tables.values())
    ]


def _organ(
    organ: str, tables: Mapping[str, Rows], scan_ids: Sequence[str], metric: Metric
) -> PairedOrgan:
    scans = _counting(organ, tables, scan_ids)
    scores = [[rows[scan_id, organ] for rows in tables.values()] for scan_id in scans]
    values = np.array([[counted_value(s, metric) for s in row] for row in scores])
    ok = np.array([[s.status == "ok" for s in row] for row in scores], bool)
    values, ok = (table.reshape(len(scans), len(tables)) for table in (values, ok))
    found = tuple(values[ok[:, run], run] for run in range(len(tables)))
    return PairedOrgan(organ, tuple(scans), values, found)


def _mean_of(organs: Sequence[PairedOrgan]) -> PairedOrgan:
    """Return the mean over the organs that count in each scan."""
    rows: dict[str, list[Floats]] = {}
    for organ in organs:
        for scan_id, row in zip(organ.scan_ids, organ.values, strict=True):
            rows.setdefault(scan_id, []).append(row)
    means = np.array([np.mean(several, axis=0) for several in rows.values()])
    return PairedOrgan(ALL_ORGANS, tuple(rows), means, ())


def _left_out(tables: Mapping[str, Rows], scan_ids: Sequence[str]) -> list[Problem]:
    """Return what only some of the runs have: scans, organs, and single organs of shared scans."""
    problems = []
    organs = _shared(tables, 1)
    for name, rows in tables.items():
        alone = [key for key in rows if not all(key in others for others in tables.values())]
        scans = dict.fromkeys(scan_id for scan_id, _ in alone if scan_id not in scan_ids)
        others = dict.fromkeys(organ for _, organ in alone if organ not in organs)
        scores = [" ".join(key) for key in alone if key[0] in scan_ids and key[1] in organs]
        for what, names in (("scan", scans), ("organ", others), ("score", scores)):
            if names:
                many = what if len(names) == 1 else f"{what}s"
                found = f"{len(names)} {many} that not all runs have, left out: {listed(names)}"
                problems.append(Problem("W-PAIRS", name, found, level="warning"))
    return problems


def listed(names: Collection[str]) -> str:
    """Return the first five names in a row, and whether there are more."""
    shown = ", ".join(list(names)[:_SHOWN])
    return f"{shown} …" if len(names) > _SHOWN else shown
