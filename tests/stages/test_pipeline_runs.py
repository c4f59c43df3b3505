"""Pipelines run for real on tiny scans: interrupted, resumed, with a run that fails."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from mlflow import MlflowClient
from reported_run import Page

from medseg.bundle import Opened
from medseg.data import EpochSampler
from medseg.engine.checkpoints import load_network
from medseg.engine.tracking import default_uri
from medseg.errors import DivergedError, PartialError, Problem, Stopped, UsageError
from medseg.runs import open_run
from medseg.stages import pipeline_attempts as stage
from medseg.stages.begin import Request
from medseg.stages.display import Silent
from medseg.stages.pipeline import run_pipeline

TEXT = """\
title: Three
about: Two that learn and one that cannot.
real: Nothing.
data: uwmgi
costs: true
source: {citation: Nobody}
settings: {roi_px: [64, 64], epochs: 1, epoch_length: 3, batch_size: 5, val_interval: 1}
runs:
  - name: good
    bundle: uwmgi_segformer
    source: {dice: 0.93786, train_dice: 0.93363, train_loss: 0.20646, validation_loss: 0.31851}
  - name: too fast
    bundle: uwmgi_segformer
    settings: {optimizer::lr: 1.0e+30}
  - name: slower
    bundle: uwmgi_segformer
    settings: {optimizer::lr: 0.0001}
"""


class Stopping(Silent):
    """Sends Ctrl-C at the first step of the training with this number, from 1."""

    def __init__(self, number):
        self.number, self.stage, self.lines, self.steps = number, "", [], []

    def begin(self, stage, _total):
        self.stage = stage
        self.number -= stage == "train"

    def advance(self, done, _total, _note=""):
        if self.stage == "train":
            self.steps.append(done)
            if self.number == 0 and done == 1:
                os.kill(os.getpid(), signal.SIGINT)

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipelines") / "three.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def asked(tiny_phantom, output):
    return Request("", data=tiny_phantom, demo=True, device="cpu", output=output, resume=True)


@pytest.fixture(scope="module")
def stopped(file, asked):
    """What was said before Ctrl-C in the third training, and the runs there were then."""
    display = Stopping(3)
    with pytest.raises(Stopped, match="2"):
        run_pipeline(file, asked, display)
    return display.lines, stamps(asked.output)


@pytest.fixture(scope="module")
def resumed(stopped, file, asked):
    """The parent, after the same was asked for again."""
    display = Stopping(-1)
    with pytest.raises(PartialError, match="E-NONFINITE") as caught:
        run_pipeline(file, asked, display)
    (parent,) = asked.output.glob("three_pipeline_demo/*-pipeline")
    return parent, display, caught.value


def stamps(output):
    """Return when the weights of each run were written, by its folder."""
    folders = sorted(path.parent for path in output.glob("three_pipeline_demo/*/task.json"))
    weights = {folder.name: folder / "weights.safetensors" for folder in folders}
    return {n: path.stat().st_mtime_ns if path.exists() else None for n, path in weights.items()}


def test_a_run_that_diverges_is_told_and_the_others_go_on(stopped):
    lines, _ = stopped
    assert any(line.startswith("2/3: too fast, seed 0, fold 0: failed: error[E-") for line in lines)
    assert lines[-2].startswith("stopped; the last step is saved")
    assert lines[-1] == "stopped: the same command goes on where it was"


def test_nothing_that_is_done_is_repeated_and_the_interrupted_run_goes_on(stopped, resumed, output):
    (_, before), (_, display, _) = stopped, resumed
    after = stamps(output)
    assert list(after) == list(before)
    # By name: of two that begin within a second the alphabet says which comes first.
    good, slower = (next(n for n in before if f"-{name}_" in n) for name in ("good", "slower"))
    assert before[good] == after[good] is not None
    assert before[slower] is None
    assert after[slower] is not None
    assert "1/3: good, seed 0, fold 0: done before" in display.lines
    assert "3/3: slower, seed 0, fold 0: goes on" in display.lines
    # Stopped after its first step of three; the one that failed begins with its first again.
    assert display.steps[-1] == 3
    assert display.steps.count(3) == 2
    assert display.steps[display.steps.index(3) + 1 :] == [2, 3]


def test_the_table_shows_the_gap(resumed):
    parent, _, error = resumed
    assert error.exit_code == 6
    summary = {
        row["name"]: row for row in json.loads((parent / "summary.json").read_text())["runs"]
    }
    assert [row["runs_done"] for row in summary.values()] == [1, 0, 1]
    assert summary["too fast"]["mean_all"] is None
    assert 0 <= summary["slower"]["mean_all"] <= 1
    page = Page((parent / "report.html").read_text())
    assert page.faults == []
    assert "too fast: 1 of 1 run failed" in page.sections["conclusions"]


def test_the_source_and_ours_are_told_for_every_figure(resumed):
    parent, *_ = resumed
    good = json.loads((parent / "summary.json").read_text())["runs"][0]
    given = {"dice": 0.93786, "train_dice": 0.93363, "train_loss": 0.20646}
    for name, value in (given | {"validation_loss": 0.31851}).items():
        assert good[f"source_{name}"] == value
        assert good[f"ours_{name}"] > 0
    assert good["parameters"] > 3e6
    assert good["training_memory_bytes"] > 4 * good["parameters"]


def test_our_figures_are_means_over_slices_and_losses_over_batches(resumed, output):
    parent, *_ = resumed
    told = json.loads((parent / "summary.json").read_text())["runs"][0]
    folder = next(output.glob("three_pipeline_demo/*-good_*"))
    config = open_run(folder).config
    config["train"]["dataset"]["data"]["role"] = "test"
    opened = Opened(config)
    network = opened["network"].eval()
    load_network(network, open_run(folder).checkpoint)
    dataset = opened["train::dataset"]
    items = [dataset[number] for _, number in EpochSampler(len(dataset), seed=0)]
    images, masks = (torch.stack([item[key] for item in items]) for key in ("image", "label"))
    with torch.no_grad():
        logits = torch.cat([network(image[None]) for image in images])
        batches = [slice(first, first + 5) for first in range(0, len(items), 5)]
        losses = [float(opened["loss"](logits[b], masks[b])) * len(masks[b]) for b in batches]
    assert told["ours_validation_loss"] == pytest.approx(sum(losses) / len(items), rel=2e-3)
    dice = []
    for organ in range(3):
        for pred, truth in zip(logits.argmax(1) == organ + 1, masks[:, organ].bool(), strict=True):
            size = int(pred.sum() + truth.sum())
            dice.append(2 * int((pred & truth).sum()) / size if size else 1.0)
    assert told["ours_dice"] == pytest.approx(sum(dice) / len(dice), abs=2e-3)


def test_runs_are_nested_below_the_parent_with_its_files(resumed, output):
    client = MlflowClient(default_uri(output))
    experiment = client.get_experiment_by_name("three_pipeline_demo")
    runs = client.search_runs([experiment.experiment_id])
    (above,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    below = [run for run in runs if run is not above]
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {above.info.run_id}
    assert sorted(run.info.status for run in below) == ["FAILED", "FINISHED", "FINISHED"]
    assert above.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(above.info.run_id)}
    assert files >= {"report.html", "results.csv", "results.md", "results.png", "comparison.json"}
    assert above.data.metrics["good/dice/stomach"] >= 0
    done = [run for run in below if run.info.status == "FINISHED"]
    assert all(run.data.metrics["test/loss"] > 0 for run in done)


def test_all_runs_have_one_split(resumed, output):
    parent, *_ = resumed
    splits = (parent / "splits.json").read_text()
    folders = [path.parent for path in output.glob("three_pipeline_demo/*/task.json")]
    assert len(folders) == 3
    assert {(folder / "splits.json").read_text() for folder in folders} == {splits}
    assert {open_run(folder).parent for folder in folders} == {parent.name}


def test_where_all_fail_the_fault_is_theirs(tmp_path, asked, resumed, output, monkeypatch):
    def diverges(*_, **__):
        raise DivergedError(Problem("E-NONFINITE", "network", "its logits hold NaN"))

    # The one run of this file failed before, and is tried again in its own folder.
    monkeypatch.setattr(stage, "work", diverges)
    alone = tmp_path / "three.yaml"
    start, rest = TEXT.split("  - name: good")
    alone.write_text(
        start + "  - name: too fast" + rest.split("  - name: too fast")[1].split("  -")[0]
    )
    with pytest.raises(DivergedError, match="E-NONFINITE"):
        run_pipeline(alone, asked, Silent())
    assert len(stamps(output)) == 3


def test_a_fold_that_does_not_exist_is_told_before_anything_runs(file, asked, tmp_path):
    with pytest.raises(UsageError, match=r"E-FOLD.*fold 7: does not exist \(expected 0-2\)"):
        run_pipeline(file, replace(asked, output=tmp_path), Silent(), folds=[7])
    assert list(tmp_path.iterdir()) == []
