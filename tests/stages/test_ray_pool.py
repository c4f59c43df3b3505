"""Work on Ray is the work of one process: in order, once, and with its own errors."""

import json
import logging
import os
import re
from contextlib import suppress
from functools import partial

import numpy as np
import psutil
import pytest
from mask_folders import box, write_masks
from ray_tasks import Deadly, FirstIsLast, Loaded, refuse, square, warn

from medseg.cli import main
from medseg.errors import DataError, GeometryError, Problem, ResourceError, UsageError
from medseg.stages.engines import Needs, device_of, machines_of
from medseg.stages.workers import worked

ONE = Needs(cpus=1, memory_bytes=1 << 20)


@pytest.fixture(scope="module")
def machines():
    """A Ray of this machine with two cores, begun as a command begins it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("medseg.stages.ray_cluster.cores", lambda: 2)
        with machines_of("ray") as begun:
            yield begun


def test_results_come_in_the_order_of_tasks_and_nobody_waits_for_a_slow_one(machines, tmp_path):
    found = list(machines.spread(FirstIsLast(tmp_path, tasks=6), range(6), needs=ONE))
    assert [number for number, _ in found] == list(range(6))
    assert len({pid for _, pid in found}) == 2
    assert os.getpid() not in {pid for _, pid in found}


def test_no_task_is_no_work(machines):
    assert list(machines.spread(square, [], needs=ONE)) == []


def test_an_error_is_the_same_as_in_one_process(machines):
    with pytest.raises(DataError, match=r"E-GRID.*scan 2: lies elsewhere") as caught:
        worked(partial(refuse, at=2), range(5), machines=machines)
    assert type(caught.value) is GeometryError
    assert caught.value.problems == (Problem("E-GRID", "scan 2", "lies elsewhere", fix="look"),)


def test_warnings_of_workers_are_those_of_the_command(machines, caplog):
    assert worked(warn, [3], machines=machines) == [3]
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, "scan 3 is odd")
    ]


def test_work_is_brought_to_a_worker_once_and_threads_are_its_cores(
    machines, tmp_path, monkeypatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = list(machines.spread(Loaded(tmp_path), range(8), needs=ONE))
    assert len(list(tmp_path.iterdir())) == len({pid for pid, _ in found}) <= 2
    assert {threads for _, threads in found} == {os.environ.get("OMP_NUM_THREADS", "1")}


def test_a_task_whose_worker_is_killed_is_done_again_and_no_other_is(machines, tmp_path, capfd):
    again = []
    work = Deadly(tmp_path, once=[1])
    found = list(machines.spread(work, range(4), needs=ONE, again=again.append))
    assert found == [0, 1, 2, 3]
    assert again == [1]
    assert sorted((tmp_path / "done").read_text().split()) == ["0", "1", "2", "3"]
    assert capfd.readouterr() == ("", "")


def test_a_task_that_kills_every_worker_is_given_up_and_the_others_go_on(machines, tmp_path):
    work = Deadly(tmp_path, always=[0])
    found = list(machines.spread(work, range(3), needs=ONE, lost=lambda n, why: (n, why.code)))
    assert found == [(0, "E-WORKER"), 1, 2]


def test_what_ends_the_caller_ends_the_workers(machines, tmp_path):
    results = machines.spread(Loaded(tmp_path), range(50), needs=ONE)
    pid, _ = next(results)
    results.close()
    assert psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], 10)[1] == []


def test_more_than_a_machine_has_is_asked_of_none(machines):
    huge = Needs(cpus=1000, memory_bytes=1 << 60)
    assert list(machines.spread(square, [3], needs=huge)) == [9]
    with pytest.raises(ResourceError, match=r"E-RESOURCES.*CUDA"):
        list(machines.spread(square, [3], needs=Needs(gpus=1)))


def test_that_nobody_begins_is_told_once(machines, monkeypatch, caplog):
    monkeypatch.setattr("medseg.stages.ray_pool._PATIENCE_S", 0.0)
    assert list(machines.spread(square, [3], needs=ONE)) == [9]
    assert [r.getMessage() for r in caplog.records] == [
        "warning[W-WAIT]: Ray: no worker has begun yet: others may be using the cluster."
    ]


def test_the_device_is_one_of_the_cluster(machines, monkeypatch):
    assert device_of("auto", machines) == device_of("cpu", machines) == "cpu"
    with pytest.raises(ResourceError, match=r"E-DEVICE.*no machine of the cluster"):
        device_of("cuda", machines)
    with pytest.raises(UsageError, match=r"E-DEVICE.*cuda:1.*--device cuda"):
        device_of("cuda:1", machines)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"GPU": 1.0})
    assert device_of("auto", machines) == device_of("cuda", machines) == "cuda"
    assert device_of("cpu", machines) == "cpu"


def listening():
    """The addresses at which this process and those below it listen."""
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # workers come and go
            for each in process.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN:
                    yield each.laddr


def test_all_of_it_listens_on_loopback_alone_asks_for_a_token_and_has_no_dashboard(machines):
    found = set(listening())
    assert {each.ip.removeprefix("::ffff:") for each in found} == {"127.0.0.1"}
    assert 8265 not in {each.port for each in found}
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_evaluate_prints_and_writes_the_same_on_ray(machines, tmp_path, capsys):
    pred, ref = tmp_path / "pred", tmp_path / "ref"
    for number in range(4):
        write_masks(ref, f"case{number}_day0", stomach=box(1, 4))
        write_masks(pred, f"case{number}_day0", stomach=box(1 + number, 4))
    (pred / "case3_day0_stomach.nii.gz").write_bytes(b"nonsense")
    told = {}
    for engine in ("local", "ray"):
        words = [str(pred), str(ref), "--save", str(tmp_path / engine), "--engine", engine]
        code = main(["evaluate", *words])
        printed = capsys.readouterr()
        told[engine] = (code, re.sub(r"\d+ s\b", "… s", printed.out), printed.err)
    assert told["ray"] == told["local"]
    assert told["ray"][0] == 6
    assert "E-NII" in told["ray"][2]
    for file in (tmp_path / "local").iterdir():
        assert file.read_bytes() == (tmp_path / "ray" / file.name).read_bytes()


@pytest.mark.slow
def test_the_store_is_the_same_on_ray(machines, tiny_phantom, tmp_path, capsys):
    stores = {}
    for engine in ("local", "ray"):
        words = ["--data", str(tiny_phantom), "--demo", "--output", str(tmp_path / engine)]
        asked = ["data", "prepare", "uwmgi_segformer", *words, "--engine", engine, "--json"]
        assert main(asked) == 0
        stores[engine] = json.loads(capsys.readouterr().out)
    folders = {engine: tmp_path / engine / "store" for engine in stores}
    assert len(stores["ray"]["scans"]) == 6
    for scan_id, entry in stores["local"]["scans"].items():
        other = stores["ray"]["scans"][scan_id]
        assert entry.removeprefix(str(folders["local"])) == other.removeprefix(str(folders["ray"]))
        for name in ("image.npy", "masks.npy"):
            here, there = (np.load(f"{each}/{name}") for each in (entry, other))
            assert np.array_equal(here, there)
