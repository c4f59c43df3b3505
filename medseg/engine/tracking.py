"""Runs in MLflow: settings, metrics, data sets and files. The only module that imports mlflow.

A run is opened once, resumed by its id alone, and always ends with a status. Tracking never ends a
training: at the first fault (a locked or missing store, a server that is down) everything goes to
``tracking.jsonl`` in the run's folder from then on, with one warning; when the run ends, what the
store missed is offered to it once more.
"""

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.telemetry import set_telemetry_client

from medseg.engine.history import TrackingHandler
from medseg.engine.provenance import portable
from medseg.engine.settings import flatten
from medseg.errors import Problem, UsageError

__all__ = [
    "Tracker",
    "TrackingHandler",
    "default_uri",
    "require_store",
    "source_tags",
]

Status = Literal["FINISHED", "FAILED", "KILLED"]
Send = Callable[[MlflowClient, str], object]

FALLBACK = "tracking.jsonl"

# What the stores of MLflow 3 take (mlflow/utils/validation.py).
_LONGEST_DIGEST = 36
_PARAMS_A_BATCH = 100
_METRICS_A_BATCH = 1000

_LOCK_PATIENCE_S = 10.0
_log = logging.getLogger(__name__)


class _Entry(NamedTuple):
    """One thing to track: how the fall-back file tells it, and how MLflow is told."""

    row: dict[str, Any]
    send: Send


def default_uri(output: Path) -> str:
    """Return the address of the store in an output folder: ``<output>/mlflow.db``.

    The files of its runs lie beside it, in ``<output>/artifacts``.
    """
    return f"sqlite:///{(output.resolve() / 'mlflow.db').as_posix()}"


def require_store(uri: str) -> None:
    """Raise UsageError for an address that MLflow takes for a folder of files.

    MLflow refuses such stores since 3.13, in the middle of a run and in many words.
    """
    if uri == "databricks" or ("://" in uri and not uri.startswith("file:")):
        return
    folder = Path(uri.removeprefix("file:").replace("//", "/", 1) or ".")
    raise UsageError(
        Problem(
            "E-TRACKING-URI",
            "tracking uri",
            f"{uri!r} is a folder of files, which MLflow no longer keeps",
            "a database or a server",
            f"use '{default_uri(folder)}'",
        )
    )


def source_tags(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that make MLflow's UI show the command, the version and the commit."""
    tags = {
        "mlflow.source.name": " ".join(provenance["command"]),
        "mlflow.source.type": "LOCAL",
        "medseg.version": provenance["medseg"],
    }
    git = provenance.get("git")
    if git:
        tags |= {
            "mlflow.source.git.commit": git["commit"],
            "git.dirty": str(git["dirty"]).lower(),
        }
    return tags


@dataclass
class Tracker:
    """One MLflow run, used as a context: it ends FINISHED, FAILED on an error, KILLED on a signal.

    Attributes:
        uri: A database (``sqlite:///…``) or a server; folders of files are refused.
        experiment: Its name; made when there is none, with its files beside an SQLite store.
        run_name: How the UI calls the run.
        output: The run's own folder, where the fall-back file goes.
        params: Settings, nested as they are; see `flatten`.
        tags: More about the run; see `source_tags`.
        run_id: The run to go on with; None starts a new one, whatever else is unfinished. Once
            the run is open it tells its id; it stays None when the store was never reached.
        problem: Why tracking fell back, None while the store takes everything.

    Raises:
        UsageError: `uri` is a folder of files.
    """

    uri: str
    _: KW_ONLY
    experiment: str
    run_name: str
    output: Path
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    run_id: str | None = None
    problem: Problem | None = field(default=None, init=False)
    _client: MlflowClient | None = field(default=None, init=False, repr=False)
    _metrics: list[Metric] = field(default_factory=list, init=False, repr=False)
    _missed: list[_Entry] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        require_store(self.uri)

    def __enter__(self) -> Self:
        _quieten()
        try:
            self._open()
        except Exception as fault:
            self._fall_back(fault)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.end("FINISHED")
        else:
            self.end("FAILED" if issubclass(kind, Exception) else "KILLED")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics of an epoch, or of an iteration, until the next `flush`."""
        now_ms = int(time.time() * 1000)
        self._metrics += [Metric(key, float(v), now_ms, step) for key, v in metrics.items()]

    def flush(self) -> None:
        """Send the metrics that were kept."""
        kept, self._metrics = self._metrics, []
        for start in range(0, len(kept), _METRICS_A_BATCH):
            self._send_metrics(kept[start : start + _METRICS_A_BATCH])

    def log_dataset(
        self, name: str, digest: str, *, profile: Mapping[str, Any], context: str
    ) -> None:
        """Record a data set as an input of the run.

        Args:
            name: Its name, such as ``uwmgi``; never a path.
            digest: Hash of its content; MLflow keeps 36 characters of it.
            profile: Counts that describe it, as plain JSON.
            context: What it was used for, such as ``training`` or ``validation``.
        """
        data = Dataset(
            name=portable(name),
            digest=digest[:_LONGEST_DIGEST],
            source_type="local",
            source=json.dumps({"uri": portable(name)}),
            profile=json.dumps(dict(profile)),
        )
        given = DatasetInput(data, [InputTag("mlflow.data.context", context)])
        row = {"event": "dataset", **dict(data), "context": context}
        self._track(_Entry(row, lambda client, run: client.log_inputs(run, [given])))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file, or all files of a folder, to the run, into its `folder` if one is named."""
        shown = portable(str(path.absolute()))
        if not path.exists():
            _warn("W-TRACKING-FILE", shown, "is not there to be tracked", "look why it is missing")
            return

        def send(client: MlflowClient, run: str) -> None:
            log = client.log_artifacts if path.is_dir() else client.log_artifact
            log(run, str(path), folder)

        row = {"event": "artifact", "path": shown, "folder": folder}
        self._track(_Entry(row, send))

    def end(self, status: Status) -> None:
        """Send what is left and close the run; the context does it by itself."""
        self.flush()
        closing_entry = _Entry(
            {"event": "end", "status": status},
            lambda client, run: client.set_terminated(run, status),
        )
        self._track(closing_entry)
        if self.problem:
            self._catch_up()

    def _send_metrics(self, metrics: list[Metric]) -> None:
        row = {"event": "metrics", "values": [(m.key, m.value, m.step) for m in metrics]}
        self._track(_Entry(row, lambda client, run: client.log_batch(run, metrics=metrics)))

    def _track(self, entry: _Entry) -> None:
        if self._client and self.run_id and not self.problem:
            try:
                entry.send(self._client, self.run_id)
            except Exception as fault:
                self._fall_back(fault)
            else:
                return
        self._missed.append(entry)
        self._write(entry.row)

    def _open(self) -> None:
        """Connect, then start the run or go on with it."""
        _require_writable(self.uri)
        client = MlflowClient(self.uri)
        run = self._find(client)
        params, tags = flatten(self.params), dict(self.tags)
        if run is None:
            made = client.create_run(
                _experiment_id(client, self.experiment, self.uri), run_name=self.run_name
            )
            self.run_id = made.info.run_id
        else:
            # MLflow keeps a parameter as it was first written; a new value is told beside it.
            known = run.data.params
            tags |= {f"resumed.{k}": v for k, v in params.items() if known.get(k, v) != v}
            params = {k: v for k, v in params.items() if k not in known}
            client.update_run(self.run_id, status="RUNNING")
        _log_settings(client, str(self.run_id), params, tags)
        self._client = client

    def _find(self, client: MlflowClient) -> Run | None:
        """Return the run to go on with; None when none was asked for or it is not in the store."""
        if self.run_id is None:
            return None
        try:
            run = client.get_run(self.run_id)
        except MlflowException as fault:
            if fault.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            _warn("W-TRACKING-RUN", f"run {self.run_id}", "is not in the store", "a new one starts")
            self.tags = {**self.tags, "resumed_from": self.run_id}
            self.run_id = None
            return None
        if run.info.lifecycle_stage == "deleted":
            client.restore_run(self.run_id)
        return run

    def _fall_back(self, fault: Exception) -> None:
        """Warn once and begin the fall-back file."""
        reason = portable(" ".join(str(fault).split())[:200])
        self.problem = _warn(
            "W-TRACKING",
            portable(self.uri),
            f"MLflow failed: {reason}",
            f"training goes on, its metrics are in {FALLBACK}; look at the store",
        )
        row = {"event": "run", "experiment": self.experiment, "run_name": self.run_name}
        self._write(row | {"run_id": self.run_id, "params": flatten(self.params)})

    def _write(self, row: Mapping[str, Any]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": round(time.time(), 3), **row})
        with (self.output / FALLBACK).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _catch_up(self) -> None:
        """Offer the store once more what it missed; it may have been locked for a moment only."""
        try:
            if self._client is None:
                self._open()
            _require_writable(self.uri, patience_s=0.5)
            for entry in self._missed:
                entry.send(self._client, str(self.run_id))
        except Exception as fault:
            _log.info("the store missed the rest of the run: %s", fault)
        else:
            self._missed.clear()
            self._write({"event": "caught up", "run_id": self.run_id})


def _quieten() -> None:
    """Make MLflow silent in this process: no calls home, no links, no logs, few retries."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Seven attempts with growing pauses, MLflow's default, would hold up a training for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    # MONAI may have imported MLflow, and so made its telemetry client, before the lines above.
    set_telemetry_client()
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)


def _require_writable(uri: str, *, patience_s: float | None = None) -> None:
    """Raise when an SQLite store cannot be written; MLflow finds that out after minutes."""
    path = _sqlite_path(uri)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    wait_s = _LOCK_PATIENCE_S if patience_s is None else patience_s
    with closing(sqlite3.connect(path, timeout=wait_s, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        store.execute("ROLLBACK")


def _sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for any other store."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(found[1]) if found and found[1] != ":memory:" else None


def _experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        path = _sqlite_path(uri)
        files = str((path.parent / "artifacts").resolve()) if path else None
        try:
            return str(client.create_experiment(name, artifact_location=files))
        except MlflowException as fault:
            # Another run that started at the same time was faster.
            if fault.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _log_settings(
    client: MlflowClient, run: str, params: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    every = [Param(key, value) for key, value in params.items()]
    client.log_batch(run, tags=[RunTag(key, portable(value)) for key, value in tags.items()])
    for start in range(0, len(every), _PARAMS_A_BATCH):
        client.log_batch(run, params=every[start : start + _PARAMS_A_BATCH])


def _warn(code: str, subject: str, found: str, fix: str) -> Problem:
    problem = Problem(code, subject, found, fix=fix, level="warning")
    _log.warning("%s", problem)
    return problem
