"""Compare: which of several runs is better, and how sure that is."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from medseg.metrics.comparison import Comparison, compare_scores
from medseg.report.comparison import save_comparison
from medseg.report.comparison_page import save_page
from medseg.stages.contenders import Contender, find_contenders
from medseg.stages.leaks import check_leaks


class Compared(NamedTuple):
    """A comparison and the files that tell it."""

    comparison: Comparison
    files: tuple[Path, ...]


def compare(
    paths: Sequence[Path],
    *,
    metric: str = "dice",
    out: Path | None = None,
    seed: int = 0,
    tracking: bool = True,
) -> Compared:
    """Compare runs on the scans that all share, and write what came of it.

    Args:
        paths: Two or more, see `find_contenders`.
        metric: A name of `medseg.metrics.METRICS`.
        out: Where the files go; None makes a folder in ``comparisons`` beside the experiment of
            the first run, or in the working folder where none is a run.
        seed: Of the draws of patients.
        tracking: Keep the files in the MLflow store of the runs too, where there is one.

    Raises:
        UsageError: A path holds no scores, or two hold the same (E-RUN).
        DataError: No scan is shared (E-PAIRS), or a run was tested on what it learned from
            (E-LEAK).
    """
    contenders = find_contenders(paths)
    warnings = check_leaks(contenders)
    scores = {name: contender.scores for name, contender in contenders.items()}
    done = compare_scores(scores, metric, seed=seed)
    told = [problem for contender in contenders.values() for problem in contender.problems]
    done = done._replace(problems=(*told, *warnings, *done.problems))
    runs = [run for contender in contenders.values() for run in contender.runs]
    output = runs[0].folder.resolve().parent.parent if runs else None
    folder = out or (output or Path()) / "comparisons" / f"{datetime.now():%Y%m%d-%H%M%S}"
    files = [*save_comparison(done, folder), save_page(done, folder)]
    if tracking and output is not None and (output / "mlflow.db").exists():
        _track(done, files, contenders, output=output)
    return Compared(done, tuple(files))


def _track(
    done: Comparison, files: Sequence[Path], contenders: Mapping[str, Contender], *, output: Path
) -> None:
    """Keep the files in MLflow as a run of the experiment ``comparisons``."""
    from medseg.engine.tracking import Tracker, default_uri  # takes seconds to import

    ids = {
        name: [(run.read("provenance.json") or {}).get("mlflow_run_id") for run in contender.runs]
        for name, contender in contenders.items()
    }
    with Tracker(
        default_uri(output),
        experiment="comparisons",
        run_name=" - ".join(done.runs),
        output=files[0].parent,
        params={"metric": done.metric.name, "seed": done.seed},
        tags={"medseg.compared": json.dumps(ids)},
    ) as tracker:
        for file in files:
            tracker.log_artifact(file)
