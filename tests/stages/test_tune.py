"""Choosing rules on made-up predictions: the good are taken, the bad and the lucky are not."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medseg.data.label_files import PlacedMasks
from medseg.geometry import lpi_grid
from medseg.labels import LabelSet, Organ
from medseg.metrics.statistics import LEAST_PATIENTS
from medseg.runs import CLEANING, Run, inference_of
from medseg.stages import held_out, tune_scans
from medseg.stages import tune as stage
from medseg.stages.display import Silent
from medseg.stages.tune_scans import THRESHOLDS, Packed, kept, levels_of, masks_above
from medseg.stages.tune_search import CANDIDATES, search
from medseg.transforms import Decided
from medseg.transforms.cleaning_rules import checked
from medseg.transforms.postprocess import masks_of, probs_of

SHAPE, SPACING_MM = (24, 22, 12), (3.0, 3.0, 6.0)
GRID = lpi_grid(SHAPE, SPACING_MM)
LABELS = LabelSet(
    (Organ("liver", 1, (9, 0, 0), "1", "Liver"), Organ("spleen", 2, (0, 9, 0), "2", "Spleen")),
    ("spleen", "liver"),
)


def box(i, j, k):
    mask = np.zeros(SHAPE, bool)
    mask[slice(*i), slice(*j), slice(*k)] = True
    return mask


LIVER, SPLEEN = box((4, 12), (4, 12), (3, 9)), box((15, 21), (4, 9), (3, 7))
FAR = box((20, 23), (17, 20), (10, 12))


def probs_in(mask, inside=0.9, outside=0.05):
    return np.where(mask, inside, outside).astype(np.float32)


def good(_patient):
    return probs_in(LIVER), probs_in(SPLEEN)


class Recorder(Silent):
    def __init__(self):
        self.lines, self.stages = [], []

    def begin(self, stage, total):
        self.stages.append((stage, total))

    def say(self, line):
        self.lines.append(line)


class Tracked:
    """Stands for the tracker."""

    def __init__(self):
        self.metrics, self.files = {}, []

    def log_metrics(self, metrics, step):  # noqa: ARG002
        self.metrics |= metrics

    def log_artifact(self, path):
        self.files.append(path.name)


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Return a function that tunes a run whose network says what a function of patients says."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.pt").write_bytes(b"weights")
    inference = {"label_mode": "overlapping", "cleaning": {}}
    inference["inferer"] = {"probabilities": False, "cleaning": "@rules"}
    places = {"dataset_dir": "data", "manifest": "made up", "fold": 1, "device": "cpu"}
    current = Run(tmp_path, {**places, "epochs": 3})

    def do(says=good, *, truth=(LIVER, SPLEEN), patients=LEAST_PATIENTS, days=1, **changes):
        seen = SimpleNamespace(read=[], asked=[], opened=[], display=Recorder(), tracker=Tracked())

        def items(_data, *, role, **more):
            seen.asked.append((role, more["fold"], more["split_file"]))
            names = [f"case{n}_day{day}" for n in range(patients) for day in range(days)]
            return [
                {"scan_id": name, "case_id": name[: name.index("_")], "image": name, "label": name}
                for name in names
            ]

        def opened(config):
            seen.opened.append(config)
            return {"initialize": None, "network": nn.Identity(), "preprocessing": read} | {
                "inferer": infer
            }

        def read(item):
            assert "label" not in item
            return {**item, "native": GRID}

        def infer(image, _network, *, native):
            assert native is GRID
            probs = torch.from_numpy(np.stack(says(int(image[4 : image.index("_")]))))
            return Decided((probs > 0.5).byte(), probs)

        def read_reference(image, _labels):
            seen.read.append(image)
            return PlacedMasks(list(truth), GRID)

        monkeypatch.setattr(held_out, "items", items)
        monkeypatch.setattr(tune_scans, "Opened", opened)
        monkeypatch.setattr(tune_scans, "read_reference", read_reference)
        monkeypatch.setattr(stage, "label_set", lambda _: LABELS)
        monkeypatch.setattr(stage, "inference_of", lambda _: inference | changes)
        stage.tune(current, seen.tracker, seen.display)
        return current, current.read(CLEANING), seen

    return do


# What is chosen


def test_a_rule_that_every_patient_gains_by_is_taken(tuned):
    # Something far off is taken for liver, in every patient.
    _, told, seen = tuned(lambda _: (probs_in(LIVER | FAR), probs_in(SPLEEN)))
    assert told["rules"].keys() == {"liver"}
    assert told["rules"]["liver"] in ({"largest": 1}, {"min_ml": 2.0}, {"contiguous": True})
    gain = told["gains"]["liver"]
    # 384 voxels of liver and 18 more: 768 / 786.
    assert gain["before"] == pytest.approx(768 / 786)
    assert gain["after"] == 1
    assert gain["mean"] == pytest.approx(18 / 786)
    assert 0 < gain["low"] <= gain["mean"] <= gain["high"]
    assert gain["n_patients"] == LEAST_PATIENTS
    assert told["gains"]["spleen"]["mean"] == 0
    assert seen.tracker.metrics["val/cleaning_gain/liver"] == gain["mean"]
    assert seen.tracker.files == [CLEANING]
    assert any("liver: " in line and "Dice 0.977 to 1.000" in line for line in seen.display.lines)
    assert "tune: spleen: no rule gains" in seen.display.lines


def test_a_rule_that_harms_is_not_taken(tuned):
    # The spleen is in two parts, and both are found.
    truth = (LIVER, SPLEEN | FAR)
    _, told, _ = tuned(lambda _: tuple(map(probs_in, truth)), truth=truth)
    assert told["rules"] == {}
    [largest] = [
        row
        for row in told["tried"]
        if (row["organ"], row["rule"], row["value"]) == ("spleen", "largest", 1)
    ]
    assert largest["high"] < 0
    assert not largest["used"]


def test_a_rule_without_a_gain_is_not_taken(tuned):
    _, told, _ = tuned()
    assert told["rules"] == {}
    assert len(told["tried"]) == 2 * len(CANDIDATES)
    holes = [row for row in told["tried"] if row["rule"] == "fill_holes"]
    assert [(row["mean"], row["used"]) for row in holes] == [(0, False)] * 2


def test_what_one_patient_gains_by_is_chance(tuned):
    def says(patient):
        return probs_in(LIVER | FAR if patient == 0 else LIVER), probs_in(SPLEEN)

    _, told, _ = tuned(says)
    assert told["rules"] == {}
    [largest] = [r for r in told["tried"] if r["rule"] == "largest" and r["value"] == 1][:1]
    assert largest["mean"] > 0 > largest["low"]


def test_scans_of_one_patient_are_one_patient(tuned):
    # Twelve scans, six patients: the gain is that of one of them, on both days.
    def says(patient):
        return probs_in(LIVER | FAR if patient == 0 else LIVER), probs_in(SPLEEN)

    _, told, _ = tuned(says, days=2)
    assert (told["patients"], told["scans"]) == (LEAST_PATIENTS, 2 * LEAST_PATIENTS)
    assert told["rules"] == {}


@pytest.mark.parametrize(
    ("unsure", "inside", "threshold"),
    [
        pytest.param(SPLEEN, 0.45, 0.4, id="too shy"),
        pytest.param(box((15, 21), (4, 12), (3, 7)), 0.55, 0.6, id="too bold"),
    ],
)
def test_a_threshold_is_found(tuned, unsure, inside, threshold):
    core = SPLEEN & box((16, 20), (5, 8), (4, 6)) if inside < 0.5 else SPLEEN
    spleen = np.where(core, 0.9, probs_in(unsure, inside)).astype(np.float32)
    _, told, _ = tuned(lambda _: (probs_in(LIVER), spleen))
    assert told["rules"] == {"spleen": {"threshold": threshold}}
    assert told["gains"]["spleen"]["after"] == 1


def test_rules_add_up_as_long_as_each_gains(tuned):
    hollow = LIVER & ~box((6, 9), (6, 9), (4, 8))
    _, told, _ = tuned(lambda _: (probs_in(hollow | FAR), probs_in(SPLEEN)))
    rules = told["rules"]["liver"]
    assert rules["fill_holes"] is True
    assert len(rules) == 2
    used = [row for row in told["tried"] if row["used"]]
    assert [row["beside"] for row in used] == [{}, {used[0]["rule"]: used[0]["value"]}]
    assert all(row["low"] > 0 for row in used)
    assert told["gains"]["liver"]["after"] == 1


def test_an_organ_that_is_not_there_gains_by_being_left_out(tuned):
    _, told, _ = tuned(lambda _: (probs_in(LIVER), probs_in(FAR)), truth=(LIVER, FAR & False))
    # Nothing of it is above 0.9; by its volume of 0.97 ml it is told.
    assert told["rules"] == {"spleen": {"min_ml": 2.0}}
    assert told["gains"]["spleen"]["mean"] == 1


# Who is looked at


def test_the_validation_side_of_the_fold_is_looked_at_and_nothing_else(tuned):
    current, _, seen = tuned()
    assert seen.asked == [("validation", 1, current.splits)]
    assert seen.read == [f"case{n}_day0" for n in range(LEAST_PATIENTS)]
    assert seen.opened[0]["inferer"]["probabilities"] is True
    assert seen.opened[0]["device"] == "cpu"


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        pytest.param(0, "no validation patients: with fewer than 6", id="none"),
        pytest.param(1, "1 validation patient: with fewer than 6", id="one"),
        pytest.param(LEAST_PATIENTS - 1, "5 validation patients", id="one too few"),
    ],
)
def test_of_too_few_patients_nothing_is_predicted(tuned, patients, said):
    _, told, seen = tuned(patients=patients, days=2)
    assert seen.opened == []
    assert told["rules"] == {}
    assert said in told["why_not"]
    assert [line for line in seen.display.lines if said in line]
    assert seen.display.stages == [("tune", 0)]
    assert seen.tracker.metrics == {}


def test_rules_of_the_bundle_itself_stay(tuned):
    _, told, seen = tuned(cleaning={"liver": {"largest": 1}})
    assert seen.opened == []
    assert "rules of its own" in told["why_not"]


def test_an_inferer_that_takes_no_rules_is_left_alone(tuned):
    _, told, seen = tuned(inferer={"probabilities": False})
    assert seen.opened == []
    assert "takes no cleaning" in told["why_not"]


# What is kept


def test_rules_stay_with_their_checkpoint(tuned):
    current, told, _ = tuned(lambda _: (probs_in(LIVER | FAR), probs_in(SPLEEN)))
    _, again, seen = tuned(good)
    assert seen.opened == []
    assert again == told
    assert seen.display.lines == ["tune: the rules that were chosen for this checkpoint stay"]
    (current.folder / "checkpoints" / "best.pt").write_bytes(b"others")
    _, anew, seen = tuned(good)
    assert len(seen.opened) == 1
    assert anew["rules"] == {}


def test_a_run_predicts_with_the_rules_of_its_checkpoint(tuned, repository):
    current, told, _ = tuned(lambda _: (probs_in(LIVER | FAR), probs_in(SPLEEN)))
    bundle = repository / "bundles" / "uwmgi_segformer"
    train = json.loads((bundle / "configs" / "train.json").read_text())
    current = Run(current.folder, train | {"bundle_root": str(bundle)})
    assert inference_of(current)["cleaning"] == told["rules"]
    (current.folder / "checkpoints" / "best.pt").write_bytes(b"others")
    assert inference_of(current)["cleaning"] == {}
    (current.folder / CLEANING).unlink()
    assert inference_of(current)["cleaning"] == {}


def test_what_is_told_is_plain_json(tuned):
    current, told, _ = tuned(lambda _: (probs_in(LIVER | FAR), probs_in(SPLEEN)))
    assert json.loads((current.folder / CLEANING).read_text()) == told
    assert told["checkpoint_sha256"] == hashlib.sha256(b"weights").hexdigest()


# Parts


def test_every_candidate_is_a_rule():
    assert checked(["a"], {"a": dict(CANDIDATES)})["a"].keys() == {name for name, _ in CANDIDATES}
    for name, value in CANDIDATES:
        assert checked(["a"], {"a": {name: value}}) == {"a": {name: value}}
    tried = {value for name, value in CANDIDATES if name == "threshold"}
    assert tried | {tune_scans.USUAL} == set(THRESHOLDS)


@pytest.mark.parametrize("mode", [pytest.param(m, id=m) for m in ("overlapping", "exclusive")])
def test_levels_tell_the_masks_of_every_threshold(mode):
    logits = 2 * torch.randn(3, 9, 8, 5, generator=torch.Generator().manual_seed(0))
    pred, probs = masks_of(logits, mode), probs_of(logits, mode)
    levels = levels_of(pred, probs, mode)
    for channel in range(len(pred)):
        for threshold in THRESHOLDS:
            thresholds = [None] * len(pred)
            thresholds[channel] = threshold
            expected = masks_of(logits, mode, thresholds).numpy()
            np.testing.assert_array_equal(masks_above(levels, channel, threshold), expected)
        np.testing.assert_array_equal(masks_above(levels, channel, None), pred.numpy())


def test_a_scan_is_cut_to_what_was_found_or_is_there_with_a_margin():
    found = kept(
        "case1", np.stack([3 * SPLEEN, 0 * SPLEEN]).astype(np.uint8), PlacedMasks([FAR, FAR], GRID)
    )
    # From 15, 4 and 3 to 23, 20 and 12, with 10 mm: 4, 4 and 2 voxels, or the border.
    assert found.levels.shape == (2, 13, 22, 11)
    np.testing.assert_allclose(found.grid.to_ras_mm((0, 0, 0)), GRID.to_ras_mm((11, 0, 1)))
    np.testing.assert_array_equal(found.levels.array()[0], 3 * SPLEEN[11:, :, 1:])
    np.testing.assert_array_equal(found.truth.array()[1], FAR[11:, :, 1:])


def test_an_organ_is_searched_in_the_box_around_itself():
    levels = np.stack([3 * SPLEEN, 1 * FAR]).astype(np.uint8)
    found = kept("case1", levels, PlacedMasks([SPLEEN, FAR], GRID))
    around, truth, grid = found.around(0)
    # From 15, 4 and 3 to 21, 9 and 7, with 4, 4 and 2 voxels.
    np.testing.assert_array_equal(around, levels[:, 11:, :13, 1:9])
    np.testing.assert_array_equal(truth, SPLEEN[11:, :13, 1:9])
    np.testing.assert_allclose(grid.affine_ras_mm, GRID.boxed((11, 0, 1), (1, 1, 1)).affine_ras_mm)
    assert grid.shape == truth.shape


def test_a_scan_with_nothing_in_it_is_kept_small():
    nothing = np.zeros((2, *SHAPE), np.uint8)
    found = kept("case1", nothing, PlacedMasks([FAR & False] * 2, GRID))
    assert found.levels.shape == (2, 1, 1, 1)
    assert search([found] * 2, 0).before == 1


def test_packing_loses_nothing():
    array = np.random.default_rng(0).integers(0, 6, (3, 4, 5), np.uint8).transpose(2, 0, 1)
    np.testing.assert_array_equal(Packed.of(array).array(), array)


def test_the_margin_is_as_wide_as_any_smoothing_looks():
    widest_mm = max(value for name, value in CANDIDATES if name == "smooth_mm")
    assert 3 * widest_mm <= tune_scans.MARGIN_MM
