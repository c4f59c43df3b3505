"""Runs in MLflow: settings, metrics, data sets, files and models.

A run is opened once, resumed by its id alone, and always ends with a status. Tracking never ends a
training: at the first fault (a locked or missing store, a server that is down) everything goes to
``tracking.jsonl`` in the run's folder from then on, with one warning; when the run ends, what the
store missed is offered to it once more, and `sync` offers it again whenever it is asked to.
"""

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from mlflow import MlflowClient

from medseg.engine.history import TrackingHandler
from medseg.engine.provenance import portable
from medseg.engine.settings import flatten
from medseg.engine.tracking_rows import (
    FALLBACK,
    LONGEST_DIGEST,
    Row,
    keep,
    kept,
    kept_metrics,
    open_run,
    reason_of,
    send,
    send_kept,
    warned,
)
from medseg.engine.tracking_store import connected, default_uri, found_uri, kept_uri, require_store
from medseg.errors import Problem

__all__ = [
    "FALLBACK",
    "Tracker",
    "TrackingHandler",
    "default_uri",
    "pending",
    "require_store",
    "source_tags",
    "sync",
]

Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)


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


def pending(folder: Path) -> int:
    """Return how many rows a run folder keeps that MLflow has not taken."""
    return len(kept(folder).pending)


def sync(folder: Path, uri: str | None = None) -> str | None:
    """Send what a run folder kept to MLflow; return the id of its run, None if it kept nothing.

    Args:
        folder: The run's folder.
        uri: The store; by default the one that the run was meant for.

    Raises:
        Exception: Whatever the store or the way to it raised; the rest is still kept.
    """
    rows = kept(folder).rows
    if not rows:
        return None
    meant = next(row["uri"] for row in rows if row["event"] == "run")
    return send_kept(connected(uri or found_uri(meant, folder)), folder)


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
        parent: The folder of the run that this one belongs to, where that was not reached yet; a
            parent that was is told in the tag ``mlflow.parentRunId``.
        problem: Why tracking fell back, None while the store takes everything.
        began_s: When the run began, before a resumed one was resumed, in seconds of `time.time`.

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
    parent: Path | None = None
    problem: Problem | None = field(default=None, init=False)
    began_s: float = field(default=0.0, init=False)
    _goes_on: bool = field(default=False, init=False, repr=False)
    _key: str = field(default_factory=lambda: uuid.uuid4().hex, init=False, repr=False)
    _client: MlflowClient | None = field(default=None, init=False, repr=False)
    _values: list[tuple[str, float, int, int]] = field(default_factory=list, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        require_store(self.uri)
        self._goes_on = self.run_id is not None

    def __enter__(self) -> Self:
        self.began_s = time.time()
        row = self._row()
        try:
            client = connected(self.uri)
            self.run_id = send_kept(client, self.output) or self.run_id
            self.run_id = open_run(client, {**row, "run_id": self.run_id}, self.output)
            self.began_s = client.get_run(self.run_id).info.start_time / 1000
            self._client = client
        except Exception as fault:
            self._fall_back(fault, {**row, "run_id": self.run_id})
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
        """Keep metrics of an epoch, or of an iteration, until the next `flush`; any thread may."""
        now_ms = int(time.time() * 1000)
        with self._lock:
            self._values += [(key, float(value), now_ms, step) for key, value in metrics.items()]

    def steps(self, metric: str) -> frozenset[int]:
        """Return the steps that a run which goes on has told of a metric already."""
        steps = {step for key, step in kept_metrics(self.output) if key == metric}
        if self._goes_on and self._client and self.run_id and not self.problem:
            try:
                told = self._client.get_metric_history(self.run_id, metric)
            except Exception as fault:
                self._fall_back(fault, {**self._row(), "run_id": self.run_id})
            else:
                steps |= {each.step for each in told}
        return frozenset(steps)

    def flush(self) -> None:
        """Send the metrics that were kept."""
        with self._lock:
            values, self._values = self._values, []
        if values:
            self._track({"event": "metrics", "values": values})

    def log_dataset(
        self, name: str, digest: str, *, profile: Mapping[str, Any], context: str
    ) -> None:
        """Record a data set as an input of the run.

        Args:
            name: Its name, such as ``uwmgi``; never a path.
            digest: Hash of its content; MLflow keeps 36 characters of it, and takes two data sets
                of one name and digest for one.
            profile: Counts that describe it, as plain JSON.
            context: What it was used for, such as ``training`` or ``validation``.
        """
        row = {
            "event": "dataset",
            "name": portable(name),
            "digest": digest[:LONGEST_DIGEST],
            "source_type": "local",
            "source": json.dumps({"uri": portable(name)}),
            "profile": json.dumps(dict(profile)),
            "context": context,
        }
        self._track(row)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file, or all files of a folder, to the run, into its `folder` if one is named."""
        below = Path(os.path.relpath(path.absolute(), self.output.absolute())).as_posix()
        self._track({"event": "artifact", "path": below, "folder": folder})

    def log_document(self, name: str, content: Any) -> None:  # noqa: ANN401 - any JSON
        """Keep plain JSON with the run, as a file called `name`."""
        self._track({"event": "document", "name": name, "content": content})

    def log_model(
        self, name: str, *, organs: Sequence[str], tags: Mapping[str, str], score: float | None
    ) -> None:
        """Register the model in the run's folder as a version of `name`.

        Args:
            name: What the versions have in common, such as the experiment's name.
            organs: What the channels of its masks are, in their order.
            tags: About this version.
            score: Its validation score; the version with the highest gets the alias ``best``. None
                without validation.
        """
        shown = {key: portable(value) for key, value in tags.items()}
        row = {"event": "model", "name": name, "organs": [*organs], "tags": shown}
        self._track({**row, "score": score})

    def end(self, status: Status) -> None:
        """Send what is left and close the run; the context does it by itself."""
        self.flush()
        self._track({"event": "end", "status": status, "time_ms": int(time.time() * 1000)})
        if self.problem:
            self._catch_up()

    def _track(self, row: Row) -> None:
        if self._client and self.run_id and not self.problem:
            try:
                send(self._client, self.run_id, row, folder=self.output)
            except Exception as fault:
                self._fall_back(fault, {**self._row(), "run_id": self.run_id})
            else:
                return
        keep(self.output, row)

    def _row(self) -> Row:
        parent = self.parent and os.path.relpath(self.parent.absolute(), self.output.absolute())
        return {
            "event": "run",
            "uri": kept_uri(self.uri, self.output),
            "key": self._key,
            "experiment": self.experiment,
            "run_name": self.run_name,
            "started_ms": int(self.began_s * 1000),
            "params": flatten(self.params),
            "tags": {key: portable(value) for key, value in self.tags.items()},
            "parent": parent,
        }

    def _fall_back(self, fault: Exception, row: Row) -> None:
        """Warn once and begin the fall-back file."""
        self.problem = warned(
            "W-TRACKING",
            portable(self.uri),
            f"MLflow failed: {reason_of(fault)}",
            f"training goes on, and {FALLBACK} keeps what it tells; 'medseg sync' sends it later",
        )
        keep(self.output, row)

    def _catch_up(self) -> None:
        """Offer the store once more what it missed; it may have been locked for a moment only."""
        try:
            self.run_id = send_kept(connected(self.uri, patience_s=0.5), self.output)
        except Exception as fault:
            _log.info("the store missed the rest of the run: %s", reason_of(fault))
