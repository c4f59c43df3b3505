"""The main job on a tiny phantom: every stage, alone and together, and what each leaves."""

import csv
import json
import shutil

import nibabel
import numpy as np
import pytest
from mlflow import MlflowClient

from medseg.data import read_manifest, read_scans, read_splits
from medseg.engine.tracking import default_uri
from medseg.errors import DataError, UsageError
from medseg.runs import CLEANING, inference_config, open_run
from medseg.stages.begin import STAGES, Request, begin
from medseg.stages.display import Silent
from medseg.stages.prepare import split_of
from medseg.stages.run import run
from medseg.stages.segment import Segmentation, segment

TINY = {"roi_px": "[64, 64]", "epochs": "2", "epoch_length": "6", "batch_size": "4"}
TINY |= {"val_interval": "1"}


def request(data, output, **changes):
    defaults = {"data": data, "demo": True, "output": output, "device": "cpu", "settings": TINY}
    return Request("uwmgi_segformer", **(defaults | changes))


class Recorder(Silent):
    def __init__(self):
        self.stages, self.lines = [], []

    def begin(self, stage, total):  # noqa: ARG002
        self.stages.append(stage)

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def done(tiny_phantom, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs")
    display = Recorder()
    finished = run(request(tiny_phantom, output), display)
    return finished, output, display


def test_all_stages_are_told_in_their_order(done):
    _, _, display = done
    assert display.stages == list(STAGES)
    assert any("empty" in line for line in display.lines)


def test_a_run_leaves_what_the_design_names(done):
    finished, output, _ = done
    left = {path.name for path in finished.folder.iterdir()}
    assert left >= {
        *("config.json", "provenance.json", "splits.json", "ranges.json"),
        *("checkpoints", "weights.safetensors", "metrics.csv", "summary.json", "predictions"),
    }
    assert (output / "mlflow.db").exists()
    assert list((output / "store").iterdir())


def test_of_one_validation_patient_no_rule_is_learnt(done):
    finished, _, display = done
    told = finished.read(CLEANING)
    assert (told["patients"], told["rules"]) == (1, {})
    assert any("1 validation patient: with fewer than" in line for line in display.lines)
    assert finished.read("inference.json")["cleaning"] == {}


def test_a_run_knows_what_its_training_side_measures(done):
    finished, _, _ = done
    sides = read_splits(finished.splits).fold(finished.config["fold"])
    ranges = finished.read("ranges.json")
    assert ranges["scans"] == len(sides.train) < sum(map(len, sides))
    assert (ranges["modality"], ranges["scaled"]) == ("MR", True)
    assert inference_config(finished.folder, {})["ranges"] == ranges


def test_predictions_lie_on_the_scans_own_grid(done, tiny_phantom):
    finished, _, _ = done
    scans = {s.scan_id: s for s in read_scans(tiny_phantom, read_manifest("uwmgi"))}
    files = sorted(finished.predictions.glob("case*_day?.nii.gz"))
    assert files
    for file in files:
        image, grid = nibabel.load(file), scans[file.name.removesuffix(".nii.gz")].grid
        assert image.shape == grid.shape
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "I")
        np.testing.assert_allclose(image.affine, grid.affine_ras_mm, atol=1e-3)
        assert set(np.unique(image.dataobj)) <= {0, 1, 2, 3}


def test_scores_are_of_patients_never_seen(done):
    finished, _, _ = done
    fold = json.loads(finished.splits.read_text())
    with (finished.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["organ"] for row in rows} == {"large_bowel", "small_bowel", "stomach"}
    trained = {item["case_id"] for item in _training_items(finished)}
    assert trained
    assert trained.isdisjoint(row["case_id"] for row in rows)
    assert fold


def _training_items(finished):
    from medseg.data import items

    config = finished.config
    return items(
        config["dataset_dir"], manifest="uwmgi", role="train", split_file=config["split_file"]
    )


def test_every_held_out_voxel_is_counted_for_the_calibration(done, tiny_phantom):
    finished, _, _ = done
    counted = finished.read("calibration.json")
    scans = {s.scan_id: s for s in read_scans(tiny_phantom, read_manifest("uwmgi"))}
    held_out = [scans[scan_id] for scan_id in counted["scans"]]
    assert {scan.scan_id for scan in held_out} == {
        file.name.removesuffix(".nii.gz") for file in finished.predictions.glob("*.nii.gz")
    }
    voxels = sum(np.prod(scan.grid.shape) for scan in held_out)
    for organ, rows in counted["organs"].items():
        assert sum(rows["n"]) + rows["n_below"] == voxels
        runs = (map(int, row.split()[1::2]) for scan in held_out for row in scan.rle[organ])
        assert sum(rows["n_ref"]) + rows["n_ref_below"] == sum(map(sum, runs)) > 0


def test_mlflow_holds_the_run(done):
    finished, output, _ = done
    client = MlflowClient(default_uri(output))
    run_id = finished.read("provenance.json")["mlflow_run_id"]
    tracked = client.get_run(run_id)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["epochs"] == "2"
    assert [m.step for m in client.get_metric_history(run_id, "train/loss")] == [1, 2]
    assert "val/dice/stomach" in tracked.data.metrics
    assert "test/dice/stomach" in tracked.data.metrics
    assert {d.dataset.name for d in tracked.inputs.dataset_inputs} == {"uwmgi"}
    files = {f.path for f in client.list_artifacts(run_id)}
    assert files >= {"config.json", "metrics.csv", "report.html", "overlays"}


def test_a_second_run_decodes_nothing(done, tiny_phantom, monkeypatch):
    _, output, _ = done
    from medseg.io import voxels

    def never(*_args):
        raise AssertionError("a slice was decoded again")

    monkeypatch.setattr(voxels, "read_slice", never)
    again = run(request(tiny_phantom, output, stages=("prepare", "train")), Silent())
    assert again.trained


@pytest.mark.parametrize("stage", [pytest.param(s, id=s) for s in STAGES[1:]])
def test_a_stage_runs_alone_on_what_the_one_before_left(stage, tiny_phantom, tmp_path):
    short = TINY | {"epochs": "1", "epoch_length": "1"}
    asked = {"settings": short}
    for before in STAGES[: STAGES.index(stage)]:
        if before != "predict":  # evaluate predicts what is missing
            stages = ("prepare", "train") if before == "prepare" else (before,)
            run(request(tiny_phantom, tmp_path, stages=stages, **asked), Silent())
            break
    display = Recorder()
    finished = run(request(tiny_phantom, tmp_path, stages=(stage,), **asked), display)
    assert stage in display.stages
    expected = {"train": "weights.safetensors", "tune": CLEANING, "predict": "predictions"}
    expected |= {"evaluate": "metrics.csv", "report": "report.html"}
    assert (finished.folder / expected[stage]).exists()


def test_resume_adds_epochs_to_the_newest_run(tiny_phantom, tmp_path):
    short = TINY | {"epochs": "1"}
    first = run(request(tiny_phantom, tmp_path, stages=("train",), settings=short), Silent())
    more = request(
        tiny_phantom, tmp_path, stages=("train",), settings=short | {"epochs": "3"}, resume=True
    )
    second = run(more, Silent())
    assert second.folder == first.folder
    client = MlflowClient(default_uri(tmp_path))
    run_id = second.read("provenance.json")["mlflow_run_id"]
    assert [m.step for m in client.get_metric_history(run_id, "train/loss")] == [1, 2, 3]
    assert [row["epoch"] for row in second.read("training.json")["epochs"]] == [1, 2, 3]


def test_resume_keeps_the_settings_it_was_started_with(tiny_phantom, tmp_path):
    first = begin(request(tiny_phantom, tmp_path), Silent())
    again = begin(request(tiny_phantom, tmp_path, settings={}, resume=True), Silent())
    assert again.folder == first.folder
    assert again.config["epochs"] == 2


def test_resume_with_other_settings_names_what_differs(tiny_phantom, tmp_path):
    begin(request(tiny_phantom, tmp_path), Silent())
    changed = request(tiny_phantom, tmp_path, resume=True, settings=TINY | {"batch_size": "8"})
    with pytest.raises(UsageError, match=r"E-RESUME-DIFF.*batch_size is now 8 \(expected 4\)"):
        begin(changed, Silent())


def test_resume_with_other_data_names_what_differs(tiny_phantom, tmp_path):
    data = shutil.copytree(tiny_phantom, tmp_path / "data")
    first = begin(request(data, tmp_path), Silent())
    scans = read_scans(data, read_manifest("uwmgi"))
    split_of(first, scans)
    again = begin(request(data, tmp_path, resume=True), Silent())
    split_of(again, scans)
    one, other = scans[0], scans[-1]
    one.slice_files[0].write_bytes(one.slice_files[1].read_bytes())
    changed = rf"(?s)E-RESUME-DIFF\].*{one.scan_id}: changed since the split was made"
    with pytest.raises(DataError, match=changed):
        split_of(again, scans)
    with pytest.raises(DataError, match=rf"E-RESUME-DIFF.*{other.scan_id}: is in the split and"):
        split_of(again, scans[:-1])
    # Whoever only evaluates reads what is asked for, and no more.
    split_of(first, scans[:-1])


def test_a_run_predicts_a_scan_folder_and_a_nifti_file(done, tiny_phantom, tmp_path):
    finished, _, _ = done
    scan = read_scans(tiny_phantom, read_manifest("uwmgi"))[0]
    folder = scan.slice_files[0].parent.parent
    settings = {"output_dir": str(tmp_path), "per_organ": True, "probabilities": True}
    [row] = segment(Segmentation(str(finished.folder), settings, (folder,)), Silent())
    assert f"{scan.scan_id}.nii.gz" in row["files"]
    probs = nibabel.load(tmp_path / f"{scan.scan_id}_stomach_probs.nii.gz").get_fdata()
    mask = np.asarray(nibabel.load(tmp_path / f"{scan.scan_id}_stomach.nii.gz").dataobj)
    assert probs.min() >= 0
    assert probs.max() <= 1
    assert mask.shape == probs.shape == scan.grid.shape


def test_no_run_to_go_on_with_is_a_usage_error(tiny_phantom, tmp_path):
    with pytest.raises(UsageError, match=r"E-RUN.*holds no run of fold 0"):
        begin(request(tiny_phantom, tmp_path, stages=("evaluate",)), Silent())
    with pytest.raises(UsageError, match=r"E-RUN.*has no config\.json"):
        open_run(tmp_path)
