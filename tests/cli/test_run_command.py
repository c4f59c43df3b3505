"""``medseg run`` and ``medseg predict`` as a user types them."""

import json
import shutil

import nibabel
import pytest

from medseg.cli import main
from medseg.data import read_manifest, read_scans
from medseg.resources import shipped

TINY = [
    *("--demo", "--device", "cpu"),
    *("--set", "roi_px=[64, 64]", "--set", "epochs=1", "--set", "epoch_length=1"),
]


@pytest.fixture(scope="module")
def trained(tiny_phantom, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs")
    words = ["run", "uwmgi_segformer", "--data", str(tiny_phantom), "--output", str(output), "-q"]
    assert main([*words, *TINY]) == 0
    (config,) = output.glob("*/*/config.json")
    return config.parent


def test_json_names_the_run_and_its_summary(tiny_phantom, trained, capsys):
    words = ["run", "uwmgi_segformer", "--data", str(tiny_phantom), "--json", "--demo"]
    output = trained.parent.parent
    assert main([*words, "--stage", "evaluate", "--output", str(output)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == str(trained)
    assert {organ["organ"] for organ in told["summary"]["organs"]} == {
        *("large_bowel", "small_bowel", "stomach")
    }


def test_stages_are_told_line_by_line_in_a_pipe(tiny_phantom, tmp_path, capsys):
    words = ["run", "uwmgi_segformer", "--data", str(tiny_phantom), "--output", str(tmp_path)]
    assert main([*words, *TINY, "--stage", "prepare"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "prepare: 6 steps"
    assert told[-1].startswith("run: ")


def test_a_misspelt_setting_ends_with_2_and_the_nearest_name(tiny_phantom, tmp_path, capsys):
    words = ["run", "uwmgi_segformer", "--data", str(tiny_phantom), "--output", str(tmp_path)]
    assert main([*words, "--set", "epochz=3"]) == 2
    assert "did you mean epochs?" in capsys.readouterr().err


def test_a_batch_larger_than_the_data_ends_with_2(tiny_phantom, tmp_path, capsys):
    words = ["run", "uwmgi_segformer", "--data", str(tiny_phantom), "--output", str(tmp_path)]
    assert main([*words, *TINY, "--set", "batch_size=9999"]) == 2
    assert "batch_size 9999 is more than the" in capsys.readouterr().err


def test_faults_of_the_data_end_with_3(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    words = ["run", "uwmgi_segformer", "--data", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main([*words, *TINY]) == 3
    assert "error[E-" in capsys.readouterr().err


def test_a_device_that_is_not_there_ends_with_4(tiny_phantom, tmp_path, capsys):
    words = ["run", "uwmgi_segformer", "--data", str(tiny_phantom), "--output", str(tmp_path)]
    assert main([*words, "--device", "cuda:99"]) == 4
    assert "E-DEVICE" in capsys.readouterr().err


def test_pretrained_weights_that_are_none_end_with_2(tiny_phantom, tmp_path, capsys):
    words = ["run", "uwmgi_segformer", "--data", str(tiny_phantom), "--output", str(tmp_path)]
    (tmp_path / "weights").mkdir()
    assert main([*words, *TINY, "--weights", str(tmp_path / "weights")]) == 2
    assert "E-WEIGHTS" in capsys.readouterr().err


def test_predict_writes_nifti_of_a_scan_folder_and_of_a_nifti(trained, tiny_phantom, tmp_path):
    scan = read_scans(tiny_phantom, read_manifest("uwmgi"))[0]
    folder = scan.slice_files[0].parent.parent
    out = tmp_path / "out"
    assert main(["predict", str(trained), str(folder), "-o", str(out), "-q", "--per-organ"]) == 0
    label_map = nibabel.load(out / f"{scan.scan_id}.nii.gz")
    assert label_map.shape == scan.grid.shape
    assert (out / f"{scan.scan_id}_stomach.nii.gz").exists()
    copy = tmp_path / "copy.nii.gz"
    nibabel.save(nibabel.as_closest_canonical(label_map), copy)
    assert main(["predict", str(trained), str(copy), "-o", str(out), "-q"]) == 0
    again = nibabel.load(out / "copy.nii.gz")
    assert nibabel.aff2axcodes(again.affine) == ("R", "A", "S")
    assert again.shape == nibabel.load(copy).shape


def test_predict_never_overwrites_its_input(trained, tmp_path, capsys):
    image = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(_ramp(), _affine()), image)
    before = image.read_bytes()
    assert main(["predict", str(trained), str(image), "-o", str(tmp_path), "-q"]) == 2
    assert "E-EXISTS" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_of_two_scans_with_one_name_the_second_is_refused(trained, tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(_ramp(), _affine()), tmp_path / name / "scan.nii.gz")
    inputs = [str(tmp_path / name / "scan.nii.gz") for name in ("a", "b")]
    words = ["predict", str(trained), *inputs, "-o", str(tmp_path / "out"), "-q"]
    assert main([*words, "--set", "ranges={}"]) == 6
    assert "is a second scan named scan" in capsys.readouterr().err


def test_one_bad_scan_of_two_ends_with_6_and_the_other_is_written(trained, tmp_path, capsys):
    good, bad = tmp_path / "good.nii.gz", tmp_path / "bad.nii.gz"
    nibabel.save(nibabel.Nifti1Image(_ramp(), _affine()), good)
    bad.write_bytes(good.read_bytes()[:200])
    out = tmp_path / "out"
    words = ["predict", str(trained), str(bad), str(good), "-o", str(out), "-q"]
    assert main([*words, "--set", "ranges={}"]) == 6
    assert "E-NII" in capsys.readouterr().err
    assert (out / "good.nii.gz").exists()
    assert not (out / "bad.nii.gz").exists()


def test_a_bundle_with_weights_predicts(trained, tmp_path):
    bundle = tmp_path / "own"
    shutil.copytree(shipped("bundles", "uwmgi_segformer"), bundle)
    (bundle / "models").mkdir(exist_ok=True)
    shutil.copy(trained / "checkpoints" / "last.pt", bundle / "models" / "model.pt")
    image = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(_ramp(), _affine()), image)
    words = ["predict", str(bundle), str(image), "-o", str(tmp_path / "out"), "-q"]
    small = [
        "--set",
        "roi_px=[64, 64]",
        "--set",
        "network_def::_target_=medseg.models.segformer_b0",
    ]
    assert main([*words, *small]) == 0
    assert (tmp_path / "out" / "scan.nii.gz").exists()


def test_a_bundle_without_weights_cannot_predict(tiny_phantom, tmp_path, capsys):
    words = ["predict", "uwmgi_segformer", str(tiny_phantom), "-o", str(tmp_path), "-q"]
    assert main(words) == 2
    assert "has no models/model.pt" in capsys.readouterr().err


def _ramp():
    import numpy as np

    return np.arange(16 * 16 * 3, dtype=np.int16).reshape(16, 16, 3)


def _affine():
    import numpy as np

    return np.diag([-1.5, -1.5, -3.0, 1.0])
