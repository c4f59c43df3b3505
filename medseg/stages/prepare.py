"""Prepare: read the data set, split its patients, and bring every scan into the store."""

import hashlib
from dataclasses import replace
from pathlib import Path

from medseg.bundle import Opened
from medseg.data import Splits, Store, make_splits, read_manifest, read_scans, read_splits
from medseg.data.ranges import ranges_of
from medseg.data.sources import item_of
from medseg.engine.tracking import Tracker
from medseg.errors import DataError
from medseg.runs import Run
from medseg.scan import Scan
from medseg.stages.display import Display

WORKERS = 2


def prepare(run: Run, tracker: Tracker, display: Display) -> Splits:
    """Split the patients of the run's data set and prepare its scans; return the split.

    A split that the run has already is kept: later stages must see the same sides.

    Raises:
        DataError: The data set holds faults, a patient or slice lies on two sides, or nothing of
            the training side shows an organ.
    """
    manifest = read_manifest(run.config["manifest"])
    scans = read_scans(Path(run.config["dataset_dir"]), manifest)
    splits = split_of(run, scans)
    sides = splits.fold(run.config["fold"])
    opened = Opened(run.config)
    store = Store(Path(run.config["store_dir"]))
    display.begin("prepare", len(scans))
    store.prepare(
        [item_of(scan) for scan in scans],
        opened["train::preprocessing"],
        workers=WORKERS,
        progress=display.advance,
    )
    tracker.log_artifact(run.splits)
    trained = [scan for scan in scans if scan.scan_id in sides.train]
    looks = {name: run.config[name] for name in ("neighbours", "stride")}
    run.write("ranges.json", ranges_of(trained, manifest, **looks))
    for context, side in zip(("training", "validation", "test"), sides, strict=True):
        chosen = [scan for scan in scans if scan.scan_id in side]
        if chosen:
            digest = _digest(splits, chosen)
            profile = _profile(chosen)
            tracker.log_dataset(run.config["manifest"], digest, profile=profile, context=context)
    return splits


def _digest(splits: Splits, scans: list[Scan]) -> str:
    """Return a hash of the content of scans: the same side of the same data has the same."""
    hashes = sorted(splits.scans[scan.scan_id].sha256 for scan in scans)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _profile(scans: list[Scan]) -> dict[str, int]:
    return {
        "patients": len({scan.case_id for scan in scans}),
        "scans": len(scans),
        "slices": sum(len(scan.slice_numbers) for scan in scans),
    }


def split_of(run: Run, scans: list[Scan]) -> Splits:
    """Return the run's split, made and written to ``splits.json`` where there is none.

    Raises:
        DataError: The run goes on, and the data are not those it began with.
    """
    if run.splits.exists():
        splits = read_splits(run.splits)
        if run.config.get("resume"):
            _require_same(splits, scans)
        return splits
    splits = make_splits(
        scans,
        folds=run.config["folds"],
        seed=run.config["seed"],
        manifest=run.config["manifest"],
    )
    splits.verify(scans)
    splits.write(run.splits)
    return splits


def _require_same(splits: Splits, scans: list[Scan]) -> None:
    try:
        splits.verify(scans)
    except DataError as fault:
        fix = "restore the data, or start a new run without --resume"
        told = (replace(each, code="E-RESUME-DIFF", fix=fix) for each in fault.problems)
        raise DataError(*told) from fault
