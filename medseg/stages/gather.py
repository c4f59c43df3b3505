"""Gather: what a run's folder, its bundle and its data set tell for its report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.bundle import find_bundle
from medseg.data import read_manifest, read_scans, read_splits
from medseg.data.phantom import is_phantom
from medseg.data.splits import Splits
from medseg.engine.origin import settings_hash
from medseg.engine.provenance import sha256_of
from medseg.errors import DataError, UnsafeError, UsageError
from medseg.metrics.calibration import Calibration
from medseg.report.facts import RunFacts, Side
from medseg.report.scores import read_csv
from medseg.runs import CLEANING, Run
from medseg.scan import Scan
from medseg.stages.cleaning_effect import EFFECT

Scans = Mapping[str, Scan]


def scans_of(run: Run) -> Scans:
    """Return the scans of the run's data set by id; none where it cannot be read any more."""
    try:
        scans = read_scans(Path(run.config["dataset_dir"]), read_manifest(run.config["manifest"]))
    except DataError:
        return {}
    return {scan.scan_id: scan for scan in scans}


def facts_of(run: Run, scans: Scans, *, parts: Sequence[Run]) -> RunFacts:
    """Return what the run's folder holds; what it does not hold is left empty.

    Args:
        run: The run, or the parent of folds.
        scans: Those of the data set, by id.
        parts: The folds whose held-out scans are told of together; of one run itself alone.
    """
    splits = read_splits(parts[0].splits) if parts[0].splits.exists() else None
    metrics, training = run.folder / "metrics.csv", run.read("training.json") or {}
    return RunFacts(
        name=run.name,
        experiment=run.experiment,
        config=run.config,
        manifest=read_manifest(run.config["manifest"]),
        metadata=_metadata(run),
        sides=_sides(splits, [part.config["fold"] for part in parts], scans) if splits else (),
        split=_split(splits) if splits else {},
        provenance=run.read("provenance.json") or {},
        training=training,
        weights=_hashes(run),
        scores=read_csv(metrics) if metrics.exists() else (),
        calibration=_calibration(parts),
        cleaning=_cleaning(run),
        cleaning_effect=run.read(EFFECT) or {},
        phantom=training.get("phantom", is_phantom(Path(run.config["dataset_dir"]))),
    )


def _metadata(run: Run) -> dict[str, Any]:
    try:
        return find_bundle(run.config["bundle_root"]).metadata
    except (UsageError, UnsafeError):
        return {}


def _cleaning(run: Run) -> dict[str, Any]:
    told: dict[str, Any] = run.read(CLEANING) or {}
    if told and run.trained and told["checkpoint_sha256"] != sha256_of(run.checkpoint):
        return {"why_not": "the network has learnt more since rules were chosen; none is used"}
    return told


def _calibration(parts: Sequence[Run]) -> dict[str, Calibration]:
    """Return the counts of all parts together."""
    found: dict[str, Calibration] = {}
    for part in parts:
        counted = part.read("calibration.json") or {"organs": {}}
        for name, row in counted["organs"].items():
            found[name] = found.get(name, Calibration()).plus(Calibration(**row))
    return found


def _sides(splits: Splits, folds: Sequence[int], scans: Scans) -> list[Side]:
    """Return the sides of a fold; of several only who was tested, for each trained on others."""
    sides = splits.fold(folds[0])._asdict()
    if len(folds) > 1:
        sides = {"test": [scan_id for fold in folds for scan_id in splits.fold(fold).test]}
    return [_side(splits, role, ids, scans) for role, ids in sides.items()]


def _side(splits: Splits, role: str, ids: Sequence[str], scans: Scans) -> Side:
    known = [len(scans[scan_id].slice_numbers) for scan_id in ids if scan_id in scans]
    patients = {splits.scans[scan_id].patient for scan_id in ids}
    slices = sum(known) if len(known) == len(ids) else None
    return Side("training" if role == "train" else role, len(patients), len(ids), slices)


def _split(splits: Splits) -> dict[str, str]:
    return {"sha256": splits.sha256, "rule": splits.rule, "seed": str(splits.seed)}


def _hashes(run: Run) -> dict[str, str]:
    weights = run.folder / "weights.safetensors"
    found = {"sha256": sha256_of(weights)} if weights.exists() else {}
    return found | {"config_sha256": settings_hash(run.config)}
