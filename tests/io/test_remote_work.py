"""Work in an object store: what is sent when, who may write, and who goes on with it."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from object_store import forget

from medseg.errors import ResourceError, UsageError
from medseg.io import lock
from medseg.io.atomic import also_called, replacing
from medseg.io.lock import LOCK, holder, locked
from medseg.io.remote import create, known, place_of, replaced
from medseg.io.remote_work import address_of, brought, owned, working_folder
from medseg.stages.begin import Request
from medseg.stages.display import Silent
from medseg.stages.pipeline import run_pipeline
from medseg.stages.track import _tell_of_store


def write(path, content):
    with replacing(path) as stream:
        stream.write(content)


def elsewhere(monkeypatch, tmp_path, name="elsewhere"):
    """Be a process of the same machine with nothing copied yet."""
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / name))
    forget()


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_are_sent_as_they_become_whole(s3):
    folder = working_folder(s3.address("runs")) / "run"
    folder.mkdir()
    write(folder / "config.json", b"before it is owned")
    with owned(folder):
        assert s3.names() == ["runs/run/config.json", f"runs/run/{LOCK}"]
        write(folder / "last.pt", b"weights")
        assert s3.read("runs/run/last.pt") == b"weights"
        also_called(folder / "last.pt", folder / "best.pt")
        assert s3.read("runs/run/best.pt") == b"weights"
        write(folder.parent / "beside.txt", b"not of this run")
        (folder / "log.txt").write_bytes(b"not written as a whole")
        write(folder / "gone.txt", b"for a while")
        (folder / "gone.txt").unlink()
    expected = {"config.json", "last.pt", "best.pt", "log.txt"}
    assert {*s3.names()} == {f"runs/run/{name}" for name in expected}
    assert s3.read("runs/run/log.txt") == b"not written as a whole"
    assert not (folder / LOCK).exists()


def test_of_two_names_of_one_file_the_second_is_copied_in_the_store(s3, monkeypatch):
    folder = working_folder(s3.address("runs")) / "run"
    sent = []
    system = place_of(s3.address("runs")).system
    put = system.put_file
    monkeypatch.setattr(
        system, "put_file", lambda path, to: (sent.append(to.rpartition("/")[2]), put(path, to))
    )
    with owned(folder):
        write(folder / "last.pt", b"1")
        also_called(folder / "last.pt", folder / "previous.pt")
        write(folder / "last.pt", b"2")
        also_called(folder / "last.pt", folder / "best.pt")
    assert sent == ["last.pt", "last.pt"]
    names = ("last.pt", "previous.pt", "best.pt")
    assert [s3.read(f"runs/run/{name}") for name in names] == [b"2", b"1", b"2"]


def test_another_machine_goes_on_from_the_store(s3, monkeypatch, tmp_path):
    with owned(folder := working_folder(s3.address("runs")) / "run"):
        write(folder / "a.txt", b"one")
    elsewhere(monkeypatch, tmp_path)
    other = working_folder(s3.address("runs")) / "run"
    assert other != folder
    assert not other.exists()
    assert brought(other.parent, pattern="*/a.*") == other.parent
    with owned(brought(other)):
        assert contents(other)["a.txt"] == b"one"
        (other / "a.txt").unlink()
        write(other / "b.txt", b"two")
    assert s3.names() == ["runs/run/b.txt"]


def test_what_was_not_fetched_is_not_taken_for_removed(s3):
    folder = working_folder(s3.address("runs"))
    s3.write("runs/run/a.txt", b"one")
    brought(folder, pattern="*/a.txt")
    (folder / "run" / "a.txt").unlink()
    with owned(folder / "run"):
        write(folder / "run" / "b.txt", b"two")
    assert s3.names() == ["runs/run/a.txt", "runs/run/b.txt"]


def test_work_on_what_somebody_changed_meanwhile_does_not_begin(s3):
    folder = working_folder(s3.address("runs")) / "run"
    with owned(folder):
        write(folder / "a.txt", b"one")
    s3.write("runs/run/a.txt", b"1")
    with pytest.raises(ResourceError, match=r"E-REMOTE.*a\.txt was written by"), owned(folder):
        pytest.fail("it would be overwritten")
    assert s3.names() == ["runs/run/a.txt"]
    with owned(brought(folder)):
        assert contents(folder)["a.txt"] == b"1"


def test_a_folder_of_the_disk_is_only_locked(tmp_path):
    with owned(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).exists()
    assert address_of(tmp_path / "run") == str(tmp_path / "run")


def left(s3, **changes):
    said = {**holder(), "host": "box", "since": "2026-01-02T03:04:05+00:00", **changes}
    s3.write(f"runs/run/{LOCK}", json.dumps(said).encode())
    return said


def test_a_run_at_work_on_another_machine_is_refused(s3):
    folder = working_folder(s3.address("runs")) / "run"
    left(s3, machine="another")
    where = s3.address(f"runs/run/{LOCK}")
    told = rf"E-LOCKED.*process \d+ on box .* since 2026-01-02T03:04:05\+00:00.*remove {where}"
    with pytest.raises(ResourceError, match=told), owned(folder):
        pytest.fail("two are at work")
    assert s3.names() == [f"runs/run/{LOCK}"]
    with locked(folder):
        pass  # the lock of this machine was given back


def test_the_lock_of_a_dead_process_of_this_machine_is_taken_over(s3):
    folder = working_folder(s3.address("runs")) / "run"
    left(s3, process="12")
    with owned(folder):
        assert json.loads(s3.read(f"runs/run/{LOCK}"))["process"] == lock._began(holder()["pid"])
    assert s3.names() == []


def test_a_dead_lock_that_nobody_may_replace_is_told(s3, monkeypatch):
    folder = working_folder(s3.address("runs")) / "run"
    left(s3, process="12")
    monkeypatch.setattr("medseg.io.remote_work.replaced", lambda *_words: False)
    with pytest.raises(ResourceError, match="it is dead: remove s3://"), owned(folder):
        pytest.fail("nobody knows who else takes it")


def test_a_lock_that_somebody_else_has_put_there_stays(s3):
    folder = working_folder(s3.address("runs")) / "run"
    with owned(folder):
        said = left(s3, machine="another")
    assert json.loads(s3.read(f"runs/run/{LOCK}")) == said


def test_of_many_that_create_one_file_one_does(s3):
    place = place_of(s3.address("lock"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: create(place, str(n).encode()), range(8)))
    assert sorted(made) == [False] * 7 + [True]
    assert s3.read("lock") == str(made.index(True)).encode()


def test_of_many_that_replace_one_file_one_does(s3):
    place = place_of(s3.address("lock"))
    create(place, b"dead")
    mark = known(place).mark
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: replaced(place, str(n).encode(), mark), range(8)))
    assert sorted(made) == [False] * 7 + [True]
    assert s3.read("lock") == str(made.index(True)).encode()


def test_where_nothing_can_be_locked_nothing_is_done(s3, monkeypatch):
    folder = working_folder(s3.address("runs")) / "run"
    system = place_of(s3.address("runs")).system
    plain = system.pipe_file
    monkeypatch.setattr(system, "pipe_file", lambda path, value, **_mode: plain(path, value))
    with pytest.raises(ResourceError, match=r"E-REMOTE.*told to keep"), owned(folder):
        pytest.fail("others may be at work")
    assert s3.names() == []


def test_a_run_that_another_process_of_this_machine_works_on_is_not_fetched(s3):
    folder = working_folder(s3.address("runs")) / "run"
    with owned(folder):
        write(folder / "a.txt", b"one")
    s3.write("runs/run/a.txt", b"1")
    with locked(folder):
        with pytest.raises(ResourceError, match=r"E-LOCKED.*run: process"):
            brought(folder)
        assert (folder / "a.txt").read_bytes() == b"one"


def test_runs_of_many_machines_are_not_sent_from_one(s3, tmp_path):
    output = working_folder(s3.address("runs"))
    asked = Request("x", output=output, machines=object())
    with pytest.raises(UsageError, match=r"E-REMOTE.*s3://.*/runs: is sent from this machine only"):
        run_pipeline(tmp_path / "x.yaml", asked, Silent())


def test_where_mlflow_keeps_runs_of_a_store_is_told_once(s3, caplog):
    output = working_folder(s3.address("runs"))
    for _ in range(2):
        _tell_of_store(output)
    (record,) = caplog.records
    assert "W-TRACKING-LOCAL" in record.getMessage()
    assert "--tracking-uri" in record.getMessage()
