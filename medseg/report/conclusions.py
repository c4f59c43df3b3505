"""What may be concluded from a comparison, in sentences, and what may not."""

from collections.abc import Iterator, Sequence

from medseg.metrics.comparison import ALPHA, Comparison, Difference
from medseg.metrics.pairing import ALL_ORGANS
from medseg.metrics.statistics import LEAST_PATIENTS
from medseg.report.panels import spoken


def conclusions(comparison: Comparison) -> list[str]:
    """Return the sentences: who is better, where nothing can be said and why, and the ranking."""
    if not comparison.organs:
        return ["No run shows an organ, and neither does the reference: there is nothing to tell."]
    if comparison.n_patients < comparison.patients_needed:
        return [_too_few(comparison), _ranking(comparison)]
    rows = [row for organ in comparison.organs for row in organ.differences]
    told = [_better(row, comparison) for row in rows if row.better]
    undecided = [row for row in rows if not row.better]
    for pair in dict.fromkeys((row.first, row.second) for row in undecided):
        told += _of_pair([row for row in undecided if (row.first, row.second) == pair], comparison)
    if undecided:
        told.append(
            "Where no difference is shown the runs are not proved equal: the interval tells how "
            "large a difference may still be."
        )
    return [*told, _ranking(comparison)]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural but for one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share in [0, 1] as a whole percentage."""
    return f"{100 * share:.0f} %"


def digits_of(comparison: Comparison) -> int:
    """Return how many digits after the point a value of the metric is shown with."""
    return 2 if comparison.metric.unit else 3


def _too_few(comparison: Comparison) -> str:
    return (
        f"With {counted(comparison.n_patients, 'patient')} nothing can be concluded: before any of "
        f"{counted(comparison.n_tests, 'test')} can show a difference it takes "
        f"{comparison.patients_needed}, all on one side."
    )


def _better(row: Difference, comparison: Comparison) -> str:
    other = row.second if row.better == row.first else row.first
    low, high = sorted(abs(end) for end in (row.interval.low, row.interval.high))
    digits, unit = digits_of(comparison), f" {comparison.metric.unit}".rstrip()
    more = "more" if comparison.metric.better == "higher" else "less"
    return (
        f"{row.better} is better than {other} on {_organ(row)}: "
        f"{abs(row.interval.mean):.{digits}f}{unit} {more} {comparison.metric.title} "
        f"({percent(comparison.level)} interval {low:.{digits}f} to {high:.{digits}f}{unit}; "
        f"corrected p {_p(row.p_holm)}; {counted(row.interval.n_patients, 'patient')})."
    )


def _of_pair(rows: Sequence[Difference], comparison: Comparison) -> Iterator[str]:
    """Yield why nothing can be said of a pair, organs with one reason in one sentence."""
    reasons: dict[tuple[str, int], list[Difference]] = {}
    for row in rows:
        reasons.setdefault((_reason(row, comparison), row.interval.n_patients), []).append(row)
    for (reason, n_patients), alike in reasons.items():
        told = [f"{_organ(row)} ({_reach(row, comparison)})" for row in alike]
        last = f" and {told.pop()}" if len(told) > 1 else ""
        yield (
            f"Between {rows[0].first} and {rows[0].second} {reason} on {', '.join(told)}{last}; "
            f"{counted(n_patients, 'patient')}."
        )


def _reason(row: Difference, comparison: Comparison) -> str:
    if not any(row.by_patient):
        return "nothing differs"
    if row.interval.n_patients < comparison.patients_needed:
        return "there are too few patients to conclude anything"
    if row.p_holm < ALPHA:
        return (
            "no difference can be concluded, for most patients are on one side but the mean may "
            "not be,"
        )
    if row.interval.low > 0 or row.interval.high < 0:
        return (
            "no difference can be concluded, for the interval leaves out zero but the test "
            f"corrected for {counted(comparison.n_tests, 'comparison')} does not confirm it,"
        )
    return "no difference can be shown"


def _reach(row: Difference, comparison: Comparison) -> str:
    digits, unit = digits_of(comparison), f" {comparison.metric.unit}".rstrip()
    low, high = (f"{end:.{digits}f}" for end in (row.interval.low, row.interval.high))
    return f"interval {low} to {high}{unit}, corrected p {_p(row.p_holm)}"


def _ranking(comparison: Comparison) -> str:
    ranking, last = comparison.ranking, comparison.organs[-1]
    names = [comparison.runs[index] for index in ranking.order] if ranking else []
    by = "the mean over organs" if last.organ == ALL_ORGANS else spoken(last.organ)
    told = f"Ranked by {by}: {', '.join(names)}."
    if ranking is None or comparison.n_patients < LEAST_PATIENTS:
        return f"{told} So few patients do not tell how firm that is."
    first = ranking.first[ranking.order[0]]
    return (
        f"{told} Of draws of other patients {percent(ranking.same)} keep this order, and "
        f"{percent(first)} keep {names[0]} first."
    )


def _organ(row: Difference) -> str:
    return "the mean over organs" if row.organ == ALL_ORGANS else spoken(row.organ)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
