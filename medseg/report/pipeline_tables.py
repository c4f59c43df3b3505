"""What a pipeline came to as tables, for a terminal, Markdown, CSV and the page alike."""

import csv
import io
import math
from typing import NamedTuple

from medseg.metrics.pairing import metric_named
from medseg.metrics.slicewise import ALL
from medseg.metrics.statistics import Interval
from medseg.report.panels import spoken
from medseg.report.pipeline_results import FIGURES, EntryResult, Results, Spread
from medseg.report.score_tables import Table

COLUMNS = (
    *("name", "bundle", "runs", "runs_done", "metric", "mean_all", "low", "high", "mean_found"),
    *("n_found", "n_scans", "n_patients", "over_seeds_sd"),
    *(f"{who}_{name}" for name in FIGURES for who in ("source", "ours")),
    *("parameters", "macs", "images_per_s", "training_images_per_s", "training_memory_bytes"),
)
_DASH = "-"


class Shown(NamedTuple):
    """A table, how many of its first columns are words, and what its columns mean."""

    table: Table
    names: int
    legend: str


def outcome(results: Results) -> Shown:
    """Return a row an entry: how it did on the held-out scans."""
    metric = metric_named(results.metric)
    digits = 2 if metric.unit else 3
    rows = []
    for entry in results.entries:
        runs = f"{len(entry.done)} of {len(entry.runs)}"
        whole = entry.whole(results.metric)
        if whole is None:
            rows.append((entry.name, runs, *[_DASH] * 6))
            continue
        estimate = (_number(whole.counted.mean, digits), _between(whole.counted, digits))
        others = (_number(whole.found, digits), _number(entry.over_seeds.deviation))
        of = (str(whole.counted.n_scans), str(whole.counted.n_patients))
        rows.append((entry.name, runs, *estimate, *others, *of))
    title = f"{metric.title} {metric.unit}".strip() + ", organ by organ and scan by scan"
    header = ("", "runs", "all", "95 % interval", "found", "over seeds ±", "scans", "patients")
    legend = (
        "all: mean over the held-out scans that show an organ or were predicted to, one that was "
        "lost or invented being worst; found: over those where it is there and was predicted. "
        "Interval: bootstrap by patient; * fewer than 6 patients, too narrow to be trusted. "
        "±: standard deviation of the seeds' Dice."
    )
    return Shown(Table(title, header, tuple(rows)), 1, legend)


def beside_source(results: Results) -> Shown:
    """Return a row an entry and figure that the source gives, ours beside it."""
    rows = []
    for entry in results.entries:
        for name, source in entry.source.items():
            whole = entry.whole(name) if name in ("dice", "iou") else None
            honest = _estimate(whole.counted) if whole else _DASH
            ours = _spread(entry.spread(name))
            rows.append((entry.name, FIGURES[name], _given(source), ours, honest))
    how = "slice by slice" if results.counted == "slices" else "batch by batch"
    header = ("", "figure", "source", f"ours, {how}", "ours, by scan")
    legend = (
        "ours: mean over runs ± standard deviation, counted as the source counts, on the network's "
        "own grid. Training loss: mean of the last epoch; held out: of the test side, with the "
        "weights that were kept. By scan: organ by organ on the scan's own grid, with the interval "
        "by patient."
    )
    return Shown(Table("The source's figures beside ours", header, tuple(rows)), 2, legend)


def two_ways(results: Results) -> Shown:
    """Return a row an entry: the same predictions, counted by slices and by scans."""
    rows = []
    for entry in results.entries:
        slices, whole = next((s for s in entry.slices if s.organ == ALL), None), entry.whole("dice")
        if slices is None or whole is None:
            continue
        counts = (str(slices.n), str(slices.n_empty))
        ways = (slices.dice.one, slices.dice.zero, slices.dice.skipped, whole.counted.mean)
        rows.append((entry.name, *counts, *map(_number, (*ways, whole.found))))
    header = ("", "slices", "empty", "empty 1", "empty 0", "left out", "scans, all", "scans, found")
    legend = (
        "slices: of all organs, of the first run; empty: the organ is neither in the reference nor "
        "in the prediction. The three columns behind count such a slice 1, 0 or not at all."
    )
    return Shown(Table("Dice counted in two ways", header, tuple(rows)), 1, legend)


def organs(results: Results) -> Shown:
    """Return a row an organ and entry; none where there is one organ only."""
    metric = metric_named(results.metric)
    digits = 2 if metric.unit else 3
    rows = []
    for entry in results.entries:
        means = entry.means(results.metric)
        for mean in means[:-1] if len(means) > 1 else ():
            estimate = (_number(mean.counted.mean, digits), _between(mean.counted, digits))
            found = (_number(mean.found, digits), str(mean.n_found))
            of = (str(mean.counted.n_scans), str(mean.counted.n_patients))
            rows.append((spoken(mean.organ), entry.name, *estimate, *found, *of))
    order = list(dict.fromkeys(row[0] for row in rows))
    rows.sort(key=lambda row: order.index(row[0]))
    header = ("", "run", "all", "95 % interval", "found", "n found", "scans", "patients")
    return Shown(Table(f"{metric.title} by organ", header, tuple(rows)), 2, "")


def costs(results: Results) -> Shown:
    """Return a row an entry: what its network needs; none where nothing was measured."""
    rows = [
        (
            *(entry.name, f"{cost['parameters'] / 1e6:.2f}", f"{cost['macs'] / 1e9:.2f}"),
            *(_number(cost["images_per_s"], 1), _number(cost["training_images_per_s"], 1)),
            *(f"{cost['training_memory_bytes'] / 2**20:.0f}", _minutes(entry)),
        )
        for entry in results.entries
        if (cost := entry.costs)
    ]
    header = ("", "parameters M", "MACs G", "images/s", "training images/s", "MiB", "minutes")
    legend = (
        "parameters and MACs are counted, MACs for one image of the size trained on; images/s and "
        "MiB are measured on this machine with one batch of the run: forward alone, and with a "
        "training step, whose tensors at their most are the MiB. minutes: of a training, in the "
        "mean, validation not counted."
    )
    return Shown(Table("What the networks cost", header, tuple(rows)), 1, legend)


def runs_table(results: Results) -> Shown:
    """Return a row a training, failed ones too."""
    rows = tuple(
        (
            *(entry.name, str(run.seed), str(run.fold), _number(run.dice)),
            *(
                _number(run.figures.get(name, math.nan))
                for name in ("train_loss", "validation_loss")
            ),
            f"failed: {run.problem}" if run.problem else run.folder,
        )
        for entry in results.entries
        for run in entry.runs
    )
    header = ("", "seed", "fold", "Dice", "loss, training", "loss, held out", "folder")
    return Shown(Table("Every run", header, rows), 1, "Dice: all organs and scans, as above.")


def results_csv(results: Results) -> str:
    """Return a row an entry, columns `COLUMNS`; what is no number is empty."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for row in result_rows(results):
        rows.writerow([_plain(v) if isinstance(v, float) else v for v in row.values()])
    return text.getvalue()


def result_rows(results: Results) -> list[dict[str, str | float]]:
    """Return a row an entry by `COLUMNS`; what is no number is NaN."""
    found: list[dict[str, str | float]] = []
    for entry in results.entries:
        values = [*_counted(entry, results.metric), entry.over_seeds.deviation]
        for name in FIGURES:
            values += [entry.source.get(name, math.nan), entry.spread(name).mean]
        values += [entry.costs.get(name, math.nan) for name in COLUMNS[-5:]]
        names = (entry.name, entry.bundle, len(entry.runs), len(entry.done), results.metric)
        cells: list[str | float] = [*names, *values]
        found.append(dict(zip(COLUMNS, cells, strict=True)))
    return found


def runs_csv(results: Results) -> str:
    """Return a row a training."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("name", "seed", "fold", "dice_all", *FIGURES, "training_s", "folder", "problem"))
    for entry in results.entries:
        for run in entry.runs:
            figures = [run.figures.get(name, math.nan) for name in FIGURES]
            numbers = map(_plain, (run.dice, *figures, run.training_s))
            rows.writerow([entry.name, run.seed, run.fold, *numbers, run.folder, run.problem])
    return text.getvalue()


def _counted(entry: EntryResult, metric: str) -> list[float]:
    whole = entry.whole(metric)
    if whole is None:
        return [math.nan] * 7
    mean, low, high, n_scans, n_patients = whole.counted
    return [mean, low, high, whole.found, whole.n_found, n_scans, n_patients]


def _minutes(entry: EntryResult) -> str:
    times = [run.training_s for run in entry.done if not math.isnan(run.training_s)]
    return _number(math.fsum(times) / len(times) / 60, 1) if times else _DASH


def _estimate(interval: Interval) -> str:
    between = "" if math.isnan(interval.low) else f" ({_between(interval, 3)})"
    return f"{_number(interval.mean)}{between}"


def _between(interval: Interval, digits: int) -> str:
    if math.isnan(interval.low):
        return _DASH
    mark = "" if interval.trustworthy else " *"
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}{mark}"


def _spread(found: Spread) -> str:
    if not found.n:
        return _DASH
    mean = f"{found.mean:.4f}"
    return mean if math.isnan(found.deviation) else f"{mean} ± {found.deviation:.4f}"


def _given(figure: float) -> str:
    """Return a source's figure with the digits it has, four at least."""
    text = f"{figure:.5f}"
    return text[:-1] if text.endswith("0") else text


def _number(value: float, digits: int = 3) -> str:
    return _DASH if math.isnan(value) else f"{value:.{digits}f}"


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
