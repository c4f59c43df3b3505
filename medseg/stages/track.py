"""Track: the MLflow run that belongs to a run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.engine.provenance import config_hash, packages, provenance
from medseg.engine.tracking import Tracker, default_uri, source_tags
from medseg.runs import Run

_PLACES = {
    "bundle_root",
    "dataset_dir",
    "output_dir",
    "store_dir",
    "split_file",
    "initialize",
    "run",
}


@contextmanager
def tracked(
    run: Run, uri: str | None, *, output: Path, parent: Run | None = None
) -> Iterator[Tracker]:
    """Open the MLflow run of a run folder, a new one the first time, and close it with a status.

    Writes ``provenance.json`` and keeps MLflow's run id and the parent's name in it.
    """
    known = run.read("provenance.json") or {}
    facts = provenance(seeds={"run": run.config["seed"]}) | {"packages": packages()}
    settings = {k: v for k, v in run.config.items() if k not in _PLACES and not _wiring(v)}
    tracker = Tracker(
        uri or default_uri(output),
        experiment=run.experiment,
        run_name=run.name,
        output=run.folder,
        params=settings | {"config_hash": config_hash(run.config)},
        tags=source_tags(facts) | {"medseg.fold": str(run.config["fold"])} | _below(parent),
        run_id=known.get("mlflow_run_id"),
    )
    with tracker:
        facts |= {"parent": parent.name} if parent else {}
        run.write("provenance.json", facts | {"mlflow_run_id": tracker.run_id})
        for name in ("config.json", "provenance.json"):
            if (run.folder / name).exists():
                tracker.log_artifact(run.folder / name)
        yield tracker


def _below(parent: Run | None) -> dict[str, str]:
    """Return the tags that make MLflow show a run below its parent."""
    if parent is None:
        return {}
    known = (parent.read("provenance.json") or {}).get("mlflow_run_id")
    return {"medseg.parent": parent.name} | ({"mlflow.parentRunId": known} if known else {})


def _wiring(value: object) -> bool:
    """Whether a setting is how parts are put together rather than a value."""
    return (isinstance(value, dict) and "_target_" not in value) or str(value).startswith(
        ("$", "@")
    )
