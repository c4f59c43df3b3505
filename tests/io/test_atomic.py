"""Files are replaced whole or not at all."""

import os
import socket
import subprocess
import sys

import pytest

from medseg.errors import ResourceError
from medseg.io.atomic import replacing


def host():
    return "".join(c for c in socket.gethostname() if c.isalnum())


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_file_appears_with_its_folder_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as stream:
        stream.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_in_the_block_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def write():
        with replacing(path) as stream:
            stream.write(b"new")
            raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_verify_sees_the_whole_temporary_file_under_the_same_suffix(tmp_path):
    seen = []
    with replacing(
        tmp_path / "a.nii.gz", verify=lambda p: seen.append((p.name[-9:], p.read_bytes()))
    ) as stream:
        stream.write(b"all of it")
    assert seen == [("-a.nii.gz", b"all of it")]


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    orphan = tmp_path / f".tmp-{dead_process()}@{host()}-a.txt"
    of_another_file = tmp_path / f".tmp-{dead_process()}@{host()}-b.txt"
    of_a_living_process = tmp_path / f".tmp-{os.getppid()}@{host()}-a.txt"
    of_somebody_else = tmp_path / f".tmp-notes@{host()}-a.txt"
    of_another_machine = tmp_path / f".tmp-{dead_process()}@{host()}x-a.txt"
    kept = [of_another_file, of_a_living_process, of_somebody_else, of_another_machine]
    for path in (orphan, *kept):
        path.write_bytes(b"half")
    with replacing(tmp_path / "a.txt") as stream:
        stream.write(b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.txt", *kept])


def test_a_folder_without_rights_is_told(tmp_path, monkeypatch):
    def denied(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "replace", denied)
    with (
        pytest.raises(ResourceError, match=r"E-IO.*a\.txt: Permission denied"),
        replacing(tmp_path / "a.txt") as stream,
    ):
        stream.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_may_not_be_signalled_is_alive(tmp_path, monkeypatch):
    def forbidden(_pid, _signal):
        raise PermissionError

    theirs = tmp_path / f".tmp-1@{host()}-a.txt"
    theirs.write_bytes(b"half")
    monkeypatch.setattr(os, "kill", forbidden)
    with replacing(tmp_path / "a.txt") as stream:
        stream.write(b"whole")
    assert theirs.exists()
