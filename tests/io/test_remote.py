"""Object stores: what is fetched and sent, who may write, and what is told when it fails."""

import errno
import json
import stat
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from object_store import SECRET, forget

from medseg.errors import ResourceError, UnsafeError, UsageError
from medseg.io import lock, remote
from medseg.io.atomic import also_called, replacing
from medseg.io.lock import LOCK, holder, locked
from medseg.io.remote import Remote, create, files_of, known, place_of, replaced
from medseg.io.remote_copy import Copy
from medseg.io.remote_work import address_of, brought, local_copy, owned, working_folder
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


@pytest.mark.parametrize(
    ("address", "told"),
    [
        pytest.param(
            "ftp://host/x", r"ftp://: is no known object store \(expected s3://", id="ftp"
        ),
        pytest.param("file:///etc", "is no known object store", id="a disk"),
        pytest.param("simplecache::s3://b/x", "is no folder|no known", id="a chain"),
        pytest.param("s3://", r"is no folder \(expected s3://BUCKET/FOLDER\)", id="nothing"),
        pytest.param("s3://bucket/../other", "is no folder", id="upwards"),
        pytest.param("s3://bucket//x", "is no folder", id="an empty name"),
    ],
)
def test_what_is_no_address_is_told(address, told):
    with pytest.raises(UsageError, match=rf"E-REMOTE.*{told}"):
        place_of(address)


def test_a_login_in_an_address_is_refused_and_not_told():
    with pytest.raises(UsageError, match="an address with a login in it") as error:
        place_of(f"s3://{SECRET}:{SECRET}@bucket/folder")
    assert SECRET not in str(error.value)


def test_a_folder_is_fetched_once(s3):
    s3.write("in/a.txt", b"one")
    s3.write("in/deep/b.txt", b"two")
    s3.write("in/empty/", b"")  # what consoles leave
    folder = local_copy(s3.address("in"))
    assert contents(folder) == {"a.txt": b"one", "deep/b.txt": b"two"}
    before = (folder / "a.txt").stat()
    s3.write("in/deep/b.txt", b"2")
    s3.write("in/c.txt", b"three")
    assert local_copy(s3.address("in")) == folder
    assert contents(folder) == {"a.txt": b"one", "deep/b.txt": b"2", "c.txt": b"three"}
    assert (folder / "a.txt").stat() == before


def test_a_copy_gives_way_to_the_store(s3):
    s3.write("in/a.txt", b"one")
    s3.write("in/b.txt", b"two")
    folder = local_copy(s3.address("in"))
    (folder / "a.txt").write_bytes(b"ONE")
    (folder / "mine.txt").write_bytes(b"")
    s3.client.delete_object(Bucket=s3.bucket, Key="in/b.txt")
    local_copy(s3.address("in"))
    assert contents(folder) == {"a.txt": b"one"}


def test_one_file_is_fetched_without_its_neighbours(s3):
    s3.write("in/scan.nii.gz", b"voxels")
    s3.write("in/other.nii.gz", b"more")
    path = local_copy(s3.address("in/scan.nii.gz"))
    assert (path.name, path.read_bytes()) == ("scan.nii.gz", b"voxels")
    assert list(path.parent.iterdir()) == [path]


def test_copies_are_for_the_eyes_of_one(s3):
    s3.write("in/a.txt", b"one")
    home = Copy(place_of(s3.address("in")), use="inputs").home
    local_copy(s3.address("in"))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../evil", id="upwards"),
        pytest.param("a/../../evil", id="upwards from below"),
        pytest.param("/evil", id="from the root"),
        pytest.param("a\\evil", id="a path of Windows"),
        pytest.param("c:evil", id="a drive"),
        pytest.param("a\0b", id="no letter"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name, s3, monkeypatch, tmp_path):
    system = place_of(s3.address("in")).system
    found = {f"{s3.bucket}/in/{name}": {"size": 4, "ETag": "1"}}
    monkeypatch.setattr(system, "find", lambda *_args, **_options: found)
    with pytest.raises(UnsafeError, match="E-REMOTE-NAME"):
        local_copy(s3.address("in"))
    assert not list(tmp_path.rglob("*evil*"))


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


class Hiccups:
    """A call that fails some times before it does what it should."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self, *_words):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_a_hiccup_is_waited_for(monkeypatch):
    paused = []
    monkeypatch.setattr(time, "sleep", paused.append)
    call = Hiccups(ConnectionResetError(), TimeoutError())
    assert remote.called(place_of("s3://b/x"), call) == "done"
    assert paused == [0.5, 2.0]


@pytest.mark.parametrize(
    ("error", "calls", "kind", "told"),
    [
        pytest.param(PermissionError(SECRET), 1, ResourceError, "access was denied", id="denied"),
        pytest.param(FileNotFoundError(SECRET), 1, UsageError, "no such bucket", id="absent"),
        pytest.param(ConnectionError(SECRET), 3, ResourceError, "does not answer", id="away"),
        pytest.param(
            OSError(errno.EIO, SECRET), 3, ResourceError, r"failed \(OSError EIO\)", id="broken"
        ),
        pytest.param(ValueError(SECRET), 3, ResourceError, r"failed \(ValueError\)", id="strange"),
    ],
)
def test_what_fails_is_told_by_its_kind(error, calls, kind, told, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    call = Hiccups(*[error] * 3)
    with pytest.raises(kind, match=rf"E-REMOTE\]: s3://b/x: .*{told}") as raised:
        remote.called(place_of("s3://b/x"), call)
    assert call.calls == calls
    assert SECRET not in str(raised.value)


def test_a_full_disk_here_is_no_fault_of_the_store(s3, monkeypatch):
    s3.write("in/a.txt", b"one")
    system = place_of(s3.address("in")).system

    def full(_from, _to):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(system, "get_file", full)
    with pytest.raises(ResourceError, match=r"E-DISK.*a\.txt: No space left"):
        local_copy(s3.address("in"))


def test_a_file_that_arrives_in_part_is_not_there(s3, monkeypatch, tmp_path):
    s3.write("in/a.txt", b"one")
    monkeypatch.setattr(
        "medseg.io.remote_copy.files_of", lambda _place: {"a.txt": Remote(size=4, mark="m")}
    )
    with pytest.raises(ResourceError, match=r"3 bytes arrived \(expected 4\)"):
        local_copy(s3.address("in"))
    assert [p for p in tmp_path.rglob("*a.txt") if p.is_file()] == []


@pytest.mark.parametrize("work", [pytest.param(w, id=w) for w in ("read", "write")])
def test_a_bucket_that_is_not_there_is_told(work, s3):
    s3.bucket = "no-such-bucket"
    with pytest.raises(UsageError, match=r"E-REMOTE.*no such bucket"):
        (local_copy if work == "read" else working_folder)(s3.address("x"))


def test_nothing_at_an_address_is_told(s3):
    with pytest.raises(UsageError, match=r"E-REMOTE.*/none: there is no such"):
        local_copy(s3.address("none"))


def test_a_store_that_is_down_is_told(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    with pytest.raises(ResourceError, match=r"E-REMOTE.*does not answer") as raised:
        working_folder(s3.address("runs"))
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_no_credentials_are_told(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(ResourceError, match=r"E-REMOTE.*no usable credentials"):
        local_copy(s3.address("in"))


@pytest.mark.parametrize(
    ("protocol", "fix"),
    [
        pytest.param("s3", r"pip install 'medseg\[scale\]'", id="s3"),
        pytest.param("gs", "pip install 'gcsfs'", id="gs"),
    ],
)
def test_a_package_that_is_missing_is_named(protocol, fix, monkeypatch):
    forget()
    for name in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"E-REMOTE.*which is not installed.*{fix}"):
        local_copy(f"{protocol}://bucket/x")


def test_what_the_store_says_it_holds_is_what_is_there(s3):
    s3.write("in/a.txt", b"one")
    place = place_of(s3.address("in"))
    (facts,) = files_of(place).values()
    assert facts == known(place.below("a.txt"))
    assert facts.size == 3


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
