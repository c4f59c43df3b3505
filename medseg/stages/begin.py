"""Begin: from what the user asked for to the run that the stages work on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg import ranks
from medseg.bundle import Bundle, Config, differences, find_bundle, overridden
from medseg.bundle.fitting import misfits
from medseg.bundle.trust import remember
from medseg.data.phantom import TWINS, is_phantom, write_phantom
from medseg.engine.device import device_of
from medseg.errors import Problem, UsageError
from medseg.io.lock import locked
from medseg.io.remote_work import brought
from medseg.runs import Run, latest_run, new_run
from medseg.stages.display import Display
from medseg.stages.engines import Machines

STAGES = ("prepare", "train", "tune", "predict", "evaluate", "report")


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
        machines: Where scans are prepared, and where the runs of a pipeline are done: then
            ``device`` is one of theirs. None does all here.
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
    machines: Machines | None = None


def begin(request: Request, display: Display) -> Run:
    """Return the run that the request is about: a new one, or the one to go on with.

    Raises:
        UsageError: There is no run to go on with, or it has other settings than those asked for.
    """
    bundle, experiment = find_bundle(request.target), experiment_of(request)
    before = latest_run(experiment, fold=request.fold)
    if before and (request.resume or "prepare" not in request.stages):
        brought(before.folder)
    if not _is_new(request, before):
        if before is None:
            found = f"holds no run of fold {request.fold}"
            raise UsageError(Problem("E-RUN", str(experiment), found, fix="run all stages first"))
        return _continued(before, request)
    return started(new_run(experiment, configured(request, display)), bundle)


def again(request: Request) -> Request:
    """Return the request as a launcher's that has started everything again: to go on."""
    if not ranks.restarted():
        return request
    since = f"{ranks.launcher_began():%Y%m%d-%H%M%S}"
    begun = (path.name >= since for path in experiment_of(request).glob("*-*"))
    return replace(request, resume=True) if any(begun) else request


def experiment_of(request: Request) -> Path:
    """Return the folder of the request's runs."""
    demo = request.demo or request.data is None
    name = find_bundle(request.target).name
    return request.output / f"{name}{'_demo' if demo else ''}"


def configured(request: Request, display: Display) -> Config:
    """Return the configuration of a new run, before it has a folder.

    Raises:
        UsageError: A setting is not there, the fold is none of the folds, or the network does not
            fit the labels.
    """
    demo = request.demo or request.data is None
    bundle = find_bundle(request.target)
    config = bundle.config("train", *["demo"] * demo, settings=request.settings)
    if faults := [*misfits(config)]:
        raise UsageError(*faults)
    data = request.data or _phantom(request.output, config["manifest"], display)
    if request.fold >= config["folds"]:
        found, expected = f"fold {request.fold} does not exist", f"0-{config['folds'] - 1}"
        raise UsageError(Problem("E-FOLD", bundle.name, found, expected))
    return config | _data(config["manifest"], data) | _places(request)


def _data(manifest: str, folder: Path) -> Config:
    """Return where the data and their manifest lie, wherever a later command is called from."""
    own = Path(manifest)
    told = str(own.resolve()) if own.is_file() else manifest
    return {"dataset_dir": str(folder.resolve()), "manifest": told}


def _is_new(request: Request, before: Run | None) -> bool:
    """Whether the stages asked for begin a run: one is begun by prepare, or by train alone."""
    if request.resume:
        return False
    if "prepare" in request.stages:
        return True
    return "train" in request.stages and (before is None or before.trained)


def _phantom(output: Path, like: str, display: Display) -> Path:
    """Return the folder of the data set's phantom, which is made where there is none yet."""
    if like not in TWINS:
        found, fix = "has no phantom", "give the folder of the data with --data"
        raise UsageError(Problem("E-PHANTOM", like, found, ", ".join(TWINS), fix))
    display.say("no --data: a phantom stands in for the patients, with the bundle's demo settings")
    folder = output / ("phantom" if like == "uwmgi" else f"phantom_{like}")
    if not is_phantom(folder):
        with locked(folder):
            if not is_phantom(folder):  # nor has another process made one just now
                display.begin("phantom", 1)
                write_phantom(folder, like=like, progress=display.advance)
    return folder


def _places(request: Request) -> Config:
    """Return the settings that say where things lie and what to compute on."""
    chosen: dict[str, Any] = {
        "store_dir": str((request.output / "store").resolve()),
        "device": request.device if request.machines else device_of(request.device),
        "fold": request.fold,
    }
    optional = {"seed": request.seed, "weights": request.weights}
    return chosen | {key: value for key, value in optional.items() if value is not None}


def started(current: Run, bundle: Bundle) -> Run:
    """Return a new run with its own folder in its configuration, which it writes."""
    config = current.config | {
        "bundle_root": str(bundle.root),
        "output_dir": str(current.folder.resolve()),
        "split_file": str(current.splits.resolve()),
    }
    current.write("config.json", config)
    remember(current.folder)
    return Run(current.folder, config)


def _continued(current: Run, request: Request) -> Run:
    """Return the run with the settings it has; only a resumed one may get more epochs."""
    asked = overridden(current.config, request.settings, subject=current.name) | _places(request)
    if request.data is not None:
        asked["dataset_dir"] = str(request.data.resolve())
    # Where the data lie is no matter: their content is compared with the split's.
    may_change = {"device", "store_dir", "dataset_dir"} | ({"epochs"} if request.resume else set())
    changed = differences(current.config, asked, ignore=may_change)
    if changed:
        fix = "start a new run, with stage prepare and without --resume"
        raise UsageError(
            *(
                Problem("E-RESUME-DIFF", current.name, f"{key} is now {now}", before, fix)
                for key, (before, now) in changed.items()
            )
        )
    told = {**current.config, **{name: asked[name] for name in ("epochs", "dataset_dir")}}
    if told != current.config:
        with locked(current.folder):  # a training at work was begun with other epochs
            current.write("config.json", told)
            remember(current.folder)
    return Run(current.folder, asked | {"resume": request.resume})
