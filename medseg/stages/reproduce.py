"""Reproduce: a run once more, from its settings, seeds and split, and whether the same came out."""

from pathlib import Path

from medseg.bundle import find_bundle
from medseg.data import Splits, read_manifest, read_scans, read_splits
from medseg.engine.device import device_of
from medseg.errors import Problem, UsageError
from medseg.runs import CLEANING, Run, new_run, open_run
from medseg.stages.begin import Request, started
from medseg.stages.display import Display
from medseg.stages.likeness import Reproduction, parts, reasons
from medseg.stages.run import work


def reproduce(folder: Path, request: Request, display: Display) -> Reproduction:
    """Do again what a run did, in a new run of ``<output>/<experiment>_reproduced``, and compare.

    Args:
        folder: The run's.
        request: Where the data lie, None for where they were; the device; the output.
        display: Where to show progress.

    Raises:
        UsageError: It is no run that was trained, or its data are not where they were.
        DataError: The data are not those of the run's split.
    """
    before = open_run(folder)
    before.checkpoint  # noqa: B018 - raises where there is none
    data = request.data or Path(before.config["dataset_dir"])
    splits = _split(before, data)
    places = {"dataset_dir": str(data.resolve()), "device": device_of(request.device)}
    places["store_dir"] = str((request.output / "store").resolve())
    experiment = request.output / f"{before.experiment}_reproduced"
    bundle = find_bundle(request.target)
    now = started(new_run(experiment, {**before.config, **places, "resume": False}), bundle)
    splits.write(now.splits)
    work(now, request, display)
    why = reasons(*(run.read("provenance.json") or {} for run in (before, now)))
    return Reproduction(before, now, parts(before, now), why)


def again(folder: Path, *, data: Path | None, output: Path, device: str = "auto") -> Request:
    """Return the request for what a run did: its bundle and stages; ``auto`` is its device."""
    run = open_run(folder)
    root = Path(run.config["bundle_root"])
    left = {"tune": CLEANING, "predict": "predictions/made_with.json", "evaluate": "metrics.csv"}
    stages = [stage for stage, name in left.items() if (run.folder / name).exists()]
    return Request(
        str(root) if root.is_dir() else root.name,
        data=data,
        stages=("prepare", "train", *stages),
        device=run.config["device"] if device == "auto" else device,
        output=output,
    )


def _split(run: Run, data: Path) -> Splits:
    """Return the run's split, which the data fit to the last slice."""
    if not data.is_dir():
        found, fix = "its data are not where they were", "tell where they are with --data"
        raise UsageError(Problem("E-RUN", run.name, found, fix=fix))
    splits = read_splits(run.splits)
    scans = read_scans(data, read_manifest(run.config["manifest"]))
    splits.verify([scan for scan in scans if scan.scan_id in splits.scans])
    return splits
