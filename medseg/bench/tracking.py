"""Steps of a training logged to MLflow, each beside the calls that MLflow's documentation shows."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient

from medseg.bench.measure import Work, require
from medseg.engine.tracking import Tracker, default_uri

_NAMES = ("loss", "lr", "dice/large_bowel", "dice/small_bowel", "dice/stomach", "seconds")
_EXPERIMENT = "steps"

Rows = dict[str, list[tuple[int, float]]]
Log = Callable[[Mapping[str, float], int], object]


def works(folder: Path, *, steps: int = 1000, flushed_every: int = 100) -> list[Work]:
    """Return the work of logging six metrics a step into SQLite stores.

    Args:
        folder: Where each side has a store of its own.
        steps: How many.
        flushed_every: After how many of them medseg sends what it kept. A training sends once an
            epoch, which is seldomer.
    """
    metrics = [{name: step / (n + 1) for n, name in enumerate(_NAMES)} for step in range(steps)]
    runs = count()

    def ours() -> tuple[MlflowClient, str]:
        tracker = _tracker(folder / "ours", f"run{next(runs)}")
        with tracker:
            for step, values in enumerate(metrics):
                tracker.log_metrics(values, step)
                if (step + 1) % flushed_every == 0:
                    tracker.flush()
        return MlflowClient(tracker.uri), str(tracker.run_id)

    def each(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            mlflow.log_metric(name, value, step=step)

    def together(values: Mapping[str, float], step: int) -> None:
        mlflow.log_metrics(dict(values), step=step)

    return [
        Work(
            name=f"{steps} logged steps of {len(_NAMES)} metrics",
            against=against,
            reach=reach,
            ours=ours,
            theirs=_theirs(folder / name, log, metrics),
            same=lambda own, other: _same(own, other, metrics),
        )
        for name, against, reach, log in (
            ("each", "mlflow.log_metric", 20, each),
            ("together", "mlflow.log_metrics", 5, together),
        )
    ]


def _theirs(
    folder: Path, log: Log, metrics: Sequence[Mapping[str, float]]
) -> Callable[[], tuple[MlflowClient, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    uri = default_uri(folder)

    def side() -> tuple[MlflowClient, str]:
        # Not what MLflow would choose: set, that would stay chosen for every process begun later.
        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(uri)
        try:
            experiment = mlflow.set_experiment(_EXPERIMENT)
            with mlflow.start_run(experiment_id=experiment.experiment_id) as run:
                for step, values in enumerate(metrics):
                    log(values, step)
        finally:
            mlflow.set_tracking_uri(before)
        return MlflowClient(uri), run.info.run_id

    return side


def _tracker(folder: Path, name: str) -> Tracker:
    return Tracker(
        default_uri(folder),
        experiment=_EXPERIMENT,
        run_name=name,
        output=folder / name,
        params={},
        tags={},
    )


def _same(
    own: tuple[MlflowClient, str],
    other: tuple[MlflowClient, str],
    metrics: Sequence[Mapping[str, float]],
) -> str:
    given = {name: [(step, row[name]) for step, row in enumerate(metrics)] for name in _NAMES}
    for side, (client, run) in (("medseg", own), ("the other", other)):
        require(dict(_kept(client, run)) == given, f"{side} did not keep what was logged")
    return f"both stores give back all {len(metrics) * len(_NAMES)} values"


def _kept(client: Any, run: str) -> Iterator[tuple[str, list[tuple[int, float]]]]:  # noqa: ANN401
    for name in _NAMES:
        found = client.get_metric_history(run, name)
        yield name, sorted((metric.step, metric.value) for metric in found)
