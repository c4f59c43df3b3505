"""Outcome: from the runs of a pipeline to the facts that its tables and its page tell."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.errors import DataError
from medseg.metrics.comparison import Comparison, compare_scores
from medseg.metrics.repeats import averaged
from medseg.metrics.scores import OrganScore
from medseg.metrics.slicewise import Means, SliceSummary
from medseg.pipeline import Entry, Pipeline
from medseg.report.pipeline_results import EntryResult, OneRun
from medseg.report.scores import read_csv
from medseg.stages.pipeline_attempts import Attempt
from medseg.stages.pipeline_measures import MEASURED


def entry_results(pipeline: Pipeline, attempts: Sequence[Attempt]) -> list[EntryResult]:
    """Return what each of the compared came to, in the order of the file."""
    return [
        _entry(entry, pipeline.source.counted, [a for a in attempts if a.task.entry == entry])
        for entry in pipeline.runs
    ]


def compared(entries: Sequence[EntryResult], metric: str) -> tuple[Comparison | None, list[str]]:
    """Return the comparison of all that have scores, and why there is none where there is none."""
    scores = {entry.name: entry.scores for entry in entries if entry.scores}
    if len(scores) < 2:
        return None, []
    try:
        done = compare_scores(scores, metric)
    except DataError as error:
        return None, [str(problem) for problem in error.problems]
    return done, [str(problem) for problem in done.problems]


def by_seed(attempts: Sequence[Attempt]) -> dict[int, list[Attempt]]:
    """Return the attempts that are done by seed, those seeds only that have all folds.

    Where none has all, the first of those that have most stands for them.
    """
    seeds: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        if not attempt.fault:
            seeds.setdefault(attempt.task.config["seed"], []).append(attempt)
    folds = {attempt.task.config["fold"] for attempt in attempts}
    whole = {seed: rows for seed, rows in seeds.items() if len(rows) == len(folds)}
    if whole or not seeds:
        return whole
    seed = max(seeds, key=lambda each: len(seeds[each]))
    return {seed: seeds[seed]}


def _entry(entry: Entry, counted: str, attempts: Sequence[Attempt]) -> EntryResult:
    seeds = by_seed(attempts)
    repeats = [_scores(rows) for rows in seeds.values()]
    measured = [attempt.run.read(MEASURED) for rows in seeds.values() for attempt in rows]
    slices = measured[0]["test"]["slices"] if measured else ()
    given = {name: value for name, value in entry.source.model_dump().items() if value is not None}
    return EntryResult(
        name=entry.name,
        bundle=attempts[0].task.bundle.name,
        runs=[_run(attempt, counted) for attempt in attempts],
        scores=averaged(repeats) if repeats else (),
        source=given,
        slices=[_summary(row) for row in slices],
        costs=next((row["costs"] for row in measured if "costs" in row), {}),
    )


def _scores(attempts: Sequence[Attempt]) -> list[OrganScore]:
    """Return the scores of some folds together."""
    return [row for each in attempts for row in read_csv(each.run.folder / "metrics.csv")]


def _run(attempt: Attempt, counted: str) -> OneRun:
    config, run = attempt.task.config, attempt.run
    row = OneRun(config["seed"], config["fold"], run.name)
    if attempt.fault:
        return row._replace(problem=str(attempt.fault))
    whole = EntryResult(run.name, "", (), _scores([attempt])).whole("dice")
    epochs = (run.read("training.json") or {}).get("epochs", [])
    return row._replace(
        dice=whole.counted.mean if whole else math.nan,
        figures=_figures(run.read(MEASURED), epochs, counted),
        training_s=math.fsum(epoch.get("train/seconds", 0.0) for epoch in epochs),
    )


def _figures(
    measured: Mapping[str, Any], epochs: Sequence[Mapping[str, float]], counted: str
) -> dict[str, float]:
    """Return what a source might tell of a run, counted the source's way."""
    test, train = measured["test"], measured.get("train")
    found = {**_overlap(test, counted), "validation_loss": test["loss"]}
    if epochs:
        found["train_loss"] = epochs[-1].get("train/loss")
    if train:
        found["train_dice"] = _overlap(train, counted)["dice"]
    return {name: value for name, value in found.items() if value is not None}


def _overlap(side: Mapping[str, Any], counted: str) -> dict[str, float]:
    if counted == "batches":
        return {name: side["batches"][name] for name in ("dice", "iou")}
    whole = side["slices"][-1]
    return {name: whole[name]["one"] for name in ("dice", "iou")}


def _summary(row: Mapping[str, Any]) -> SliceSummary:
    means = {name: Means(**row[name]) for name in ("dice", "iou")}
    return SliceSummary(row["organ"], row["n"], row["n_empty"], **means)
