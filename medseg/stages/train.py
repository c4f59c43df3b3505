"""Train: build what the configuration names, run MONAI's trainer, export the best weights."""

import json
import logging
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Events
from torch import nn

from medseg import ranks
from medseg.bundle import Config, Opened
from medseg.bundle.trust import require_data
from medseg.data import read_manifest
from medseg.data.phantom import is_phantom
from medseg.engine.checkpoint_files import BEST, LAST
from medseg.engine.checkpoints import (
    TrainingCheckpoints,
    export_weights,
    load_network,
    provenance_of,
)
from medseg.engine.divergence import FiniteSteps
from medseg.engine.history import Once, Steps, TrackingHandler, Unlogged
from medseg.engine.loading import loaders_told
from medseg.engine.origin import WEIGHTS, carried
from medseg.engine.parallel import divide, draw_apart, require_shares
from medseg.engine.tracking import Tracker
from medseg.errors import MedsegError, Problem, Stopped, UsageError
from medseg.report.epochs import curves
from medseg.report.figures import save
from medseg.runs import Run, open_run
from medseg.stages.display import Display, Silent
from medseg.stages.watch import TOLD, Watch, epochs_of, keep, told


def train(run: Run, tracker: Tracker, display: Display) -> None:
    """Train the run's network, or go on where its last checkpoint is when ``resume`` is set.

    Leaves ``checkpoints/``, ``training.json`` with a row an epoch, ``curves.png`` and
    ``weights.safetensors``, the parameters of the epoch that validated best, or of the last where
    there are no patients to validate on.

    Where several processes were launched the others take part, see `join`.

    Raises:
        UsageError: There are fewer slices than one batch takes, or more processes.
        DivergedError: Too many losses, or the weights, were no finite numbers.
        ResourceError: Another process has ended.
        Stopped: A signal asked to stop; the last checkpoint is written.
    """
    config = {**run.config, "device": ranks.placed(run.config["device"])}
    task = json.dumps(_task(run)) if ranks.leads() else ""
    with ranks.leading(task, config["device"]):
        network = _trained(lambda: Run(run.folder, config), tracker, display)
    load_network(network, run.checkpoint)
    export_weights(run.folder / WEIGHTS, network, told=provenance_of(run.checkpoint))
    labels = read_manifest(run.config["manifest"]).labels
    save(curves(epochs_of(run), labels), run.folder / "curves.png")
    for name in (TOLD, "curves.png", f"checkpoints/{LAST}", f"checkpoints/{BEST}"):
        if (path := run.folder / name).exists():
            tracker.log_artifact(path, "checkpoints" if path.suffix == ".pt" else None)


def join() -> None:
    """Take part in all that rank 0 trains, in silence: what there is to tell it tells."""
    logging.getLogger("medseg").setLevel(logging.CRITICAL)
    for name, task in ranks.following():
        folder, changed = json.loads(task)
        changed["device"] = ranks.placed(changed["device"])
        opened = partial(_opened, Path(folder), changed)
        with suppress(MedsegError, Stopped), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with ranks.together(changed["device"], name=name):
                _trained(opened, Unlogged(), Silent())


def _task(run: Run) -> tuple[str, Config]:
    """Return what leads others to a run: its folder, and what it does otherwise this time."""
    written = run.read("config.json")
    changed = {k: value for k, value in run.config.items() if written.get(k, ...) != value}
    return str(run.folder.resolve()), {**changed, "device": run.config["device"]}


def _opened(folder: Path, changed: Config) -> Run:
    """Return the run that others are led to, which is code: what is not trusted here is refused."""
    run = open_run(folder)
    require_data(changed, folder)
    return Run(run.folder, {**run.config, **changed})


def _trained(begun: Callable[[], Run], tracker: Steps, display: Display) -> nn.Module:
    """Return the network as it is after the last step."""
    with ranks.alike():
        run = begun()
        labels = read_manifest(run.config["manifest"]).labels
        opened = Opened(run.config)
        opened["initialize"]  # first: a network begins with random weights
        trainer = opened["train::trainer"]
        evaluator = opened["validate::evaluator"]
        _require_a_batch(opened["train::dataloader"])
    draw_apart(run.config["seed"])
    display.say(told(opened["train::dataset"], evaluator))
    divide(evaluator)
    history = TrackingHandler(Once(tracker), organs=labels.names, evaluator=evaluator)
    history.attach(trainer)
    FiniteSteps().attach(trainer)
    checkpoints = next(h for h in opened["train::handlers"] if isinstance(h, TrainingCheckpoints))
    checkpoints.parts["history"], checkpoints.told = history, carried(run.folder, run.config)
    parameters = sum(each.numel() for each in opened["network"].parameters())
    sizes = {"parameters": parameters, "slices": opened["train::dataset"].counts}
    sizes["phantom"] = is_phantom(Path(run.config["dataset_dir"]))
    if ranks.rank() == 0:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: keep(run, sizes, history.history))
    display.begin("train", trainer.state.max_epochs * trainer.state.epoch_length)
    watch = Watch(history, evaluator, display)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, watch.step)
    # What ignite logs before it passes an exception on, the command line says in its own words.
    logging.getLogger("ignite.engine.engine").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`dataloader` is empty")
        # Which parameters of a network that takes masks learn differs from step to step.
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
        # Of depthwise kernels: an axis of length 1 may have any stride.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        try:
            with loaders_told(opened["validate::dataloader"]):
                opened["run"]
        except Stopped:
            display.say("stopped; the last step is saved, and --resume goes on from there")
            raise
    if watch.idle:
        display.say(f"trained already: {len(history.history)} epochs, and nothing is left to do")
    network: nn.Module = opened["network"]
    return network


def _require_a_batch(loader: Any) -> None:  # noqa: ANN401 - named by the configuration
    if len(loader) == 0:
        found = f"batch_size {loader.batch_size} is more than the {len(loader.dataset)} slices"
        raise UsageError(Problem("E-CONFIG", "training", found, fix="set a smaller batch_size"))
    require_shares(loader.batch_size)
