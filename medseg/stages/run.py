"""Run: a bundle from data to scores, every stage on what the one before left."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medseg.bundle import Bundle, Config, differences, find_bundle
from medseg.data.phantom import write_phantom
from medseg.engine.tracking import Tracker
from medseg.errors import Problem, ResourceError, UsageError
from medseg.stages.display import Display
from medseg.stages.predict import predict_held_out
from medseg.stages.prepare import prepare
from medseg.stages.runs import Run, latest_run, new_run
from medseg.stages.score import score
from medseg.stages.track import tracked
from medseg.stages.train import train

STAGES = ("prepare", "train", "predict", "evaluate")


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        target: A bundle's folder, or the name of a shipped one.
        data: The data folder; None stands for the phantom with demo settings.
        demo: Lay the bundle's ``demo.json`` over its settings.
        stages: Which of `STAGES` to do, each on what the ones before left.
        fold: Which group of patients is held out.
        settings: Overrides of the configuration by id.
        resume: Go on with the newest run of the fold.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        output: The folder of runs, the store and the MLflow database.
        seed: Of the split, the order of slices and augmentation; None keeps the bundle's.
        weights: A folder or hub id of pretrained weights.
        tracking_uri: Another MLflow store or server than the output folder's.
    """

    target: str
    data: Path | None = None
    demo: bool = False
    stages: Sequence[str] = STAGES
    fold: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    resume: bool = False
    device: str = "auto"
    output: Path = Path("runs")
    seed: int | None = None
    weights: str | None = None
    tracking_uri: str | None = None


def run(request: Request, display: Display) -> Run:
    """Do the stages asked for and return the run they worked on.

    Raises:
        MedsegError: Something was wrong; what earlier stages left stays.
    """
    current = begin(request, display)
    with tracked(current, request.tracking_uri, output=request.output) as tracker:
        for stage in (stage for stage in STAGES if stage in request.stages):
            _do(stage, current, tracker, display)
    display.say(f"run: {current.folder}")
    return current


def begin(request: Request, display: Display) -> Run:
    """Return the run that the request is about: a new one, or the one to go on with."""
    bundle = find_bundle(request.target)
    demo = request.demo or request.data is None
    data = request.data or _phantom(request.output, display)
    config = bundle.config("train", *["demo"] * demo, settings=request.settings)
    config |= _places(request, data)
    experiment = request.output / f"{bundle.name}{'_demo' if demo else ''}"
    before = latest_run(experiment, fold=request.fold)
    if _is_new(request, before):
        return _started(new_run(experiment, config), bundle)
    if before is None:
        found = f"holds no run of fold {request.fold}"
        raise UsageError(Problem("E-RUN", str(experiment), found, fix="run all stages first"))
    return _continued(before, config, request)


def _is_new(request: Request, before: Run | None) -> bool:
    """Whether the stages asked for begin a run: one is begun by prepare, or by train alone."""
    if request.resume:
        return False
    if "prepare" in request.stages:
        return True
    return "train" in request.stages and (before is None or before.trained)


def _do(stage: str, current: Run, tracker: Tracker, display: Display) -> None:
    if stage == "prepare" or not current.splits.exists():
        prepare(current, tracker, display)
    match stage:
        case "train":
            train(current, tracker, display)
        case "predict":
            predict_held_out(current, display)
        case "evaluate":
            score(current, tracker, display)


def _phantom(output: Path, display: Display) -> Path:
    display.say("no --data: a phantom stands in for the patients, with the bundle's demo settings")
    folder = output / "phantom"
    if not (folder / "train.csv").exists():
        display.begin("phantom", 1)
        write_phantom(folder, progress=display.advance)
    return folder


def _places(request: Request, data: Path) -> Config:
    """Return the settings that say where things lie and what to compute on."""
    if not data.is_dir():
        raise UsageError(
            Problem("E-DATA", str(data), "is no folder", "the folder that holds train/", "check it")
        )
    chosen: dict[str, Any] = {
        "dataset_dir": str(data.resolve()),
        "store_dir": str((request.output / "store").resolve()),
        "device": device_of(request.device),
        "fold": request.fold,
    }
    optional = {"seed": request.seed, "weights": request.weights}
    return chosen | {key: value for key, value in optional.items() if value is not None}


def device_of(name: str) -> str:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` as torch names it.

    Raises:
        ResourceError: The device is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ResourceError(
            Problem("E-DEVICE", name, f"there are {count} CUDA devices", fix="use --device auto")
        )
    return name


def _started(current: Run, bundle: Bundle) -> Run:
    config = current.config | {
        "bundle_root": str(bundle.root),
        "output_dir": str(current.folder.resolve()),
        "split_file": str(current.splits.resolve()),
    }
    current.write("config.json", config)
    return Run(current.folder, config)


def _continued(current: Run, config: Config, request: Request) -> Run:
    """Return the run to go on with, with more epochs or another device where asked for."""
    free = {"epochs", "device", "resume", "output_dir", "split_file", "bundle_root", "lr_scheduler"}
    changed = differences(current.config, config, ignore=free)
    if changed and request.resume:
        raise UsageError(
            *(
                Problem(
                    "E-RESUME-DIFF", current.name, f"{key} is now {now}", before, "start a new run"
                )
                for key, (before, now) in changed.items()
            )
        )
    merged = current.config | {"device": config["device"], "resume": request.resume}
    if request.resume:
        merged |= {"epochs": config["epochs"]}
    return Run(current.folder, merged)
