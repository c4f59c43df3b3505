"""A training follows from its seed, from the first weights on."""

import signal

import pytest
import torch
from ignite.engine import Events
from safetensors.torch import load_file

from medseg.bundle import Opened, find_bundle
from medseg.errors import DivergedError, Stopped
from medseg.runs import Run
from medseg.stages.display import Silent
from medseg.stages.train import train

THREE = {"epochs": 3, "epoch_length": 3, "val_interval": 1, "ema_decay": 0.9}
TIMES = {"train/seconds", "train/slices_per_s"}


class NoTracker:
    def log_metrics(self, metrics, step):
        """Keep nothing."""

    def steps(self, _metric):
        return frozenset()

    def flush(self):
        """Send nothing."""

    def log_artifact(self, path, folder=None):
        """Send nothing."""


def tiny_run(folder, data, **changed):
    settings = {
        **{"dataset_dir": str(data), "output_dir": str(folder), "store_dir": f"{data}-store"},
        **{"roi_px": [32, 32], "spacing_mm": [9.0, 9.0, 9.0], "device": "cpu"},
        **{"epochs": 1, "epoch_length": 1, "batch_size": 2, "val_interval": 9},
        "network_def::_target_": "medseg.models.unext",
    }
    config = find_bundle("uwmgi_unext").config("train", settings=settings | changed)
    folder.mkdir(exist_ok=True)
    return Run(folder, config)


def weights_after(seed, folder, data):
    train(tiny_run(folder, data, seed=seed), NoTracker(), Silent())
    return load_file(folder / "weights.safetensors")


def test_the_first_weights_follow_from_the_seed(tiny_phantom, tmp_path):
    torch.seed()  # as in a process of its own
    once = weights_after(1, tmp_path / "once", tiny_phantom)
    torch.seed()
    again = weights_after(1, tmp_path / "again", tiny_phantom)
    other = weights_after(2, tmp_path / "other", tiny_phantom)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["encoder1.weight"], other["encoder1.weight"])


def rows_of(run):
    """The rows of ``training.json`` without what time tells."""
    return [
        {key: value for key, value in row.items() if key not in TIMES}
        for row in run.read("training.json")["epochs"]
    ]


@pytest.fixture(scope="module")
def whole(tiny_phantom, tmp_path_factory):
    """The rows and weights of a training in one go: three epochs of three steps."""
    run = tiny_run(tmp_path_factory.mktemp("whole"), tiny_phantom, **THREE)
    train(run, NoTracker(), Silent())
    return rows_of(run), load_file(run.folder / "weights.safetensors")


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(("train::trainer", Events.ITERATION_STARTED(once=5), 1), id="amid an epoch"),
        pytest.param(("train::trainer", Events.ITERATION_STARTED(once=6), 2), id="in a last step"),
        pytest.param(("validate::evaluator", Events.STARTED, 1), id="in a validation"),
    ],
)
def test_a_stop_loses_no_row(tiny_phantom, tmp_path, monkeypatch, whole, stop):
    """Whenever a signal comes, the rows are in the end those of a training in one go."""
    part, event, done = stop

    def opened(config):
        parts = Opened(config)
        if not config["resume"]:
            parts["initialize"]
            parts[part].add_event_handler(event, lambda: signal.raise_signal(signal.SIGTERM))
        return parts

    monkeypatch.setattr("medseg.stages.train.Opened", opened)
    run = tiny_run(tmp_path, tiny_phantom, **THREE)
    with pytest.raises(Stopped):
        train(run, NoTracker(), Silent())
    assert rows_of(run) == whole[0][:done]
    rest = tiny_run(tmp_path, tiny_phantom, resume=True, **THREE)
    train(rest, NoTracker(), Silent())
    assert rows_of(rest) == whole[0]
    weights = load_file(run.folder / "weights.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole[1].items())


class Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_a_finished_training_is_told_to_be_one(tiny_phantom, tmp_path):
    train(tiny_run(tmp_path, tiny_phantom), NoTracker(), Silent())
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    display = Told()
    train(tiny_run(tmp_path, tiny_phantom, resume=True), NoTracker(), display)
    assert "trained already: 1 epochs, and nothing is left to do" in display.lines
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before


def test_a_training_without_numbers_ends_with_7_and_names_its_scans(tiny_phantom, tmp_path):
    loss = {"_target_": "spoilt_loss.nothing", "_mode_": "callable"}
    run = tiny_run(tmp_path, tiny_phantom, epoch_length=12)
    run = Run(run.folder, run.config | {"loss": loss})
    with pytest.raises(
        DivergedError, match=r"E-DIVERGED\]: step 11: .* with case\d+_day\d+"
    ) as told:
        train(run, NoTracker(), Silent())
    assert told.value.exit_code == 7
    assert not run.trained
