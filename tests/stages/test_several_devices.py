"""``medseg run --nproc`` with real processes: killed, stopped, faulty, and started by torchrun."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX"),
]

TIMES = {"train/seconds", "train/slices_per_s"}
WORDS = [
    *("run", "uwmgi_unet", "--device", "cpu", "--stage", "prepare", "--stage", "train"),
    *("--set", "roi_px=[32, 32]", "--set", "spacing_mm=[9, 9, 9]", "--set", "folds=3"),
    *("--set", "network_def::base=4", "--set", "batch_size=5", "--set", "epoch_length=6"),
    *("--set", "val_interval=1", "--set", "amp=false"),
]
PATIENCE_S = 400


def begun(data, output, *words, epochs=8, how=("-m", "medseg")):
    """Begin a training and return its process."""
    command = [sys.executable, *how, *WORDS, "--set", f"epochs={epochs}"]
    places = ["--data", str(data), "--output", str(output)]
    return subprocess.Popen(
        [*command, *places, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def run_of(output):
    """Return the one folder of a run that there is."""
    (folder,) = output.glob("uwmgi_unet/*-fold0")
    return folder


def until_saved(output, process):
    """Wait until a training has a checkpoint, and return its processes."""
    for _ in range(PATIENCE_S * 10):
        if [*output.glob("uwmgi_unet/*/checkpoints/last.pt")]:
            return psutil.Process(process.pid).children()
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    raise TimeoutError


def addresses(processes):
    """Where processes listen."""
    found = (each for process in processes for each in process.net_connections("inet"))
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


def rows_of(folder):
    rows = json.loads((folder / "training.json").read_text())["epochs"]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def whole(tiny_phantom, tmp_path_factory):
    """The folder of a run of two processes that nobody disturbed."""
    output = tmp_path_factory.mktemp("whole")
    process = begun(tiny_phantom, output, "--nproc", "2")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert out.count("train: 48 steps") == out.count("run: ") == 1
    return run_of(output)


def assert_same(folder, whole):
    """Adam turns what is rounded otherwise in another number of processes into more."""
    here, there = ([row["train/loss"] for row in rows_of(each)] for each in (folder, whole))
    assert len(here) == 8
    assert here == pytest.approx(there, abs=1e-3)
    weights, others = (load_file(each / "weights.safetensors") for each in (folder, whole))
    assert weights.keys() == others.keys()


@pytest.mark.parametrize(
    "number", [pytest.param(0, id="the first process"), pytest.param(1, id="another process")]
)
def test_a_killed_process_costs_nothing(tiny_phantom, tmp_path, whole, number):
    process = begun(tiny_phantom, tmp_path, "--nproc", "2")
    children = until_saved(tmp_path, process)
    assert addresses([psutil.Process(process.pid), *children]) == {"127.0.0.1"}
    children[number].kill()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert_same(run_of(tmp_path), whole)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = (each for each in client.search_experiments() if each.name != "Default")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "FINISHED"
    steps = [each.step for each in client.get_metric_history(tracked.info.run_id, "train/loss")]
    assert steps == [*range(1, 9)]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    ],
)
def test_a_stopped_training_goes_on_in_one_process(tiny_phantom, tmp_path, whole, number, code):
    process = begun(tiny_phantom, tmp_path, "--nproc", "2")
    children = until_saved(tmp_path, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, err
    assert "stopped; the last step is saved, and --resume goes on from there" in out
    assert not any(child.is_running() for child in children)
    rest = begun(tiny_phantom, tmp_path, "--resume")
    _, err = rest.communicate(timeout=PATIENCE_S)
    assert rest.returncode == 0, err
    assert_same(run_of(tmp_path), whole)


def test_torchrun_starts_it_too(tiny_phantom, tmp_path, whole):
    how = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "3", "-m", "medseg")
    process = begun(tiny_phantom, tmp_path, how=how)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert_same(run_of(tmp_path), whole)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        pytest.param(
            ("--set", "batch_size=1"),
            2,
            "error[E-CONFIG]: training: batch_size 1 is less than the 2 processes",
            id="a batch smaller than the processes",
        ),
        pytest.param(("--data", "EMPTY"), 3, "error[", id="no data"),
    ],
)
def test_an_error_is_told_once_and_ends_all(tiny_phantom, tmp_path, words, code, told):
    empty = tmp_path / "empty"
    empty.mkdir()
    words = [str(empty) if word == "EMPTY" else word for word in words]
    process = begun(tiny_phantom, tmp_path / "runs", "--nproc", "2", *words)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, err
    assert err.count(told) == 1
    assert "Traceback" not in err
