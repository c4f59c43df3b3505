"""A disk that is full, wherever it fills up: exit 4, what was there stays, and no half of a file.

The disks are real ones.
"""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from bright_model import GRID, Bench, image
from dicom_series import slices
from mlflow import MlflowClient
from small_disk import PAGE, small_disk
from smallest_training import run_in, trained
from tiny_scans import item_of, write_small_scan
from torch import nn

import medseg.data.store as store_module
from medseg.cli import main
from medseg.data import Store, read_manifest
from medseg.data.submission import Key, write_submission_csv
from medseg.engine.checkpoint_files import fault_of
from medseg.engine.checkpoints import export_weights, read_checkpoint, write_checkpoint
from medseg.engine.provenance import sha256_of
from medseg.engine.tracking import FALLBACK, Tracker, default_uri
from medseg.errors import ResourceError
from medseg.geometry import Grid
from medseg.io.atomic import replacing
from medseg.io.dicom_written import save
from medseg.io.nifti import read_label_map, write_label_map
from medseg.io.written import append_line, write_once
from medseg.runs import Run
from medseg.stages import study_steps
from medseg.stages.watch import keep
from medseg.transforms import preprocessing

LABELS = read_manifest("uwmgi").labels


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with small_disk(tmp_path_factory.mktemp("small") / "disk", mib=24) as mounted:
        yield mounted


@pytest.fixture(autouse=True)
def _emptied(request):
    """Leave the disk empty for the next test."""
    yield
    if "disk" in request.fixturenames:
        for folder in request.getfixturevalue("disk").folder.iterdir():
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def noise(n_bytes):
    """Bytes that no packing makes fewer."""
    return np.random.default_rng(0).integers(0, 256, n_bytes, np.uint8)


def label_map(path):
    masks = noise(np.prod(GRID.shape)).reshape(GRID.shape) % 4
    write_label_map(path, masks.repeat(12, axis=0), Grid((120, 12, 6), GRID.affine_ras_mm), LABELS)


SLICES = [Key("case1_day0", number, "stomach") for number in range(200)]
WRITERS = {
    "a.json": lambda path: Run(path.parent, {}).write(path.name, [0] * PAGE),
    "a.pt": lambda path: write_checkpoint(path, {"network": torch.zeros(PAGE)}),
    "a.safetensors": lambda path: export_weights(path, nn.Linear(64, 64)),
    "a.nii": label_map,
    "a.dcm": lambda path: save(path, slices(noise(9600).reshape(80, 60, 2))[0]),
    "submission.csv": lambda path: write_submission_csv(path, SLICES, {}),
    "key": lambda path: write_once(path, noise(2 * PAGE).tobytes()),
    "tracking.jsonl": lambda path: append_line(path, "x" * 2 * PAGE),
}


@pytest.mark.parametrize("pages", [pytest.param(0, id="full"), pytest.param(1, id="a page left")])
@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in WRITERS])
def test_whatever_writes_leaves_the_folder_as_it_was(disk, name, pages):
    folder = disk.folder / f"{pages}-{name}"
    folder.mkdir()
    with replacing(folder / "another") as stream:
        stream.write(b"here before")
    disk.leave(pages * PAGE)
    with pytest.raises(ResourceError, match="E-DISK") as told:
        WRITERS[name](folder / name)
    assert told.value.exit_code == 4
    # A line that did not fit was taken out again, the file stays.
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert left.pop("another") == b"here before"
    assert left in ({}, {FALLBACK: b""})
    disk.empty()
    WRITERS[name](folder / name)
    assert (folder / name).stat().st_size > PAGE


def test_lines_before_and_after_a_full_disk_are_whole(disk):
    path = disk.folder / "lines" / FALLBACK
    append_line(path, "first")
    disk.leave(PAGE)
    with pytest.raises(ResourceError, match="E-DISK"):
        append_line(path, "x" * 3 * PAGE)
    assert path.read_text() == "first\n"
    disk.empty()
    with path.open("a") as stream:
        stream.write("what a killed process le")
    append_line(path, "last")
    assert path.read_text() == "first\nlast\n"


def test_the_store_keeps_what_is_whole_and_no_half(disk, tmp_path, monkeypatch):
    scans = [item_of(write_small_scan(tmp_path, f"case{n}", seed=n)) for n in range(3)]
    chain = preprocessing(("image", "label"), organs=("a", "b"), roi_px=(96, 96))
    store = Store(disk.folder / "store")
    (first,) = store.prepare(scans[:1], chain)
    before = {path: path.read_bytes() for path in first.folder.iterdir()}
    # Another process takes the room after it was looked at.
    monkeypatch.setattr(store_module, "_require_room", lambda *_: disk.leave(2 * PAGE))
    with pytest.raises(ResourceError, match=r"E-DISK.*the disk is full") as told:
        store.prepare(scans, chain)
    assert told.value.exit_code == 4
    assert {path: path.read_bytes() for path in first.folder.iterdir()} == before
    assert {path.name for path in store.root.iterdir()} == {"index", first.key}
    monkeypatch.undo()
    disk.empty()
    assert len(Store(store.root, verify=True).prepare(scans, chain)) == 3


def unreadable(folder):
    """Return what is there and cannot be read, or is no whole file's name."""
    bad = list(folder.rglob(".tmp-*"))
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for path in (*folder.rglob("*.pt"), *folder.rglob("*.safetensors")):
        read_checkpoint(path)
        bad += [path] if fault_of(path) else []
    return bad


def test_a_training_stops_where_the_disk_is_full_and_goes_on(
    disk, tiny_phantom, capsys, monkeypatch
):
    output = disk.folder / "runs"
    assert trained(tiny_phantom, output, "-q", epochs=1) == 0

    def kept(run, sizes, rows):
        keep(run, sizes, rows)
        if len(rows) == 3:
            disk.leave(0)

    monkeypatch.setattr("medseg.stages.train.keep", kept)
    assert trained(tiny_phantom, output, "-q", "--resume", epochs=3) == 4
    assert "error[E-DISK]" in capsys.readouterr().err
    assert unreadable(output) == []
    assert read_checkpoint(run_in(output) / "checkpoints" / "last.pt")["iteration"] == 4
    # Not even its lock has room.
    assert trained(tiny_phantom, output, "-q", "--resume", epochs=3) == 4
    assert unreadable(output) == []
    disk.empty()
    monkeypatch.undo()
    assert trained(tiny_phantom, output, "-q", "--resume", epochs=3) == 0
    rows = json.loads((run_in(output) / "training.json").read_text())["epochs"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    client = MlflowClient(default_uri(output))
    (run,) = client.search_runs([client.get_experiment_by_name("uwmgi_unext_demo").experiment_id])
    told = client.get_metric_history(run.info.run_id, "train/loss")
    assert [metric.step for metric in told] == [1, 2, 3]


def test_a_training_goes_on_where_mlflow_has_no_room(disk, tiny_phantom, tmp_path, caplog):
    """First there is none for the database, then for a second run in it."""
    uri, output = default_uri(disk.folder / "store"), tmp_path / "runs"
    for left in (4 * PAGE, 64 * PAGE):
        disk.leave(left)
        caplog.clear()
        assert trained(tiny_phantom, tmp_path / f"{left}", epochs=1, uri=uri) == 0
        told = [record.getMessage() for record in caplog.records]
        assert len([text for text in told if "W-TRACKING" in text]) == 1
        assert (run_in(tmp_path / f"{left}") / FALLBACK).exists()
        assert list((disk.folder / "store").iterdir()) == []
    disk.empty()
    assert trained(tiny_phantom, output, "-q", epochs=1, uri=uri) == 0
    disk.leave(PAGE)
    assert trained(tiny_phantom, output, "-q", "--resume", epochs=2, uri=uri) == 0
    disk.empty()
    for folder in (*tmp_path.glob("[0-9]*"), output):
        assert main(["sync", "--output", str(folder)]) == 0
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("uwmgi_unext_demo").experiment_id])
    assert len(runs) == 3
    found = (client.get_metric_history(run.info.run_id, "train/loss") for run in runs)
    assert sorted([metric.step for metric in each] for each in found) == [[1], [1], [1, 2]]


def test_a_run_whose_log_has_no_room_ends_with_4(disk, tmp_path):
    """MLflow cannot be reached, and what it misses cannot be kept."""
    (tmp_path / "file").touch()
    given = {"experiment": "e", "run_name": "r", "params": {}, "tags": {}}
    tracker = Tracker(default_uri(tmp_path / "file"), output=disk.folder / "run", **given)
    tracker.__enter__()
    log = disk.folder / "run" / FALLBACK
    before = log.read_text()
    disk.leave(0)
    tracker.log_metrics({"x" * 2 * PAGE: 1.0}, step=1)
    with pytest.raises(ResourceError, match=r"E-DISK.*tracking\.jsonl") as told:
        tracker.flush()
    assert told.value.exit_code == 4
    assert log.read_text() == before
    disk.empty()
    tracker.end("FAILED")
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["run", "end"]


def test_predictions_stop_where_the_disk_is_full_and_go_on(disk, tmp_path, monkeypatch):
    """At every page of it: files of studies, their records, the table and the page."""
    bench = Bench(tmp_path)
    monkeypatch.setattr(study_steps, "steps_of", bench.steps_of)
    three = [image(tmp_path / f"scan{number}.nii.gz", bright=number) for number in (1, 2, 3)]
    bench.predict(*three)
    pages = sum(-(-path.stat().st_size // PAGE) for path in bench.out.iterdir())
    codes = []
    for left in range(pages + 2):
        config = {"output_dir": str(disk.folder / f"out{left}")}
        disk.leave(left * PAGE)
        codes.append(code_of(partial(bench.predict, *three, config=config)))
        out = disk.folder / f"out{left}"
        require_whole(out)
        disk.empty()
        done = [row["scan_id"] for row in records(out) if row["status"] != "begun"]
        bench.predict(*three, config=config)
        assert bench.segmented == [f"scan{n}" for n in (1, 2, 3) if f"scan{n}" not in done]
        assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in bench.out.iterdir())
    assert codes == sorted(codes, reverse=True)
    assert {*codes} == {"", "E-DISK"}


def code_of(work):
    """Return the code of the error that work ends with, nothing where it does not."""
    try:
        work()
    except ResourceError as error:
        return error.problems[0].code
    return ""


def records(out):
    return [json.loads(path.read_text()) for path in out.glob("*.json")]


def require_whole(out):
    """Assert that what has a name is whole, and what a record tells is there."""
    for row in records(out):
        for name, sha in row["files"].items():
            assert sha256_of(out / name) == sha
    for path in out.glob("*.nii.gz"):
        read_label_map(path)
    assert list(out.glob(".tmp-*")) == []


def test_the_command_tells_a_full_disk_whoever_writes(disk, capsys):
    disk.leave(3 * PAGE)
    assert main(["data", "phantom", str(disk.folder / "phantom"), "--patients", "1", "-q"]) == 4
    assert "error[E-DISK]" in capsys.readouterr().err
