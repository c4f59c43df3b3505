"""Work in processes is the work of one process, in order, and ends when it should."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from medseg.errors import DataError, GeometryError, Problem, ResourceError
from medseg.stages.workers import cores, worked


def square(number):
    return number * number


def late_first(number):
    time.sleep(0.3 if number == 0 else 0)
    return number, os.getpid()


def refuse(number, *, at):
    if number == at:
        raise GeometryError(Problem("E-GRID", f"scan {number}", "lies elsewhere", fix="look"))
    return number


def die(_number):
    os._exit(9)


def mark(number, *, folder):
    time.sleep(0.05)
    (folder / str(number)).touch()


def heavy(_number):
    names = ("torch", "monai", "matplotlib")
    return [name for name in names if name in sys.modules], os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_tasks_however_long_each_takes(workers):
    seen = []
    found = worked(
        late_first, range(5), workers=workers, progress=lambda n, of: seen.append((n, of))
    )
    assert [number for number, _ in found] == list(range(5))
    assert seen == [(n + 1, 5) for n in range(5)]
    assert ({pid for _, pid in found} == {os.getpid()}) is (workers == 1)


def test_no_task_is_no_work_and_one_task_needs_no_process():
    assert worked(square, [], workers=4) == []
    assert worked(late_first, [7], workers=4) == [(7, os.getpid())]


def test_processes_are_begun_where_there_is_enough_to_do(monkeypatch):
    monkeypatch.setattr("medseg.stages.workers.cores", lambda: 2)
    few = worked(late_first, range(1, 20), workers=None)
    many = worked(late_first, range(1, 21), workers=None)
    assert {pid for _, pid in few} == {os.getpid()}
    assert os.getpid() not in {pid for _, pid in many}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_the_same_as_in_one_process(workers):
    with pytest.raises(DataError, match=r"E-GRID.*scan 2: lies elsewhere") as caught:
        worked(partial(refuse, at=2), range(9), workers=workers)
    assert type(caught.value) is GeometryError
    assert caught.value.problems == (Problem("E-GRID", "scan 2", "lies elsewhere", fix="look"),)
    assert multiprocessing.active_children() == []


def test_a_process_that_is_ended_from_outside_is_told():
    with pytest.raises(ResourceError, match=r"E-WORKER.*--workers 1"):
        worked(die, range(3), workers=2)


def test_workers_have_one_thread_each_and_import_no_network_library():
    assert worked(heavy, range(2), workers=2) == [([], "1")] * 2


def test_there_is_a_core_to_work_on():
    assert 1 <= cores() <= psutil.cpu_count()


def test_what_ends_the_caller_drops_the_tasks_that_have_not_begun(tmp_path):
    def stop(_done, _total):
        raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        worked(partial(mark, folder=tmp_path), range(50), workers=2, progress=stop)
    assert multiprocessing.active_children() == []
    assert 1 <= len(list(tmp_path.iterdir())) < 20


SCRIPT = """
import time
from medseg.stages.workers import worked

def nap(number):
    print("begun", flush=True)
    time.sleep({seconds})

if __name__ == "__main__":
    worked(nap, range(40), workers=2)
"""


def begun(script):
    """Return a process in a group of its own, once its workers are at work, and those."""
    made = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert [made.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    return made, psutil.Process(made.pid).children(recursive=True)


def test_ctrl_c_ends_every_process_and_none_complains(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(seconds=0.2))
    made, workers = begun(script)
    assert len(workers) >= 2
    os.killpg(made.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    _, errors = made.communicate(timeout=30)
    assert made.returncode not in (0, None)
    assert errors.count("KeyboardInterrupt") == 1
    assert psutil.wait_procs(workers, timeout=10)[1] == []


def test_workers_do_not_outlive_the_process_that_began_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(seconds=60))
    made, workers = begun(script)
    made.kill()
    made.communicate(timeout=30)
    assert psutil.wait_procs(workers, timeout=10)[1] == []
