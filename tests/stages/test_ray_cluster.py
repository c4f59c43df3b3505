"""A real Ray of two nodes: what a cohort gives, what is killed in the middle, what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import nibabel
import numpy as np
import psutil
import pytest
from random_bundle import SMALL, random_bundle
from ray_nodes import ray_nodes
from ray_tasks import Deadly, Hungry, Slow

from medseg.cli import main
from medseg.errors import DataError, ResourceError, UsageError
from medseg.stages.engines import Needs, machines_of
from medseg.stages.workers import worked

pytestmark = pytest.mark.slow

ONE = Needs(cpus=1, memory_bytes=1 << 20)


@pytest.fixture
def two():
    """A cluster of two nodes with a core each."""
    with ray_nodes(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A bundle, and the images of five studies, one of which is none."""
    folder = tmp_path_factory.mktemp("cohort")
    random_bundle(folder / "own")
    rng = np.random.default_rng(0)
    (folder / "in").mkdir()
    for number in range(5):
        image = nibabel.Nifti1Image(
            rng.random((32, 40, 8 + number), np.float32) * 100, np.diag([1.5, 1.5, 3, 1])
        )
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / "in" / f"s{number}.nii.gz")
    (folder / "in" / "s2.nii.gz").write_bytes(b"nonsense")
    return folder


def predicting(cohort, out, *words):
    """The words of a command that predicts the cohort."""
    return ["predict", str(cohort / "own"), str(cohort / "in"), "-o", str(out), *SMALL, *words]


def lines(printed):
    """What was printed, without times and without how far it was meanwhile."""
    kept = [line for line in printed.splitlines() if not re.match(r"predict: \d/", line)]
    return [re.sub(r"\S*/(local|ray)\b", "…", line) for line in kept]


def record(path):
    """A study's record without when and by what command it was made."""
    told = json.loads(path.read_text())
    return {
        **told,
        "made_by": {**told["made_by"], **dict.fromkeys(("started", "ended", "command"))},
    }


def require_same(here, there):
    names = sorted(path.name for path in here.iterdir())
    assert names == sorted(path.name for path in there.iterdir())
    for name in names:
        if name.startswith("s") and name.endswith(".json"):
            assert record(here / name) == record(there / name)
        else:
            assert (here / name).read_bytes() == (there / name).read_bytes(), name


@pytest.fixture(scope="module")
def local(cohort, tmp_path_factory):
    """The folder, exit code and lines of the cohort predicted by one process."""
    out = tmp_path_factory.mktemp("predicted") / "local"
    asked = [sys.executable, "-m", "medseg", *predicting(cohort, out, "--probabilities")]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return out, done.returncode, lines(done.stdout), done.stderr


def test_a_cohort_is_the_same_on_two_nodes_though_a_worker_is_killed(two, cohort, local, tmp_path):
    out = tmp_path / "ray"
    words = predicting(cohort, out, "--probabilities", "--engine", "ray", "--address", two.address)
    begun = subprocess.Popen(
        [sys.executable, "-m", "medseg", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = until(lambda: at_work(out) and kill_a_worker(), 120)
    printed, complaints = begun.communicate(timeout=300)
    assert killed
    assert (begun.returncode, lines(printed), complaints) == (6, *local[2:])
    assert local[1] == 6
    require_same(local[0], out)


def at_work(out):
    """Whether some study of a folder is begun and none is done."""
    return out.exists() and any(
        json.loads(path.read_text())["status"] == "begun" for path in out.glob("s?.json")
    )


def kill_a_worker():
    """Kill a worker that predicts, and return its process number."""
    for process in psutil.Process().children(recursive=True):
        if any("Worker.do" in word for word in process.cmdline()):
            process.kill()
            return process.pid
    return None


def until(found, seconds):
    """Return what a function finds, once it does."""
    ends = time.monotonic() + seconds
    while not (seen := found()) and time.monotonic() < ends:
        time.sleep(0.02)
    return seen


def test_a_killed_worker_and_then_a_killed_node_lose_nothing_and_repeat_nothing(two, tmp_path):
    victim = two.list_all_nodes()[1]

    def kill():
        first = until(lambda: [*tmp_path.glob("begun-*")], 60)[0]
        os.kill(int(first.name.split("-")[2]), signal.SIGKILL)
        until(lambda: [*tmp_path.glob(f"begun-[3-9]-*{victim.node_id}")], 60)
        two.remove_node(victim, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    with machines_of("ray", two.address) as machines:
        found = list(machines.spread(Slow(tmp_path, seconds=2), range(10), needs=ONE))
    killer.join()
    assert found == list(range(10))
    done = (tmp_path / "done").read_text().split()
    assert sorted(map(int, done)) == list(range(10))
    assert len(list(tmp_path.glob("begun-*"))) == 12


def test_out_of_memory_on_one_worker_is_the_fault_of_its_task_alone(tmp_path):
    used = psutil.virtual_memory().percent / 100
    limits = {"memory_usage_threshold": used + 0.1, "memory_monitor_refresh_ms": 50}
    hungry = Hungry(gib=0.2 * psutil.virtual_memory().total / (1 << 30), at=1)
    with ray_nodes(2, **limits) as cluster, machines_of("ray", cluster.address) as machines:
        given_up = machines.spread(hungry, range(3), needs=ONE, lost=lambda _, why: why.code)
        assert list(given_up) == [0, "E-MEMORY", 2]


def test_every_node_that_lacks_a_path_or_a_version_is_named(two, tmp_path, monkeypatch):
    with machines_of("ray", two.address) as machines:
        machines.require([tmp_path], written=tmp_path / "new")
        assert list((tmp_path / "new").iterdir()) == []
        with pytest.raises(DataError, match=r"E-PATH.*nowhere: is not seen on .*127\.0\.0\.1") as e:
            machines.require([tmp_path, tmp_path / "nowhere"])
        assert len(e.value.problems) == 2
        monkeypatch.setattr("medseg.stages.ray_cluster.__version__", "0.0.0")
        with pytest.raises(UsageError, match=r"E-RAY-VERSION.*has medseg .*expected 0\.0\.0"):
            machines.require([tmp_path])


def test_a_task_that_always_kills_its_worker_ends_what_cannot_do_without_it(two, tmp_path):
    work = Deadly(tmp_path, always=[1])
    with (
        machines_of("ray", two.address) as machines,
        pytest.raises(ResourceError, match=r"E-WORKER.*3 times.*--engine local"),
    ):
        worked(work, range(3), machines=machines)


def test_a_cluster_with_another_token_refuses_in_one_line(two, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    (tmp_path / "side").mkdir()
    side = str(tmp_path / "side")
    assert main(["evaluate", side, side, "--engine", "ray", "--address", two.address]) == 2
    told = capsys.readouterr()
    assert re.fullmatch(r"error\[E-RAY-TOKEN\]: .*refused this user's token.*\n", told.err)


PIPELINE = """\
title: Two
about: One that learns on two seeds.
real: Nothing.
data: uwmgi
costs: false
source: {citation: Nobody}
settings: {roi_px: [64, 64], epochs: 3, epoch_length: 3, batch_size: 5, val_interval: 1}
runs:
  - {name: good, bundle: uwmgi_segformer, seeds: [0, 1], folds: [0]}
"""


def test_a_training_whose_worker_is_killed_goes_on_elsewhere(two, tiny_phantom, tmp_path, capsys):
    (tmp_path / "two.yaml").write_text(PIPELINE)
    output = tmp_path / "runs"

    def kill():
        begun = until(lambda: [*output.glob("*/*/checkpoints/last.pt")], 300)[0].parents[1]
        holder = json.loads((begun / "medseg.lock").read_text())
        os.kill(holder["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    words = ["--data", str(tiny_phantom), "--demo", "--device", "cpu", "--output", str(output)]
    asked = ["run", str(tmp_path / "two.yaml"), *words, "--engine", "ray"]
    assert main([*asked, "--address", two.address]) == 0
    killer.join()
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith(("1/2", "2/2"))] == [
        "1/2: good, seed 0, fold 0",
        "2/2: good, seed 1, fold 0",
    ]
    runs = sorted(path.parent for path in output.glob("*/*/task.json"))
    told = [json.loads((run / "provenance.json").read_text()) for run in runs]
    assert [each["exit_status"] for each in told] == [0, 0]
    assert sorted(len(each["earlier"]) for each in told) == [0, 1]
    for run in runs:
        rows = json.loads((run / "training.json").read_text())["epochs"]
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert not (run / "medseg.lock").exists()
