"""Session: what one command did to a run, in ``provenance.json`` while it works and when it ends.

A run may be worked on by several commands: trained, gone on with, evaluated again. The last one is
told in full, those before it in short.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from medseg.engine.origin import data_hashes, result_hashes, settings_hash
from medseg.engine.provenance import packages, provenance
from medseg.engine.tracking import Tracker
from medseg.engine.warned import Warned, as_rows, fall_backs, warned
from medseg.errors import UnsafeError, cause_of
from medseg.runs import Run

Told = dict[str, Any]

# What stays known of the commands before the last.
_SHORT = (
    *("medseg", "git", "started", "ended", "exit_status", "command", "device", "threads"),
    *("versions", "warnings", "fall_backs", "config_sha256", "checkpoint_sha256", "weights_sha256"),
)


def session(run: Run, *, parent: str | None = None) -> Told:
    """Return what is known of a run when a command begins to work on it.

    Args:
        run: The run.
        parent: The name of the run that it is a fold of; None keeps what is known.
    """
    before = run.read("provenance.json") or {}
    short = {name: before[name] for name in _SHORT if name in before}
    return {
        **provenance(seeds={"run": run.config["seed"]}),
        "ended": None,
        "exit_status": None,
        "packages": packages(),
        # The parent of a pipeline computes nothing itself.
        "device": run.config.get("device"),
        "dataset": PurePath(run.config["manifest"]).name,
        "parent": parent or before.get("parent"),
        "mlflow_run_id": before.get("mlflow_run_id"),
        "earlier": [*before.get("earlier", ()), *([short] if short else ())],
    }


@contextmanager
def kept(run: Run, told: Told, tracker: Tracker) -> Iterator[None]:
    """Write what is told of a run now and again when the work ends, in its folder and in MLflow.

    What never ended, for it was killed, has no ``ended`` and no ``exit_status``.
    """
    with warned() as warnings:
        _write(run, told, tracker, warnings)
        status = 0
        try:
            yield
        except BaseException as error:
            status = status_of(error)
            raise
        finally:
            told["exit_status"] = status
            told["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
            _write(run, told, tracker, warnings)


def status_of(error: BaseException) -> int:
    """Return what the command line exits with when an error ends the work."""
    own = cause_of(error) or error
    return int(getattr(own, "exit_code", 130 if isinstance(own, KeyboardInterrupt) else 1))


def _write(run: Run, told: Told, tracker: Tracker, warnings: Warned) -> None:
    now = {
        **told,
        **{"config_sha256": settings_hash(run.config), **data_hashes(run.folder)},
        **{"warnings": as_rows(warnings), "fall_backs": fall_backs(warnings)},
        **result_hashes(run.folder, _checkpoint(run)),
    }
    told |= now
    run.write("provenance.json", now)
    tracker.log_document("provenance.json", now)


def _checkpoint(run: Run) -> Path | None:
    try:
        return run.checkpoint if run.trained else None
    except UnsafeError:  # all are damaged, which whoever needs one tells
        return None
