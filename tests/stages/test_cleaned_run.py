"""The rules of a run reach every way to its predictions, and predictions tell what they did."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from untrained_run import untrained_run

from medseg.bundle import Opened
from medseg.data import read_manifest, read_scans
from medseg.data.label_files import find_label_files, read_reference
from medseg.engine.provenance import sha256_of
from medseg.engine.tracking_pyfunc import Segmenter
from medseg.runs import CLEANING, inference_of
from medseg.stages import run as run_stage
from medseg.stages import tune as tune_stage
from medseg.stages.begin import Request
from medseg.stages.cleaning_effect import EFFECT, ScanEffect, effects
from medseg.stages.display import Silent
from medseg.stages.gather import facts_of
from medseg.stages.held_out import held_out, predict_held_out, predicted
from medseg.stages.pipeline_ensemble import _config as voting_config
from medseg.stages.register import register
from medseg.transforms import ReadVolumed

LABELS = read_manifest("uwmgi").labels
RULES = {
    "large_bowel": {"threshold": 0.4, "min_ml": 0.05, "largest": 1},
    "small_bowel": {"threshold": 0.2, "smooth_mm": 1.0, "contiguous": True},
}


@pytest.fixture(scope="module")
def plain(tiny_phantom, tmp_path_factory):
    """A run without rules, its held-out scans predicted: masks by scan."""
    run = untrained_run(tiny_phantom, tmp_path_factory.mktemp("runs"))
    predict_held_out(run, Silent())
    assert predicted(run)
    assert not (run.folder / EFFECT).exists()
    return run, masks_in(run.predictions)


@pytest.fixture(scope="module")
def cleaned(plain):
    """The same run with rules, predicted again."""
    run, _ = plain
    checkpoint = sha256_of(run.checkpoint)
    run.write(CLEANING, {"checkpoint_sha256": checkpoint, "rules": RULES})
    assert not predicted(run)
    predict_held_out(run, Silent())
    assert predicted(run)
    return run, masks_in(run.predictions)


def masks_in(folder):
    files = find_label_files(folder, LABELS)
    return {scan_id: np.stack(each.read(LABELS).masks) for scan_id, each in files.items()}


def dice(masks, truth):
    both = np.count_nonzero(masks & truth)
    total = np.count_nonzero(masks) + np.count_nonzero(truth)
    return 2 * both / total if total else 1.0


def test_predictions_tell_what_the_rules_did(plain, cleaned, tiny_phantom):
    run, after = cleaned
    _, before = plain
    scans = {s.scan_id: s for s in read_scans(tiny_phantom, read_manifest("uwmgi"))}
    truth = {scan_id: read_reference(scans[scan_id], LABELS).masks for scan_id in after}
    told = run.read(EFFECT)
    assert after.keys() == before.keys() == {item["scan_id"] for item in held_out(run)}
    for channel, organ in enumerate(LABELS.names):
        for name, masks in (("before", before), ("after", after)):
            expected = [dice(masks[scan_id][channel], truth[scan_id][channel]) for scan_id in after]
            assert told[organ][name] == pytest.approx(np.mean(expected), abs=0.002)
        changed = any((before[s][channel] != after[s][channel]).any() for s in after)
        assert changed == (organ in RULES)
        assert (told[organ]["n_scans"], told[organ]["low"]) == (2, None)


def test_a_registered_model_and_monai_clean_alike(cleaned, tmp_path):
    run, after = cleaned
    item = held_out(run)[0]
    scan, expected = item["image"], after[item["scan_id"]]
    register(run, SimpleNamespace(log_model=lambda *_args, **_more: None))
    volume = ReadVolumed("image")({"image": scan})["image"].numpy()[0]
    names = {"inference": "inference.json", "weights": "weights.safetensors"}
    files = {key: run.folder / name for key, name in names.items()}
    model = Segmenter()
    model.load_context(
        SimpleNamespace(artifacts={**files, "manifest": str(run.folder / "manifest.yaml")})
    )
    given = {"spacing_mm": scan.spacing_mm}
    masks = model.predict(None, {"image": volume}, given)["masks"]
    np.testing.assert_array_equal(masks, expected)
    config = inference_of(run)
    assert config["cleaning"] == RULES
    places = {"dataset_dir": str(scan.slice_files[0].parent.parent), "output_dir": str(tmp_path)}
    opened = Opened({**config, **places, "device": "cpu"})
    opened["initialize"]
    opened["run"]
    np.testing.assert_array_equal(masks_in(tmp_path)[item["scan_id"]], expected)


@pytest.mark.parametrize(
    ("stage", "times"),
    [
        pytest.param("tune", 1, id="rules may be others"),
        pytest.param("report", 0, id="nothing has changed"),
    ],
)
def test_a_model_is_registered_anew_when_its_rules_were_sought(plain, monkeypatch, stage, times):
    run, _ = plain
    run.write("inference.json", {"channels": 1})
    done = []
    for name in ("tune", "report", "register"):
        monkeypatch.setattr(run_stage, name, lambda *_args, name=name: done.append(name))
    monkeypatch.setattr(run_stage, "tracked", lambda *_args, **_more: nullcontext())
    run_stage.work(run, Request("uwmgi_segformer", stages=(stage,)), Silent())
    assert done == [stage] + ["register"] * times


def test_a_vote_of_networks_has_no_rules_of_one_of_them(cleaned, tmp_path):
    run, _ = cleaned
    config = voting_config([run], tmp_path)
    assert inference_of(run)["cleaning"] == RULES
    assert config["cleaning"] == {}


def test_a_report_does_not_tell_rules_of_an_earlier_checkpoint(cleaned):
    run, _ = cleaned
    told = run.read(CLEANING)
    assert facts_of(run, {}, parts=[run]).cleaning == told
    run.write(CLEANING, {**told, "checkpoint_sha256": "0" * 64})
    assert "has learnt more" in facts_of(run, {}, parts=[run]).cleaning["why_not"]
    run.write(CLEANING, told)


def test_rules_are_sought_among_what_the_network_itself_says(plain, monkeypatch):
    run, _ = plain
    (run.folder / CLEANING).unlink(missing_ok=True)
    monkeypatch.setattr(tune_stage, "LEAST_PATIENTS", 1)
    tracker = SimpleNamespace(log_artifact=lambda _: None, log_metrics=lambda *_a, **_m: None)
    tune_stage.tune(run, tracker, Silent())
    told = run.read(CLEANING)
    assert (told["patients"], told["why_not"], told["rules"]) == (1, "", {})
    assert all(row["n_scans"] == 2 and math.isnan(row["low"]) for row in told["tried"])
    assert any(row["mean"] != 0 for row in told["tried"])


def test_effects_worked_by_hand():
    scans = [
        ScanEffect("case1", (0.5, 1.0), (0.75, 1.0)),
        ScanEffect("case1", (0.5, 1.0), (0.75, 1.0)),
        ScanEffect("case2", (0.5, 0.0), (0.75, 1.0)),
    ]
    told = effects(scans, ["a", "b"])
    assert told["a"] == {"before": 0.5, "after": 0.75} | {
        **{"mean": 0.25, "low": 0.25, "high": 0.25},
        **{"n_scans": 3, "n_patients": 2},
    }
    assert (told["b"]["before"], told["b"]["after"]) == (pytest.approx(2 / 3), 1)
    assert effects([], ["a"]) == {}
    assert torch.tensor(told["b"]["low"]) < 0
