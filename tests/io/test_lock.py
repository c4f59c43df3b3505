"""One process at a time writes into a folder, and the dead lock nobody out."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from medseg.errors import ResourceError
from medseg.io import lock
from medseg.io.lock import LOCK, holder, locked

HERE = Path(__file__).parent
HOLDS = """
import sys, medseg.io.lock
with medseg.io.lock.locked(medseg.io.lock.Path(sys.argv[1])):
    print("at work", flush=True)
    sys.stdin.read(1)
"""


@pytest.fixture(autouse=True)
def _no_scheduler(monkeypatch):
    for name in ("MEDSEG_JOB", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def left(folder, **changes):
    """Leave a lock as another process of this machine did, which lives unless it is changed."""
    folder.mkdir(exist_ok=True)
    other = os.getppid()
    said = {**holder(), "pid": other, "process": lock._began(other), "host": "box", **changes}
    (folder / LOCK).write_text(json.dumps(said))
    return folder


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.fixture
def at_work(tmp_path):
    """A folder, and the process that works there."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        yield tmp_path / "run", process


def test_a_process_at_work_is_named_and_may_be_waited_for(at_work):
    folder, process = at_work
    with (
        pytest.raises(
            ResourceError, match=rf"E-LOCKED.*run: process {process.pid} on .* since 20"
        ) as told,
        locked(folder),
    ):
        pytest.fail("two are at work")
    assert "remove" not in told.value.problems[0].fix
    process.communicate(b"\n")
    assert list(folder.parent.iterdir()) == []  # it was made for nothing
    with locked(folder):
        assert json.loads((folder / LOCK).read_text())["pid"] == os.getpid()


def test_the_lock_of_a_killed_process_is_no_hindrance(at_work):
    folder, process = at_work
    process.kill()
    process.wait()
    assert (folder / LOCK).exists()
    with locked(folder):
        assert json.loads((folder / LOCK).read_text())["pid"] == os.getpid()
    assert list(folder.parent.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("before", [pytest.param(k, id=k) for k in ("none", "stale")])
def test_of_four_that_ask_at_once_one_gets_it(before, tmp_path):
    script = HERE / "lock_race.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path, "20", before], capture_output=True, text=True, check=True
    )
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["1", "3"]] * 20
    assert done.stderr == ""


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"process": "12"}, id="its number is another process's now"),
        pytest.param({"boot": "before"}, id="the machine was started anew"),
    ],
)
def test_what_cannot_be_at_work_any_more_is_taken_over(changes, tmp_path):
    with locked(left(tmp_path / "run", **changes)):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("held", "own"),
    [
        pytest.param(
            {"job": "slurm 7", "start": "0"},
            {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"},
            id="requeued by Slurm",
        ),
        pytest.param({"job": "pod", "start": "before"}, {"MEDSEG_JOB": "pod"}, id="as it is told"),
        pytest.param(
            {"job": "torchrun 7", "start": "before"},
            {"TORCHELASTIC_RUN_ID": "7", "SLURM_JOB_ID": "9"},
            id="rank 0 has moved",
        ),
    ],
)
def test_the_lock_of_a_job_s_start_before_is_taken_over(held, own, tmp_path, monkeypatch):
    folder = left(tmp_path / "run", machine="another", **held)
    with pytest.raises(ResourceError, match="E-LOCKED"), locked(folder):
        pytest.fail("without a scheduler nobody knows")
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with locked(folder):
        assert json.loads((folder / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("held", "own"),
    [
        pytest.param(
            {"job": "slurm 7", "start": "1", "machine": "another"},
            {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"},
            id="two tasks of one start",
        ),
        pytest.param(
            {"job": "slurm 7", "machine": "another"}, {"SLURM_JOB_ID": "8"}, id="another job"
        ),
        pytest.param(
            {"job": "torchrun none", "machine": "another"},
            {"TORCHELASTIC_RUN_ID": "none"},
            id="a launcher without a name",
        ),
    ],
)
def test_the_lock_of_another_task_is_not_taken_over(held, own, tmp_path, monkeypatch):
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    folder = left(tmp_path / "run", **held)
    with pytest.raises(ResourceError, match="E-LOCKED"), locked(folder):
        pytest.fail("it may be at work")


def test_two_processes_of_one_start_do_not_take_each_other_s(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_JOB", "pod")
    folder = left(tmp_path / "run")
    with pytest.raises(ResourceError, match="E-LOCKED"), locked(folder):
        pytest.fail("it is at work")


def test_a_child_that_nobody_waited_for_is_dead(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        began = lock._began(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with locked(left(tmp_path / "run", pid=child.pid, process=began)):
            pass


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"machine": "another"}, "on box has been at work", id="another machine"),
        pytest.param({"container": "pid:[1]"}, "it is in another container", id="a container"),
        pytest.param({"pid": None}, "process None on box", id="no process"),
    ],
)
def test_what_cannot_be_judged_from_here_is_refused(changes, why, tmp_path):
    folder = left(tmp_path / "run", since="2026-01-02T03:04:05+00:00", **changes)
    before = (folder / LOCK).read_bytes()
    with (
        pytest.raises(ResourceError, match=r"since 2026-01-02T03:04:05\+00:00") as told,
        locked(folder),
    ):
        pytest.fail("nobody knows whether two are at work")
    assert why in str(told.value)
    assert f"dead, remove {folder / LOCK}" in str(told.value)
    assert (folder / LOCK).read_bytes() == before


@pytest.mark.parametrize(
    "content", [pytest.param(b"", id="empty"), pytest.param(b"[1]", id="of another kind")]
)
def test_a_lock_that_says_nothing_is_refused(content, tmp_path):
    (tmp_path / LOCK).write_bytes(content)
    expected = rf"process unknown on an unknown machine.*remove {tmp_path / LOCK}"
    with pytest.raises(ResourceError, match=expected), locked(tmp_path):
        pytest.fail("nobody knows")
    assert list(tmp_path.iterdir()) == [tmp_path / LOCK]


def test_a_process_whose_beginning_is_hidden_lives(tmp_path, monkeypatch):
    folder = left(tmp_path / "run", process="12")
    monkeypatch.setattr(lock, "_PROCESSES", tmp_path)

    def hidden(pid):
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", hidden)
    with pytest.raises(ResourceError, match="E-LOCKED"), locked(folder):
        pytest.fail("it may be at work")


def test_where_no_ticks_are_told_seconds_are(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_PROCESSES", tmp_path)
    assert lock._began(os.getpid()) == str(psutil.Process().create_time())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert lock._began(child.pid) == "dead"


def test_of_two_that_find_a_dead_lock_the_second_looks_again(tmp_path, monkeypatch):
    folder = left(tmp_path / "run", pid=dead_process(), process="12")

    def overtaken(stream, _kind):
        monkeypatch.undo()
        (folder / LOCK).unlink()
        left(folder)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with pytest.raises(ResourceError, match=r"E-LOCKED.*on box"), locked(folder):
        pytest.fail("the other one is at work")


def test_a_dead_lock_is_taken_over_by_one_after_the_other(tmp_path):
    folder = left(tmp_path / "run", pid=dead_process(), process="12")
    got = threading.Event()

    def take():
        with locked(folder):
            got.set()

    with (folder / LOCK).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=take)
        thread.start()
        assert not got.wait(0.2)
    thread.join()
    assert got.is_set()


def test_without_links_a_lock_is_made_all_the_same(tmp_path, monkeypatch):
    def none(_source, _target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", none)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        with pytest.raises(ResourceError, match="E-LOCKED"), locked(tmp_path):
            pytest.fail("two are at work")
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_is_the_own_one(tmp_path, monkeypatch):
    real = os.link

    def lost(source, target):
        real(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", lost)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_another_one_at_each_look_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_is_still", lambda _path, _descriptor: False)
    folder = left(tmp_path / "run")
    with pytest.raises(ResourceError, match=r"E-LOCKED.*try again"), locked(folder):
        pytest.fail("it is somebody's")


def test_a_forked_process_leaves_the_lock_of_its_parent(tmp_path):
    with locked(tmp_path):
        said = json.loads((tmp_path / LOCK).read_text())
        lock._release(tmp_path / LOCK, {**said, "pid": os.getppid()})
        assert (tmp_path / LOCK).exists()


def test_a_lock_that_was_removed_and_made_anew_is_not_the_own_one(tmp_path):
    with locked(tmp_path):
        left(tmp_path)
    assert json.loads((tmp_path / LOCK).read_text())["host"] == "box"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ResourceError, match=r"E-IO.*Not a directory"),
        locked(tmp_path / "file" / "x"),
    ):
        pytest.fail("there is no such folder")
