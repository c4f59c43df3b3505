"""How often intervals hold the truth, and how often equal runs are called different.

python benchmarks/intervals.py [--rounds 2000] [--studies 1000]

Both are simulated, with a fixed seed: patients have one to six scans, and those of a patient are
alike. The second table is what `medseg.metrics.compare_scores` concludes about runs of one quality.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from medseg.metrics import OrganScore, compare_scores, patient_interval
from medseg.metrics.statistics import resampled_means

ORGANS = ("large_bowel", "small_bowel", "stomach")
LEVEL, TAIL, DRAWS = 0.95, 0.025, 1000

Floats = NDArray[np.float64]
Ends = tuple[float, float]


class Sample(NamedTuple):
    """A value a scan, and the patient of each."""

    values: Floats
    patients: list[str]


def sample(kind: str, n_patients: int, rng: np.random.Generator) -> Sample:
    """Draw patients with their scans."""
    of = np.repeat(np.arange(n_patients), rng.integers(1, 7, n_patients))
    patient, scan = rng.normal(0, 1, n_patients)[of], rng.normal(0, 1, len(of))
    lost = rng.random((2, len(of))) < 0.04
    match kind:
        case "Dice, 4 % lost":
            values = np.where(lost[0], 0, 1 / (1 + np.exp(-2 - 0.7 * (patient + scan))))
        case "HD95, skewed":
            values = np.exp(0.6 * (patient + scan))
        case "difference":
            values = 0.03 * patient + 0.03 * rng.standard_t(4, len(of))
        case _:
            values = 0.01 * (patient + scan) + 0.8 * (1.0 * lost[0] - lost[1])
    return Sample(values, [str(n) for n in of])


KINDS = ("Dice, 4 % lost", "HD95, skewed", "difference", "difference, 4 % lost by either")


def ours(drawn: Sample) -> Ends:
    """Return the ends of medseg's interval."""
    return patient_interval(*drawn, n_resamples=DRAWS)[1:3]


def by_scan(drawn: Sample) -> Ends:
    """Return the same with every scan taken for a patient."""
    alone = [str(n) for n in range(len(drawn.values))]
    return patient_interval(drawn.values, alone, n_resamples=DRAWS)[1:3]


def percentile(drawn: Sample) -> Ends:
    """Return the plain percentiles of draws of patients."""
    low, high = np.quantile(_means(drawn), (TAIL, 1 - TAIL))
    return float(low), float(high)


def bca(drawn: Sample) -> Ends:
    """Return bias-corrected, accelerated percentiles; Efron & Tibshirani 1993, chapter 14."""
    means, mean = _means(drawn), drawn.values.mean()
    below = np.mean(means < mean) + np.mean(means == mean) / 2
    bias = ndtri(np.clip(below, 1 / DRAWS, 1 - 1 / DRAWS))
    of = np.array(drawn.patients)
    without = np.array([drawn.values[of != patient].mean() for patient in dict.fromkeys(of)])
    away = without.mean() - without
    skew = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    z = bias + np.array([ndtri(TAIL), ndtri(1 - TAIL)])
    low, high = np.quantile(means, ndtr(bias + z / (1 - skew * z)))
    return float(low), float(high)


METHODS: dict[str, Callable[[Sample], Ends]] = {
    "medseg": ours,
    "percentile": percentile,
    "BCa": bca,
    "medseg, by scan": by_scan,
}


def coverage(kind: str, n_patients: int, rounds: int) -> dict[str, float]:
    """Return how often each method's interval holds the true mean."""
    rng = np.random.default_rng(n_patients)
    true = sample(kind, 300_000, np.random.default_rng(0)).values.mean()
    held = dict.fromkeys(METHODS, 0)
    for _ in range(rounds):
        drawn = sample(kind, n_patients, rng)
        for name, method in METHODS.items():
            low, high = method(drawn)
            held[name] += low <= true <= high
    return {name: count / rounds for name, count in held.items()}


def study(n_patients: int, n_runs: int, rng: np.random.Generator) -> dict[str, list[OrganScore]]:
    """Draw runs of one quality: their errors differ by patient and by scan, their means do not."""
    of = np.repeat(np.arange(n_patients), rng.integers(1, 7, n_patients))
    hard = {organ: rng.normal(0, 0.5, n_patients)[of] for organ in ORGANS}
    runs: dict[str, list[OrganScore]] = {}
    for run in range(n_runs):
        rows = runs.setdefault(f"run{run}", [])
        for organ in ORGANS:
            suits = rng.normal(0, 0.4, n_patients)[of] + rng.normal(0, 0.2, len(of))
            dice = 1 / (1 + np.exp(-2 - hard[organ] - suits))
            dice[rng.random(len(of)) < 0.01] = 0
            names = [f"case{n}_day{day}" for day, n in enumerate(of)]
            rows += [_score(name, organ, d) for name, d in zip(names, dice, strict=True)]
    return runs


def alarms(n_patients: int, n_runs: int, studies: int) -> Floats:
    """Return the share of studies with a difference: by medseg, p below 0.05, and by scan."""
    rng, found = np.random.default_rng(1), np.zeros(3)
    for _ in range(studies):
        runs = study(n_patients, n_runs, rng)
        alone = {
            name: [row._replace(scan_id=row.scan_id.replace("_day", "x")) for row in rows]
            for name, rows in runs.items()
        }
        rows, scans = (
            [
                row
                for organ in compare_scores(each, n_resamples=300).organs
                for row in organ.differences
            ]
            for each in (runs, alone)
        )
        found += (
            any(row.better for row in rows),
            any(row.p < 1 - LEVEL for row in rows),
            any(row.better for row in scans),
        )
    return found / studies


@click.command()
@click.option("--rounds", default=2000, show_default=True, help="Intervals of each kind.")
@click.option("--studies", default=1000, show_default=True, help="Simulated comparisons.")
def main(rounds: int, studies: int) -> None:
    """Print both tables."""
    click.echo(f"coverage of {LEVEL:.0%} intervals, {rounds} rounds")
    click.echo(f"{'':<34}{'patients':>9}" + "".join(f"{name:>17}" for name in METHODS))
    for kind in KINDS:
        for n_patients in (4, 8, 15, 40):
            found = coverage(kind, n_patients, rounds)
            shown = "".join(f"{share:>17.1%}" for share in found.values())
            click.echo(f"{kind:<34}{n_patients:>9}{shown}")
    click.echo(f"\nstudies of equal runs with any difference, {studies} studies of three organs")
    click.echo(f"{'runs':<6}{'patients':>9}{'medseg':>17}{'uncorrected':>17}{'by scan':>17}")
    for n_runs, n_patients in ((2, 15), (2, 40), (3, 15), (3, 40)):
        shown = "".join(f"{share:>17.1%}" for share in alarms(n_patients, n_runs, studies))
        click.echo(f"{n_runs:<6}{n_patients:>9}{shown}")


def _means(drawn: Sample) -> Floats:
    values = drawn.values[:, None]
    return resampled_means(values, drawn.patients, n_resamples=DRAWS, seed=0)[:, 0]


def _score(scan_id: str, organ: str, dice: float) -> OrganScore:
    numbers = dict.fromkeys(OrganScore._fields[3:], math.nan)
    return OrganScore(scan_id, organ, "ok", **numbers)._replace(
        dice=float(dice), volume_ref_ml=80.0
    )


if __name__ == "__main__":
    main()
