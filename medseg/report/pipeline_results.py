"""What a pipeline came to, as plain facts: the source's figures, ours in both ways, and costs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from medseg.metrics.comparison import Comparison
from medseg.metrics.pairing import ALL_ORGANS, metric_named, pair_scores
from medseg.metrics.scores import OrganScore
from medseg.metrics.slicewise import SliceSummary
from medseg.metrics.statistics import Interval, patient_interval

# What a source may give: its name in a pipeline's file, and what tables call it.
FIGURES = {
    "dice": "Dice",
    "iou": "IoU",
    "train_dice": "Dice, training",
    "train_loss": "loss, training",
    "validation_loss": "loss, held out",
}


class Spread(NamedTuple):
    """A mean over trainings, and their standard deviation; NaN where there is one only."""

    mean: float
    deviation: float
    n: int


class OrganMean(NamedTuple):
    """One organ, or the mean over organs, over the held-out scans.

    Attributes:
        organ: Its name, or `medseg.metrics.pairing.ALL_ORGANS`.
        counted: The mean over scans that show it or were predicted to, lost or invented being
            worst, with its interval by patient.
        found: The mean over scans where it is there and was predicted; of all organs the mean of
            theirs. NaN over none.
        n_found: How many those are.
    """

    organ: str
    counted: Interval
    found: float
    n_found: int


class OneRun(NamedTuple):
    """One training.

    Attributes:
        seed: Its seed.
        fold: The group held out.
        folder: The name of its folder; empty where it never began.
        problem: Why it failed; empty where it is done.
        dice: Mean over organs; NaN where it failed.
        figures: What a source might tell of it, counted the source's way, by `FIGURES`.
        training_s: Seconds of all epochs.
    """

    seed: int
    fold: int
    folder: str
    problem: str = ""
    dice: float = math.nan
    figures: Mapping[str, float] = {}
    training_s: float = math.nan


class EntryResult(NamedTuple):
    """One of the compared.

    Attributes:
        name: What it is called.
        bundle: Its bundle.
        runs: Every training that was asked for, failed ones too.
        scores: Of all folds together, averaged over seeds; none where nothing is done.
        source: What the source gives, by `FIGURES`.
        slices: Of its first run, slice by slice.
        costs: What the network needs; may be empty.
    """

    name: str
    bundle: str
    runs: Sequence[OneRun]
    scores: Sequence[OrganScore] = ()
    source: Mapping[str, float] = {}
    slices: Sequence[SliceSummary] = ()
    costs: Mapping[str, float] = {}

    @property
    def done(self) -> list[OneRun]:
        """The trainings that came to an end."""
        return [run for run in self.runs if not run.problem]

    def spread(self, figure: str) -> Spread:
        """Return a figure counted the source's way, over trainings; NaN where none has it."""
        return spread([run.figures[figure] for run in self.done if figure in run.figures])

    @property
    def over_seeds(self) -> Spread:
        """The mean Dice of each seed, all folds together."""
        seeds = dict.fromkeys(run.seed for run in self.done)
        return spread(
            [statistics.fmean(run.dice for run in self.done if run.seed == seed) for seed in seeds]
        )

    def means(self, metric: str) -> list[OrganMean]:
        """Return the means of each organ and of all together; none without scores."""
        if not self.scores:
            return []
        paired = pair_scores({self.name: self.scores}, metric_named(metric))
        rows: list[OrganMean] = []
        for organ in paired.organs:
            interval = patient_interval(organ.values[:, 0], organ.patients)
            counted = _possible(interval, metric)
            if organ.found:
                values = organ.found[0].tolist()
                rows.append(OrganMean(organ.organ, counted, _mean(values), len(values)))
            else:
                means = [row.found for row in rows if row.n_found]
                n_found = sum(row.n_found for row in rows)
                rows.append(OrganMean(organ.organ, counted, _mean(means), n_found))
        return rows

    def whole(self, metric: str) -> OrganMean | None:
        """Return the mean over organs, or of the only one; None without scores."""
        rows = self.means(metric)
        return next((row for row in rows if row.organ == ALL_ORGANS), rows[-1] if rows else None)


class Vote(NamedTuple):
    """The networks of all folds of one of the compared, on patients that none of them saw.

    Attributes:
        name: Of which of the compared.
        members: How many networks vote.
        patients: How many.
        comparison: The vote beside the members, these averaged.
    """

    name: str
    members: int
    patients: int
    comparison: Comparison


class Results(NamedTuple):
    """A pipeline, done or in part.

    Attributes:
        title: What it is about.
        about: What is done and what for.
        real: What only the real data set can reproduce.
        phantom: Whether the patients are computed.
        small: Whether demo settings were laid over it.
        citation: Where the figures beside ours come from.
        note: What has to be known to read them.
        counted: How the source's overlap is a mean: over ``slices`` or ``batches``.
        metric: What is compared.
        entries: The compared.
        comparison: Of those that are done; None where they are fewer than two.
        votes: Of ensembles.
        problems: What failed or was left out.
        made: Command, commit and so on, in rows.
    """

    title: str
    about: str
    real: str
    phantom: bool
    small: bool
    citation: str
    note: str
    counted: str
    metric: str
    entries: Sequence[EntryResult]
    comparison: Comparison | None = None
    votes: Sequence[Vote] = ()
    problems: Sequence[str] = ()
    made: Sequence[tuple[str, str]] = ()


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation of some trainings; NaN over none."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(_mean(values), deviation, len(values))


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _possible(interval: Interval, metric: str) -> Interval:
    highest = math.inf if metric_named(metric).unit else 1.0
    low, high = max(interval.low, 0.0), min(interval.high, highest)
    return interval if math.isnan(interval.low) else interval._replace(low=low, high=high)
