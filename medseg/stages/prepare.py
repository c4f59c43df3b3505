"""Prepare: read the data set, split its patients, and bring every scan into the store."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from medseg.bundle import Config, Opened
from medseg.data import Splits, Store, make_splits, read_manifest, read_scans, read_splits
from medseg.data.entry import Prepared
from medseg.data.ranges import ranges_of
from medseg.data.sources import Item, item_of
from medseg.engine.tracking import Tracker
from medseg.errors import DataError, Problem
from medseg.runs import Run
from medseg.scan import Scan
from medseg.stages.begin import Request, configured
from medseg.stages.display import Display
from medseg.stages.engines import Machines, needs_of, paths_of

WORKERS = 2


def prepare(
    run: Run, tracker: Tracker, display: Display, machines: Machines | None = None
) -> Splits:
    """Split the patients of the run's data set and prepare its scans; return the split.

    A split that the run has already is kept: later stages must see the same sides.

    Args:
        run: The run.
        tracker: Where to log the split and the data.
        display: Where to show progress.
        machines: Where scans are prepared; None does it here.

    Raises:
        DataError: The data set holds faults, a patient or slice lies on two sides, or nothing of
            the training side shows an organ.
    """
    manifest = read_manifest(run.config["manifest"])
    scans = read_scans(Path(run.config["dataset_dir"]), manifest)
    splits = split_of(run, scans)
    sides = splits.fold(run.config["fold"])
    fill(run.config, scans, display, machines)
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


def prepare_data(
    request: Request, display: Display, machines: Machines | None = None
) -> list[Prepared]:
    """Bring the data set of a request into the store before there is a run; see `fill`."""
    config = configured(request, display)
    scans = read_scans(Path(config["dataset_dir"]), read_manifest(config["manifest"]))
    return fill(config, scans, display, machines)


def fill(
    config: Config, scans: Sequence[Scan], display: Display, machines: Machines | None = None
) -> list[Prepared]:
    """Bring scans into the store of a training configuration, and return what it holds of them.

    Raises:
        DataError: Scans are faulty; the others are there.
        ResourceError: The disk is full, or the folder cannot be written.
    """
    items = [item_of(scan) for scan in scans]
    store, spread = Path(config["store_dir"]), None
    if machines:
        images = [item["image"] for item in items]
        machines.require(paths_of(images), written=store)
        spread = partial(machines.spread, needs=needs_of("cpu", images), lost=_lost)
    display.begin("prepare", len(items))
    return Store(store).prepare(
        items,
        Opened(config)["train::preprocessing"],
        workers=WORKERS,
        progress=display.advance,
        spread=spread,
    )


def _lost(item: Item, problem: Problem) -> tuple[Problem, ...]:
    return (replace(problem, subject=item["scan_id"]),)


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
