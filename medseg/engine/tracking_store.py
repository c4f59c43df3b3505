"""Where runs are tracked: addresses of MLflow's stores, and a quiet way to reach them."""

import logging
import os
import re
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from mlflow import MlflowClient
from mlflow.telemetry import set_telemetry_client

from medseg.engine.provenance import portable
from medseg.errors import Problem, UsageError
from medseg.io.written import write_once

_LOCK_PATIENCE_S = 10.0
_SQLITE = "sqlite:///"


def default_uri(output: Path) -> str:
    """Return the address of the store in an output folder: ``<output>/mlflow.db``.

    The files of its runs lie beside it, in ``<output>/artifacts``.
    """
    return f"{_SQLITE}{(output.resolve() / 'mlflow.db').as_posix()}"


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


def connected(uri: str, *, patience_s: float | None = None) -> MlflowClient:
    """Return a client of the store at `uri`, which takes writes if it is a file.

    A file that is not there is made, whole or not at all.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
        sqlite3.OperationalError: The file is locked for longer than `patience_s`, or cannot be
            written; MLflow finds that out after minutes.
    """
    _quieten()
    path = sqlite_path(uri)
    if path is not None:
        if not path.exists():
            write_once(path, _empty_store())
        wait_s = _LOCK_PATIENCE_S if patience_s is None else patience_s
        with closing(sqlite3.connect(path, timeout=wait_s, isolation_level=None)) as store:
            store.execute("BEGIN IMMEDIATE")
            store.execute("ROLLBACK")
    return MlflowClient(uri, registry_uri=uri)


@cache
def _empty_store() -> bytes:
    """Return an SQLite store without runs, made in memory.

    MLflow makes its tables in a hundred steps, each for good: of a file that a full disk or a kill
    left between two of them no later process can make a store.
    """
    # Whoever finds a store does not wait for what it takes to make one.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore("sqlite:///:memory:", "mlruns")
    connection = store.engine.raw_connection()
    try:
        content: bytes = connection.driver_connection.serialize()
    finally:
        connection.close()
        store.engine.dispose()
    return content


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for any other store."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(found[1]) if found and found[1] != ":memory:" else None


def kept_uri(uri: str, folder: Path) -> str:
    """Return `uri` as a file in `folder` may hold it: no login, and a path from there."""
    path = sqlite_path(uri)
    if path is None:
        return portable(uri)
    return f"{_SQLITE}{Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()}"


def found_uri(kept: str, folder: Path) -> str:
    """Return the address that `kept_uri` gave."""
    path = sqlite_path(kept)
    return kept if path is None else f"{_SQLITE}{(folder / path).resolve().as_posix()}"


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
        # It warns of each attempt; the one warning that matters is of the last.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
