"""A run that is done again comes out the same to the bit, and where it does not that is told."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medseg.cli import main
from medseg.errors import DataError, UsageError
from medseg.runs import Run, open_run
from medseg.stages import reproduce as stage
from medseg.stages.begin import Request
from medseg.stages.display import Silent
from medseg.stages.likeness import parts, reasons
from medseg.stages.reproduce import again, reproduce
from medseg.stages.run import run

SETTINGS = {"roi_px": "[64, 64]", "epochs": "2", "epoch_length": "2", "batch_size": "4"}
KINDS = ["weights", "history", "rules", "scores", "predictions"]


@pytest.fixture(scope="module")
def done(tiny_phantom, tmp_path_factory):
    """A run that learnt for four steps."""
    asked = {"demo": True, "device": "cpu", "seed": 5, "settings": SETTINGS | {"val_interval": "1"}}
    stages = ("prepare", "train", "tune", "predict", "evaluate")
    request = Request(
        "uwmgi_segformer",
        data=tiny_phantom,
        output=tmp_path_factory.mktemp("runs"),
        stages=stages,
        **asked,
    )
    return run(request, Silent())


@pytest.fixture
def copy(done, tmp_path):
    """A copy of the run, to be changed."""
    folder = tmp_path / done.experiment / done.name
    shutil.copytree(done.folder, folder)
    return Run(folder, done.config)


def test_a_run_on_the_same_machine_is_equal_to_the_bit(done, tmp_path, capsys):
    assert main(["reproduce", str(done.folder), "--output", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["equal"]
    assert [part["name"] for part in told["parts"]] == KINDS
    assert all(part["before"] == part["now"] for part in told["parts"])
    new = open_run(next(tmp_path.glob("uwmgi_segformer_demo_reproduced/*")))
    assert str(new.folder) == told["run"] != told["reproduces"]
    for name in ("metrics.csv", "splits.json"):
        assert (new.folder / name).read_bytes() == (done.folder / name).read_bytes()
    # Each file of weights also tells of its own run.
    before, now = (load_file(each.folder / "weights.safetensors") for each in (done, new))
    torch.testing.assert_close(now, before, atol=0, rtol=0)
    assert new.config["seed"] == done.config["seed"] == 5
    assert new.config["output_dir"] == str(new.folder)
    both = [each.read("provenance.json") for each in (done, new)]
    assert both[0]["config_sha256"] == both[1]["config_sha256"]
    assert both[0]["started"] <= both[0]["ended"] <= both[1]["started"]


def test_what_differs_is_named_and_the_command_exits_6(done, copy, capsys, monkeypatch):
    first, *_ = sorted(done.predictions.glob("*.nii.gz"))

    def work(now, _request, _display):
        """Make what the run made, but for one voxel and the version."""
        assert now.splits.read_bytes() == done.splits.read_bytes()
        for name in ("checkpoints", "predictions"):
            shutil.copytree(done.folder / name, now.folder / name)
        for name in ("weights.safetensors", "training.json", "cleaning.json", "metrics.csv"):
            shutil.copy(done.folder / name, now.folder)
        label_map = nibabel.load(first)
        voxels = np.asarray(label_map.dataobj).copy()
        voxels[3, 2, 1] = 3 - voxels[3, 2, 1]
        image = nibabel.Nifti1Image(voxels, label_map.affine, label_map.header)
        nibabel.save(image, now.predictions / first.name)
        now.write("provenance.json", {**done.read("provenance.json"), "medseg": "0.0.1"})

    monkeypatch.setattr(stage, "work", work)
    assert main(["reproduce", str(copy.folder), "--output", str(copy.folder.parents[1])]) == 6
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[1]: line.split() for line in lines if line.startswith(("eq", "di"))}
    assert {name: row[0] for name, row in rows.items()} == dict.fromkeys(KINDS, "equal") | {
        "predictions": "differs"
    }
    assert rows["predictions"][4:] == [first.name]
    assert next(line for line in lines if line.startswith("why")).endswith("and is 0.0.1")


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        pytest.param("weights.safetensors", b"x", "weights", id="weights"),
        pytest.param("metrics.csv", b"x", "scores", id="scores"),
        pytest.param("training.json", {"train/loss": 0.5}, "history", id="loss"),
        pytest.param("training.json", {"train/seconds": 0.5}, None, id="time"),
        pytest.param("cleaning.json", {"rules": {"stomach": {}}}, "rules", id="rules"),
    ],
)
def test_each_kind_is_compared_by_itself(done, copy, name, change, kind):
    if isinstance(change, bytes):
        with (copy.folder / name).open("ab") as file:
            file.write(change)
    elif name == "training.json":
        told = copy.read(name)
        told["epochs"][1] |= change
        copy.write(name, told)
    else:
        copy.write(name, copy.read(name) | change)
    found = parts(done, copy)
    assert [part.name for part in found if not part.equal] == ([kind] if kind else [])


def test_what_was_made_and_is_not_any_more_differs(done, copy):
    shutil.rmtree(copy.predictions)
    found = {part.name: part for part in parts(done, copy)}
    assert found["predictions"].now is None
    assert not found["predictions"].equal
    assert len(found["predictions"].differing) == len([*done.predictions.glob("*.nii.gz")]) > 0
    # What the first did not make is not asked for.
    assert "predictions" not in {part.name for part in parts(copy, done)}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param({}, {"medseg": "2", "threads": 4}, [], id="nothing was recorded"),
        pytest.param({"threads": 2}, {"threads": 4}, ["threads was 2 and is 4"], id="threads"),
        pytest.param(
            {"versions": {"torch": "2.10", "numpy": "2"}},
            {"versions": {"torch": "2.11", "numpy": "2"}},
            ["torch was 2.10 and is 2.11"],
            id="one package of two",
        ),
        pytest.param(
            {"versions": {"torch": "2.10"}}, {}, ["torch was 2.10 and is none"], id="not there"
        ),
        pytest.param(
            {"devices": [{"name": "cpu", "cores": 2}]},
            {"devices": [{"name": "cpu", "cores": 8}]},
            ["machine was cpu 2 and is cpu 8"],
            id="machine",
        ),
        pytest.param(
            {"git": {"commit": "a", "dirty": False}},
            {"git": {"commit": "a", "dirty": True}},
            ["this is with changes that were not committed"],
            id="changes now",
        ),
        pytest.param(
            {"git": {"commit": "a", "dirty": True}},
            {"git": {"commit": "b", "dirty": False}},
            ["made with changes that were not committed", "commit was a and is b"],
            id="changes then, and another commit",
        ),
        pytest.param(
            {"fall_backs": []},
            {"fall_backs": ["W-MEMORY"]},
            ["fallen back to was none and is W-MEMORY"],
            id="fall-back",
        ),
        pytest.param({"device": "cuda"}, {"device": "cuda"}, ["order of its own"], id="GPU"),
        pytest.param({"earlier": [{}]}, {}, ["2 commands worked on the run"], id="resumed"),
    ],
)
def test_reasons_are_told_in_words(before, now, expected):
    found = sorted(reasons(before, now))
    assert len(found) == len(expected)
    for row, words in zip(found, sorted(expected), strict=True):
        assert words in row


def test_data_that_are_elsewhere_are_asked_for(copy, tmp_path):
    moved = Run(copy.folder, {**copy.config, "dataset_dir": str(tmp_path / "gone")})
    moved.write("config.json", moved.config)
    with pytest.raises(UsageError, match=r"E-RUN.*not where they were.*--data"):
        reproduce(copy.folder, again(copy.folder, data=None, output=tmp_path), Silent())


def test_other_data_are_refused_before_anything_is_made(done, tiny_phantom, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny_phantom, data)
    first, second, *_ = sorted(data.rglob("slice_*.png"))
    shutil.copy(second, first)
    with pytest.raises(DataError, match=r"E-SPLIT.*changed since the split was made"):
        reproduce(done.folder, again(done.folder, data=data, output=tmp_path / "out"), Silent())
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_checkpoint_is_refused(copy, tmp_path):
    shutil.rmtree(copy.folder / "checkpoints")
    with pytest.raises(UsageError, match=r"E-RUN.*has no checkpoint"):
        reproduce(copy.folder, again(copy.folder, data=None, output=tmp_path), Silent())
