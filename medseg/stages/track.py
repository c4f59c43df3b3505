"""Track: the MLflow run that belongs to a run folder."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from medseg.engine.provenance import portable_values
from medseg.engine.settings import parameters
from medseg.engine.tracking import Tracker, default_uri, source_tags
from medseg.engine.tracking_system import watching
from medseg.errors import Problem
from medseg.io.remote_work import address_of, owned
from medseg.runs import Run
from medseg.stages.session import kept, session

_log = logging.getLogger(__name__)

# What stands in MLflow where a run has folders of this machine: names beside the configuration.
_PLACES = {
    "bundle_root": ".",
    "dataset_dir": "data",
    "output_dir": ".",
    "store_dir": "store",
    "split_file": "splits.json",
}


@contextmanager
def tracked(
    run: Run, uri: str | None, *, output: Path, parent: Run | None = None
) -> Iterator[Tracker]:
    """Open the MLflow run of a run folder, a new one the first time, and close it with a status.

    Keeps ``provenance.json``, and MLflow's run id and the parent's name in it. Nobody else may
    work on the run meanwhile.

    Raises:
        ResourceError: Another process works on the run (E-LOCKED).
    """
    with owned(run.folder), _opened(run, uri, output=output, parent=parent) as tracker:
        yield tracker


@contextmanager
def _opened(run: Run, uri: str | None, *, output: Path, parent: Run | None) -> Iterator[Tracker]:
    if uri is None:
        _tell_of_store(output)
    told = session(run, parent=parent.name if parent else None)
    params = parameters(run.config)
    tracker = Tracker(
        uri or default_uri(output),
        experiment=run.experiment,
        run_name=_shown(run.name),
        output=run.folder,
        params=params,
        tags=source_tags(told) | _tags(params) | _below(parent),
        run_id=told["mlflow_run_id"],
        parent=parent.folder if parent else None,
    )
    try:
        with tracker:
            told["mlflow_run_id"] = tracker.run_id
            tracker.log_document("config.json", portable_values({**run.config, **_PLACES}))
            with kept(run, told, tracker), watching(tracker, began_s=tracker.began_s):
                yield tracker
    finally:
        # A store that was away may have taken the run only now.
        if tracker.run_id != told["mlflow_run_id"]:
            run.write("provenance.json", {**told, "mlflow_run_id": tracker.run_id})


@cache
def _tell_of_store(output: Path) -> None:
    """Warn, once, that the store of an output in an object store is not there."""
    if (address := address_of(output)) != str(output):
        found = "MLflow's database stays in the copy on this machine"
        fix = "name a server with --tracking-uri to see runs of all machines together"
        problem = Problem("W-TRACKING-LOCAL", address, found, fix=fix, level="warning")
        _log.warning("%s", problem)


def _shown(name: str) -> str:
    """Return a run's name with what it is in front: MLflow's narrow column cuts off the end."""
    words = name.split("-")
    return "-".join((*words[2:], *words[:2]))


def _tags(params: Mapping[str, Any]) -> dict[str, str]:
    return {f"medseg.{name}": str(params[name]) for name in ("network", "dataset", "fold")}


def _below(parent: Run | None) -> dict[str, str]:
    """Return the tags that make MLflow show a run below its parent, once that has an id."""
    if parent is None:
        return {}
    known = (parent.read("provenance.json") or {}).get("mlflow_run_id")
    return {"medseg.parent": parent.name} | ({"mlflow.parentRunId": known} if known else {})
