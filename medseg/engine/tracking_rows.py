"""What a run tells MLflow, as rows of plain JSON: sent at once, or kept and sent later.

A row that is sent twice changes nothing. Metrics carry the time they were logged at, by which a
store knows them again; so does a run by its key, and a model by its run. That makes it safe to send
what may have arrived already, and to begin again in the middle.
"""

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from medseg.engine.provenance import portable
from medseg.engine.tracking_store import sqlite_path
from medseg.errors import MedsegError, Problem
from medseg.io.written import append_line

FALLBACK = "tracking.jsonl"

# What the stores of MLflow 3 take (mlflow/utils/validation.py).
LONGEST_DIGEST = 36
_PARAMS_A_BATCH = 100
_METRICS_A_BATCH = 1000

# Without it MLflow's pages take an experiment for one with language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}

Row = dict[str, Any]
_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """The rows in a run folder's fall-back file.

    Attributes:
        rows: All rows, sent ones too.
        sent: How many of them, from the first, MLflow has taken.
        run_id: The run they belong to; None when the store was never reached.
    """

    rows: tuple[Row, ...]
    sent: int
    run_id: str | None

    @property
    def pending(self) -> tuple[Row, ...]:
        """The rows that MLflow has not taken."""
        return tuple(row for row in self.rows[self.sent :] if row["event"] != "sent")


def keep(folder: Path, row: Mapping[str, Any]) -> None:
    """Add a row to the fall-back file of a run folder.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    append_line(folder / FALLBACK, json.dumps(row))


def kept(folder: Path) -> Kept:
    """Return the rows of a run folder's fall-back file, none when there is no file."""
    path = folder / FALLBACK
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    # A line without an end is being written, or was when the machine stopped.
    rows = tuple(json.loads(line) for line in lines if line.endswith("\n"))
    sent = max((row["rows"] for row in rows if row["event"] == "sent"), default=0)
    run_id = next((row["run_id"] for row in reversed(rows) if row.get("run_id")), None)
    return Kept(rows, sent, run_id)


def kept_metrics(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and step of each metric in a run folder's fall-back file."""
    for row in kept(folder).rows:
        yield from ((key, step) for key, _, _, step in row.get("values", ()))


def send_kept(client: MlflowClient, folder: Path) -> str | None:
    """Send what a run folder kept, and return its run's id; None when it kept nothing.

    Raises:
        Exception: Whatever MLflow raised; what it took before is not sent to it again.
    """
    have = kept(folder)
    if not have.pending:
        return have.run_id
    rows, begin, run_id = have
    if begin and run_id and _run(client, run_id) is None:
        begin, run_id = 0, None  # another store, or one that began anew: it gets all there is
    done = begin
    try:
        for row in rows[begin:]:
            if row["event"] == "run":
                run_id = open_run(client, {**row, "run_id": run_id}, folder, again=True)
            elif row["event"] != "sent":
                send(client, str(run_id), row, folder=folder)
            done += 1
    finally:
        if done > begin:
            keep(folder, {"event": "sent", "rows": done, "run_id": run_id})
    return run_id


def send(client: MlflowClient, run_id: str, row: Row, *, folder: Path) -> None:
    """Send one row of a run; paths in it begin at the run's folder."""
    _SENDERS[row["event"]](client, run_id, row, folder)


def open_run(client: MlflowClient, row: Row, folder: Path, *, again: bool = False) -> str:
    """Start the run that a row tells of, or go on with it, and return its id.

    Args:
        client: The store.
        row: ``experiment``, ``run_name``, ``run_id`` or None, ``key``, ``started_ms``, ``params``,
            ``tags``, and ``parent``, the folder of the parent from `folder` on, or None.
        folder: The run's own folder.
        again: Whether the run may have been started without an answer.
    """
    params, tags = dict(row["params"]), dict(row["tags"])
    experiment_id = _experiment_id(client, row["experiment"])
    run = _find(client, row, experiment_id, again=again)
    if row["parent"] and (above := send_kept(client, _at(folder, row["parent"]))):
        tags["mlflow.parentRunId"] = above
    if run is None:
        tags |= {"medseg.key": row["key"]}
        tags |= {"resumed_from": row["run_id"]} if row["run_id"] else {}
        run = client.create_run(
            experiment_id, start_time=row["started_ms"], tags=tags, run_name=row["run_name"]
        )
    else:
        # MLflow keeps a parameter as it was first written; a new value is told beside it.
        known = run.data.params
        tags |= {f"resumed.{k}": v for k, v in params.items() if known.get(k, v) != v}
        params = {k: v for k, v in params.items() if k not in known}
        client.update_run(run.info.run_id, status="RUNNING")
        client.log_batch(run.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
    every = [Param(key, value) for key, value in params.items()]
    for some in _batches(every, _PARAMS_A_BATCH):
        client.log_batch(run.info.run_id, params=some)
    return str(run.info.run_id)


def warned(code: str, subject: str, found: str, fix: str) -> Problem:
    """Log a warning and return it."""
    problem = Problem(code, subject, found, fix=fix, level="warning")
    _log.warning("%s", problem)
    return problem


def reason_of(fault: BaseException) -> str:
    """Return what a fault says, in a line that may be published."""
    text = fault.problems[0].found if isinstance(fault, MedsegError) else str(fault)
    return portable(" ".join(text.split())[:200])


def _find(client: MlflowClient, row: Row, experiment_id: str, *, again: bool) -> Run | None:
    """Return the run to go on with; None when none was asked for or it is not in the store."""
    run = _run(client, row["run_id"]) if row["run_id"] else None
    if run is None:
        by_key = f"tags.`medseg.key` = '{row['key']}'"
        found = client.search_runs([experiment_id], by_key, max_results=1) if again else []
        return found[0] if found else None
    if run.info.lifecycle_stage == "deleted":
        client.restore_run(row["run_id"])
    return run


def _run(client: MlflowClient, run_id: str) -> Run | None:
    try:
        return client.get_run(run_id)
    except MlflowException as fault:
        if fault.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        warned("W-TRACKING-RUN", f"run {run_id}", "is not in the store", "a new one starts")
        return None


def _experiment_id(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        path = sqlite_path(client.tracking_uri)
        files = str((path.parent / "artifacts").resolve()) if path else None
        try:
            return str(client.create_experiment(name, artifact_location=files, tags=_KIND))
        except MlflowException as fault:
            # Another run that started at the same time was faster.
            if fault.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _send_metrics(client: MlflowClient, run_id: str, row: Row, _folder: Path) -> None:
    metrics = [Metric(key, value, time_ms, step) for key, value, time_ms, step in row["values"]]
    for some in _batches(metrics, _METRICS_A_BATCH):
        client.log_batch(run_id, metrics=some)


def _send_dataset(client: MlflowClient, run_id: str, row: Row, _folder: Path) -> None:
    names = ("name", "digest", "source_type", "source", "profile")
    data = Dataset(**{name: row[name] for name in names})
    client.log_inputs(
        run_id, [DatasetInput(data, [InputTag("mlflow.data.context", row["context"])])]
    )


def _send_artifact(client: MlflowClient, run_id: str, row: Row, folder: Path) -> None:
    path = _at(folder, row["path"])
    if not path.exists():
        shown = portable(str(path.absolute()))
        warned("W-TRACKING-FILE", shown, "is not there to be tracked", "look why it is missing")
        return
    log = client.log_artifacts if path.is_dir() else client.log_artifact
    log(run_id, str(path), row["folder"])


def _send_document(client: MlflowClient, run_id: str, row: Row, _folder: Path) -> None:
    client.log_text(run_id, json.dumps(row["content"], indent=2) + "\n", row["name"])


def _send_model(client: MlflowClient, run_id: str, row: Row, folder: Path) -> None:
    # Only a run that ends in a model waits for what MLflow needs to make one. That warns of its own
    # type hints while it is imported.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        from medseg.engine.tracking_model import register

    register(client, run_id, row, folder=folder)


def _send_end(client: MlflowClient, run_id: str, row: Row, _folder: Path) -> None:
    client.set_terminated(run_id, row["status"], end_time=row["time_ms"])


_SENDERS: Mapping[str, Callable[[MlflowClient, str, Row, Path], None]] = {
    "metrics": _send_metrics,
    "dataset": _send_dataset,
    "artifact": _send_artifact,
    "document": _send_document,
    "model": _send_model,
    "end": _send_end,
}


def _at(folder: Path, below: str) -> Path:
    """Return the path that is `below` from `folder` on; the folder itself need not be there."""
    return Path(os.path.normpath(folder.absolute() / below))


def _batches(rows: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
