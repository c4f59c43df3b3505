"""Every output leads to its model, the model to its run, the run to the files of its data."""

import csv
import hashlib
import json
import logging
import shutil
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from untrained_run import untrained_run

from medseg import __version__
from medseg.data import read_manifest, read_scans
from medseg.engine.checkpoints import (
    export_weights,
    provenance_of,
    read_checkpoint,
    write_checkpoint,
)
from medseg.engine.origin import (
    _OF_COMMAND,
    ORIGIN,
    origin_of,
    settings_hash,
    tensors_hash,
)
from medseg.engine.tracking import default_uri
from medseg.errors import DataError, PartialError, Problem, Stopped, UnsafeError
from medseg.resources import shipped
from medseg.runs import inference_config, inference_of, open_run
from medseg.stages.begin import Request
from medseg.stages.display import Silent
from medseg.stages.run import run
from medseg.stages.segment import Segmentation, segment
from medseg.stages.session import status_of
from medseg.stages.study_record import origin
from medseg.stages.track import tracked

SETTINGS = {"roi_px": "[64, 64]", "epochs": "1", "epoch_length": "2", "batch_size": "4"}
SETTINGS |= {"val_interval": "1"}
STAGES = ("prepare", "train", "predict", "evaluate")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def done(tiny_phantom, output):
    """A run that learnt for two steps."""
    request = Request(
        "uwmgi_segformer",
        data=tiny_phantom,
        demo=True,
        output=output,
        device="cpu",
        settings=SETTINGS,
        stages=STAGES,
    )
    return run(request, Silent())


@pytest.fixture(scope="module")
def told(done):
    return done.read("provenance.json")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def compact(content):
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def rows_of(data, scan_id):
    """Return the runs of a scan by organ, slice by slice, as train.csv has them."""
    found = defaultdict(dict)
    with (data / "train.csv").open() as file:
        for row in csv.DictReader(file):
            scan, _, number = row["id"].partition("_slice_")
            if scan == scan_id:
                found[row["class"]][int(number)] = row["segmentation"]
    return {organ: [rows[number] for number in sorted(rows)] for organ, rows in found.items()}


def content_of(folder):
    """Return the text that stands for the slices of a scan: its grid, and each file's hash."""
    files = sorted(folder.glob("scans/slice_*.png"))
    _, _, width, height, across, down = files[0].stem.split("_")
    size, spacing = (int(width), int(height)), (float(across), float(down), 3.0)
    numbers = tuple(int(file.name.split("_")[1]) for file in files)
    hashes = " ".join(sha256(file.read_bytes()) for file in files)
    return f"{size} {spacing} {numbers}\n{hashes}"


@pytest.mark.parametrize(
    "registered", [pytest.param(False, id="run"), pytest.param(True, id="registered model")]
)
def test_a_nifti_file_leads_back_to_the_pictures(registered, done, told, tiny_phantom, tmp_path):
    # From the file to its record.
    scan_id = next(iter(done.read("splits.json")["scans"]))
    [folder] = tiny_phantom.rglob(scan_id)
    model = f"models:/{done.experiment}@best" if registered else str(done.folder)
    asked = {"output_dir": str(tmp_path), "device": "cpu", "ranges": {}}
    store = default_uri(done.folder.parents[1])
    segment(Segmentation(model, asked, (folder,), tracking_uri=store), Silent())
    label_map, record = (tmp_path / f"{scan_id}{suffix}" for suffix in (".nii.gz", ".json"))
    record = json.loads(record.read_text())
    assert record["files"][label_map.name] == sha256(label_map.read_bytes())
    # From the record to the model, and to its run.
    made_from = done.folder / ("weights.safetensors" if registered else "checkpoints/best.pt")
    assert record["made_with"]["model_sha256"] == sha256(made_from.read_bytes())
    known = told["weights_sha256" if registered else "checkpoint_sha256"]
    assert record["made_with"]["model_sha256"] == known
    trained = record["model"]
    assert done.folder.parts[-2:] == (trained["experiment"], trained["run"])
    assert (trained["bundle"], trained["fold"]) == ("uwmgi_segformer", 0)
    assert (trained["medseg"], trained["git"]) == (told["medseg"], told["git"])
    # From the run to its settings.
    config = done.read("config.json")
    for name in ("bundle_root", "dataset_dir", "output_dir", "store_dir", "split_file"):
        del config[name]
    del config["device"], config["resume"]
    assert trained["config_sha256"] == told["config_sha256"] == sha256(compact(config))
    # From the run to its split, and from there to the hash of every scan.
    split = done.read("splits.json")
    cited = split.pop("sha256")
    text = json.dumps(split, indent=1, sort_keys=True) + "\n"
    assert trained["split_sha256"] == told["split_sha256"] == cited == sha256(text.encode())
    hashes = sorted(scan["sha256"] for scan in split["scans"].values())
    content = sha256("".join(hashes).encode())
    assert trained["dataset_sha256"] == told["dataset_sha256"] == content
    # From a scan's hash to its pictures and its labels.
    pictures = content_of(folder)
    assert record["input_sha256"] == sha256(pictures.encode())
    labels = "".join(
        f"\n{organ}\n" + "\n".join(rows)
        for organ, rows in sorted(rows_of(tiny_phantom, scan_id).items())
    )
    assert split["scans"][scan_id]["sha256"] == sha256((pictures + labels).encode())


def test_a_record_tells_what_predicted_and_no_place(done, tiny_phantom, tmp_path, monkeypatch):
    folder = read_scans(tiny_phantom, read_manifest("uwmgi"))[0].slice_files[0].parent.parent
    argv = ["/opt/bin/medseg", "predict", "model", "jane_doe", "-o", str(tmp_path), "--format=seg"]
    monkeypatch.setattr("sys.argv", argv)
    asked = {"output_dir": str(tmp_path), "device": "cpu", "ranges": {}}
    wanted = Segmentation(str(done.folder), asked, (folder,))
    [row] = segment(wanted, Silent())
    made_by = row["made_by"]
    assert made_by["command"] == ["medseg", "predict", "…", "…", "-o", "…", "--format=…"]
    assert (made_by["medseg"], made_by["device"]) == (__version__, "cpu")
    assert {"git", "versions", "devices", "threads"} <= set(made_by)
    began, ended = (datetime.fromisoformat(made_by[name]) for name in ("started", "ended"))
    assert began <= ended
    assert (made_by["warnings"], made_by["fall_backs"]) == ([], [])
    for place in (done.folder.parents[1], tiny_phantom, Path.home(), Path.cwd()):
        assert str(place) not in json.dumps(row)
    # What else is told of a record does not decide whether it is made again.
    monkeypatch.setattr("sys.argv", [*argv, "--device", "cpu"])
    assert segment(wanted, Silent()) == [row]


def test_a_run_tells_its_hashes_times_and_end(done, told):
    assert (told["exit_status"], told["device"], told["dataset"]) == (0, "cpu", "uwmgi")
    assert datetime.fromisoformat(told["started"]) <= datetime.fromisoformat(told["ended"])
    assert (told["warnings"], told["fall_backs"], told["earlier"]) == ([], [], [])
    assert told["threads"] >= 1
    named = {"splits.json", "ranges.json", "training.json", "metrics.csv", "summary.json"}
    predicted = {f"predictions/{path.name}" for path in done.predictions.glob("*.nii.gz")}
    assert predicted
    assert set(told["outputs"]) == named | predicted
    for name, known in told["outputs"].items():
        assert known == sha256((done.folder / name).read_bytes())


def header_of(path):
    """Return the text that the header of a file of weights holds."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["provenance"])


@pytest.mark.parametrize(
    "name", ["checkpoints/last.pt", "checkpoints/best.pt", "weights.safetensors"]
)
def test_a_lone_file_leads_back_to_its_run_its_settings_and_its_data(name, done, told, tmp_path):
    lone = shutil.copy(done.folder / name, tmp_path)
    found = provenance_of(Path(lone))
    if name.endswith(".pt"):
        assert torch.load(lone, weights_only=True)["provenance"] == found
    else:
        assert header_of(Path(lone)) == found
    assert (found["experiment"], found["run"], found["fold"]) == (done.experiment, done.name, 0)
    for each in ("config_sha256", "dataset_sha256", "split_sha256"):
        assert found[each] == told[each]
    of_command = {*_OF_COMMAND, "medseg", "git"} - {"mlflow_run_id"}
    assert {each: found[each] for each in of_command} == {each: told[each] for each in of_command}
    assert found["mlflow_run_id"] == told["mlflow_run_id"]
    assert found["earlier"] == []
    for place in (done.folder.parents[1], Path.home(), Path.cwd()):
        assert str(place) not in json.dumps(found)


def test_a_bundle_with_weights_knows_where_they_come_from(done, tmp_path):
    bundle = tmp_path / "uwmgi_segformer"
    shutil.copytree(shipped("bundles", "uwmgi_segformer"), bundle)
    (bundle / "models").mkdir(exist_ok=True)
    weights = bundle / "models" / "model.pt"
    shutil.copy(done.checkpoint, weights)
    found = origin(inference_config(bundle, {}))
    assert found == origin_of(done.folder, done.config)
    # What a file says of itself is data: it goes into a configuration, where text may be code.
    state = read_checkpoint(weights)
    write_checkpoint(weights, state | {"provenance": {"bundle": "$print('canary')"}})
    with pytest.raises(UnsafeError, match=r"E-TRUST.*model\.pt"):
        inference_config(bundle, {})


def test_of_weights_that_tell_nothing_nothing_is_claimed(tmp_path):
    write_checkpoint(tmp_path / "model.pt", {"network": {}})
    save_file({"w": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"nothing of the kind")
    assert provenance_of(tmp_path / "model.pt") == {}
    assert provenance_of(tmp_path / "model.safetensors") == {}
    with pytest.raises(UnsafeError, match=r"E-CKPT\]: no\.safetensors"):
        provenance_of(tmp_path / "no.safetensors")


def test_weights_have_one_hash_whatever_is_told_beside_them(tmp_path):
    layer = nn.Linear(3, 2)
    for name, told in (("a", {}), ("b", {"run": "b"})):
        export_weights(tmp_path / name, layer, told=told)
    with torch.no_grad():
        layer.bias[0] += 1
    export_weights(tmp_path / "c", layer)
    one, other, changed = (tensors_hash(tmp_path / name) for name in "abc")
    assert one == other != changed
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_mlflow_has_the_record_of_the_end(done, told):
    run_id, store = told["mlflow_run_id"], done.folder.parents[1] / "artifacts"
    [kept] = (store / run_id).rglob("provenance.json")
    assert json.loads(kept.read_text()) == told


@pytest.fixture
def untrained(tiny_phantom, tmp_path):
    return untrained_run(tiny_phantom, tmp_path)


def test_each_command_leaves_its_end_and_its_warnings(untrained, tmp_path):
    seen = []

    def work():
        with tracked(untrained, None, output=tmp_path):
            seen.append(untrained.read("provenance.json"))
            logging.getLogger("medseg.x").warning("[W-MEMORY]: cpu: less at once")
            raise DataError(Problem("E-GAP", "case1", "is odd"))

    with pytest.raises(DataError, match="is odd"):
        work()
    [during], failed = seen, untrained.read("provenance.json")
    # As a command leaves it that is killed.
    assert (during["exit_status"], during["ended"], during["warnings"]) == (None, None, [])
    assert during["mlflow_run_id"] == failed["mlflow_run_id"] is not None
    assert (failed["exit_status"], failed["fall_backs"]) == (3, ["W-MEMORY"])
    assert [(row["code"], row["times"]) for row in failed["warnings"]] == [("W-MEMORY", 1)]
    with tracked(untrained, None, output=tmp_path):
        pass
    told = untrained.read("provenance.json")
    # The last is told in full, those before it in short.
    assert (told["exit_status"], told["warnings"]) == (0, [])
    [before] = told["earlier"]
    assert before.items() <= failed.items()
    assert before["weights_sha256"] == told["weights_sha256"] is not None
    assert "packages" in told
    assert "packages" not in before


def test_a_model_is_of_the_version_that_trained_it(untrained):
    now = sha256((untrained.folder / "weights.safetensors").read_bytes())
    rows = [("1", "0" * 64), ("2", now), ("3", now)]
    earlier = [{"medseg": version, "weights_sha256": weights} for version, weights in rows]
    untrained.write("provenance.json", {"medseg": "4", "weights_sha256": now, "earlier": earlier})
    assert origin_of(untrained.folder, untrained.config)["medseg"] == "2"
    # Other weights than any command left: those of the one that is at work.
    (untrained.folder / "weights.safetensors").write_bytes(b"new")
    assert origin_of(untrained.folder, untrained.config)["medseg"] == "4"


def test_what_a_run_says_of_its_origin_is_data_and_no_code(untrained):
    untrained.write("provenance.json", {"medseg": "$__import__('os').getcwd()"})
    with pytest.raises(UnsafeError, match="E-TRUST"):
        inference_of(untrained)


def test_settings_have_one_hash_wherever_they_lie(untrained):
    config = untrained.config
    moved = {**config, "dataset_dir": "/elsewhere", "manifest": "/here/own.yaml", "device": "cuda"}
    again = {**config, "dataset_dir": "/other", "manifest": "/there/own.yaml"}
    assert settings_hash(moved) == settings_hash(again) != settings_hash(config)
    assert settings_hash({**config, "seed": 5}) != settings_hash(config)


@pytest.mark.parametrize(
    ("config", "bundle"),
    [
        pytest.param({"bundle_root": "/srv/mine/uwmgi_unet"}, "uwmgi_unet", id="bundle"),
        pytest.param({"origin": {"bundle": None}}, None, id="registered by an earlier version"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_of_a_model_without_a_run_nothing_else_is_claimed(config, bundle):
    assert origin(config) == {name: bundle if name == "bundle" else None for name in ORIGIN}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(PartialError(Problem("E-A", "a", "b")), 6, id="ours"),
        pytest.param(Stopped(15), 143, id="terminated"),
        pytest.param(KeyboardInterrupt(), 130, id="interrupted"),
        pytest.param(ValueError("x"), 1, id="a fault of medseg"),
    ],
)
def test_the_end_is_told_as_the_command_line_exits(error, status):
    assert status_of(error) == status


def test_resumed_for_longer_a_run_says_so(done, tiny_phantom):
    from medseg.stages.begin import begin

    longer = Request(
        "uwmgi_segformer",
        data=tiny_phantom,
        demo=True,
        output=done.folder.parents[1],
        device="cpu",
        settings=SETTINGS | {"epochs": "4"},
        stages=("train",),
        resume=True,
    )
    begun = begin(longer, Silent())
    assert open_run(done.folder).config["epochs"] == begun.config["epochs"] == 4
    begin(Request(**{**vars(longer), "settings": {}}), Silent())
    done.write("config.json", done.config)
