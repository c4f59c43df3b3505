"""Object stores: what is fetched and sent, who may write, and what is told when it fails."""

import errno
import stat
import sys
import time
import traceback

import pytest
from object_store import SECRET, forget

from medseg.errors import ResourceError, UnsafeError, UsageError
from medseg.io import remote
from medseg.io.remote import Remote, files_of, known, place_of
from medseg.io.remote_copy import Copy
from medseg.io.remote_work import local_copy, working_folder


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
