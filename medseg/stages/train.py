"""Train: build what the configuration names, run MONAI's trainer, export the best weights."""

import logging
import warnings
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medseg.bundle import Opened
from medseg.data import read_manifest
from medseg.data.phantom import is_phantom
from medseg.engine.checkpoint_files import BEST, LAST
from medseg.engine.checkpoints import TrainingCheckpoints, export_weights, load_network
from medseg.engine.divergence import FiniteSteps
from medseg.engine.history import Once, TrackingHandler
from medseg.engine.tracking import Tracker
from medseg.errors import Problem, Stopped, UsageError
from medseg.report.epochs import curves
from medseg.report.figures import save
from medseg.runs import Run
from medseg.stages.display import Display
from medseg.stages.watch import TOLD, Watch, epochs_of, keep, told


def train(run: Run, tracker: Tracker, display: Display) -> None:
    """Train the run's network, or go on where its last checkpoint is when ``resume`` is set.

    Leaves ``checkpoints/``, ``training.json`` with a row an epoch, ``curves.png`` and
    ``weights.safetensors``, the parameters of the epoch that validated best, or of the last where
    there are no patients to validate on.

    Raises:
        UsageError: There are fewer slices than one batch takes.
        DivergedError: Too many losses, or the weights, were no finite numbers.
        Stopped: A signal asked to stop; the last checkpoint is written.
    """
    labels = read_manifest(run.config["manifest"]).labels
    opened = Opened(run.config)
    opened["initialize"]  # first: a network begins with random weights
    trainer = opened["train::trainer"]
    evaluator = opened["validate::evaluator"]
    _require_a_batch(opened["train::dataloader"])
    display.say(told(opened["train::dataset"], evaluator))
    history = TrackingHandler(Once(tracker), organs=labels.names, evaluator=evaluator)
    history.attach(trainer)
    FiniteSteps().attach(trainer)
    checkpoints = next(h for h in opened["train::handlers"] if isinstance(h, TrainingCheckpoints))
    checkpoints.parts["history"] = history
    parameters = sum(each.numel() for each in opened["network"].parameters())
    sizes = {"parameters": parameters, "slices": opened["train::dataset"].counts}
    sizes["phantom"] = is_phantom(Path(run.config["dataset_dir"]))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: keep(run, sizes, history.history))
    display.begin("train", trainer.state.max_epochs * trainer.state.epoch_length)
    watch = Watch(history, evaluator, display)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, watch.step)
    # What ignite logs before it passes an exception on, the command line says in its own words.
    logging.getLogger("ignite.engine.engine").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`dataloader` is empty")
        try:
            opened["run"]
        except Stopped:
            display.say("stopped; the last step is saved, and --resume goes on from there")
            raise
    if watch.idle:
        display.say(f"trained already: {len(history.history)} epochs, and nothing is left to do")
    network = opened["network"]
    load_network(network, run.checkpoint)
    export_weights(run.folder / "weights.safetensors", network)
    save(curves(epochs_of(run), labels), run.folder / "curves.png")
    for name in (TOLD, "curves.png", f"checkpoints/{LAST}", f"checkpoints/{BEST}"):
        if (path := run.folder / name).exists():
            tracker.log_artifact(path, "checkpoints" if path.suffix == ".pt" else None)


def _require_a_batch(loader: Any) -> None:  # noqa: ANN401 - named by the configuration
    if len(loader) == 0:
        found = f"batch_size {loader.batch_size} is more than the {len(loader.dataset)} slices"
        raise UsageError(Problem("E-CONFIG", "training", found, fix="set a smaller batch_size"))
