"""Processes that load data for torch, which a user may ask for: they work, and die with advice."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from smallest_training import trained

from medseg.data import VolumeDataset
from medseg.engine.loading import loaders_told
from medseg.errors import ResourceError

LOADER = {"_target_": "torch.utils.data.DataLoader", "dataset": "@validate::dataset"}
LOADER |= {"batch_size": None, "num_workers": 2}
TWO = ("--set", f"validate::dataloader={json.dumps(LOADER)}")


def test_validation_may_be_loaded_by_processes_and_they_may_die(
    tiny_phantom, tmp_path, monkeypatch, capsys
):
    here = os.getpid()
    read = VolumeDataset.__getitem__

    def killed(self, index):
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    assert trained(tiny_phantom, tmp_path, "-q", *TWO, epochs=1) == 0
    monkeypatch.setattr(VolumeDataset, "__getitem__", killed)
    assert trained(tiny_phantom, tmp_path, "-q", "--resume", epochs=2) == 4
    told = capsys.readouterr().err
    assert "error[E-WORKER]: data loader: a process that loads data was ended" in told
    assert "set num_workers to 0" in told


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param(
            "DataLoader worker (pid 3) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory.",
            "E-SHM",
            id="a bus error",
        ),
        pytest.param(
            "unable to allocate shared memory(shm) for file </torch_9_1_0>: No space left on "
            "device (28)",
            "E-SHM",
            id="no room",
        ),
        pytest.param("DataLoader timed out after 600 seconds", "E-WORKER", id="no answer"),
        pytest.param("DataLoader worker (pid(s) 3, 4) exited unexpectedly", "E-WORKER", id="gone"),
    ],
)
def test_what_torch_says_is_told_with_advice(text, code):
    passed_on = RuntimeError("Failed to evaluate ConfigExpression")
    passed_on.__cause__ = RuntimeError(text)  # as MONAI does
    with pytest.raises(ResourceError, match=code), loaders_told():
        raise passed_on


def test_any_other_error_is_its_own():
    with pytest.raises(RuntimeError, match="a worker of another kind"), loaders_told():
        raise RuntimeError("a worker of another kind")


@pytest.mark.slow
def test_a_small_dev_shm_is_told(tiny_phantom, tmp_path):
    """In a mount namespace of its own, where /dev/shm is a disk of 64 kB."""
    unshare = shutil.which("unshare")
    mount = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
    if not unshare or subprocess.run([unshare, "-m", "sh", "-c", mount], check=False).returncode:
        pytest.skip("only root on Linux can have a /dev/shm of its own")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from smallest_training import trained;"
        "sys.exit(trained(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:], epochs=1))"
    )
    tests = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    words = [sys.executable, "-c", code, tests, str(tiny_phantom), str(tmp_path / "runs"), *TWO]
    done = subprocess.run(
        [unshare, "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr[-2000:]
    assert "E-SHM" in done.stderr
    assert "--shm-size" in done.stderr
