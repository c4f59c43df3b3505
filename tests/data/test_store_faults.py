"""The store when something goes wrong: kills, other processes, full disks, faulty scans."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest
import torch
from tiny_scans import item_of, write_small_scan

import medseg.data.entry as entry_module
import medseg.data.store as store_module
from medseg.data import Store
from medseg.errors import DataError, Problem, ResourceError, UsageError
from medseg.transforms import preprocessing

Usage = namedtuple("Usage", "total used free")


def chain(keys=("image", "label"), **settings):
    return preprocessing(keys, **{"organs": ("a", "b"), "roi_px": (12, 12), **settings})


@pytest.fixture
def scan(tmp_path):
    return write_small_scan(tmp_path / "data")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def names_in(store):
    return sorted(path.name for path in store.root.iterdir() if path.name != "index")


def dead_pid():
    """Return the number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_what_a_killed_process_left_is_no_entry_and_is_removed(store, scan):
    host = "".join(c for c in socket.gethostname() if c.isalnum())
    (first,) = store.prepare([item_of(scan)], chain())
    left = store.root / f".tmp-{host}-{dead_pid()}-abc"
    running = store.root / f".tmp-{host}-{os.getpid()}-abc"
    elsewhere = store.root / ".tmp-otherhost-1-abc"
    for folder in (left, running, elsewhere):
        shutil.copytree(first.folder, folder)
        (folder / "image.npy").write_bytes(b"half")
    shutil.rmtree(first.folder)
    (again,) = store.prepare([item_of(scan)], chain())
    assert names_in(store) == sorted([running.name, elsewhere.name, again.key])


def test_a_process_killed_while_it_writes_leaves_nothing_readable(store, scan, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(folder):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(entry_module, "sync_folder", killed)
        # A killed process runs no clean-up either.
        patch.setattr(store_module.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            store.prepare([item_of(scan)], chain())
    (left,) = names_in(store)
    assert left.startswith(".tmp-")
    (again,) = store.prepare([item_of(scan)], chain())
    assert again.key in names_in(store)


def test_a_failed_transform_leaves_nothing(store, scan):
    def fail(item):
        raise DataError(Problem("E-IO", item["scan_id"], "no luck"))

    with pytest.raises(DataError, match="case1_day0: no luck"):
        store.prepare([item_of(scan)], fail)
    assert names_in(store) == []


class Overtaken:
    """The chain, during which somebody else prepares the same scan."""

    def __init__(self, root, chain):
        self.transforms = chain.transforms
        self._chain, self._root = chain, root

    def __call__(self, item):
        self._others = Store(self._root).prepare([item], self._chain)
        self._written = (self._others[0].folder / "image.npy").stat().st_ino
        return self._chain(item)


def test_whoever_comes_second_takes_what_the_first_wrote(store, scan):
    overtaken = Overtaken(store.root, chain())
    (prepared,) = store.prepare([item_of(scan)], overtaken)
    assert (prepared.folder / "image.npy").stat().st_ino == overtaken._written
    assert names_in(store) == [prepared.key]


def test_processes_may_prepare_the_same_scans_at_once(store, tmp_path):
    scans = [write_small_scan(tmp_path, f"case{n}", seed=n) for n in range(3)]
    items, results = [item_of(s) for s in scans], []

    def work():
        # A store of its own shares no locks, as another process would not.
        results.append(Store(store.root).prepare(items, chain()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert names_in(store) == sorted(p.key for p in results[0])
    Store(store.root, verify=True).prepare(items, chain())
    for prepared in results[1:]:
        assert [p.key for p in prepared] == [p.key for p in results[0]]


def test_a_disk_without_room_is_told_before_writing(store, scan, monkeypatch):
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: Usage(9, 9, 5 << 20))
    with pytest.raises(ResourceError, match=r"E-DISK.*16 MiB needed, 5 MiB available"):
        store.prepare([item_of(scan)], chain())
    assert names_in(store) == []


def test_a_disk_that_fills_up_leaves_nothing_behind(store, scan, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(entry_module.os, "fsync", full)
    with pytest.raises(ResourceError, match=r"E-DISK.*the disk is full.*Fix: free some space"):
        store.prepare([item_of(scan)], chain())
    assert names_in(store) == []


def test_a_folder_that_is_a_file_is_told(tmp_path, scan):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"E-IO.*file"):
        Store(tmp_path / "file" / "store").prepare([item_of(scan)], chain())


# Faulty items


def test_faults_of_all_scans_are_told_and_the_sound_ones_prepared(store, tmp_path):
    scans = [write_small_scan(tmp_path, f"case{n}", seed=n) for n in range(4)]
    scans[2].slice_files[0].write_bytes(b"")
    scans[0].slice_files[2].unlink()
    with pytest.raises(DataError, match="case0") as caught:
        store.prepare([item_of(s) for s in scans], chain(), workers=2)
    assert [p.code for p in caught.value.problems] == ["E-IO", "E-EMPTY"]
    assert len(names_in(store)) == 2


def test_a_scan_may_be_mended(store, scan):
    whole = scan.slice_files[0].read_bytes()
    scan.slice_files[0].write_bytes(b"")
    with pytest.raises(DataError, match="E-EMPTY"):
        store.prepare([item_of(scan)], chain())
    scan.slice_files[0].write_bytes(whole)
    assert len(store.prepare([item_of(scan)], chain())) == 1


class Filling:
    """A transform that gives every image one value."""

    def __init__(self, chain, value, masks=2):
        self.value, self.masks, self._chain = value, masks, chain

    def __call__(self, item):
        made = self._chain(item)
        made["image"] = torch.full_like(made["image"], self.value)
        made["label"] = made["label"][:1].repeat(self.masks, 1, 1, 1)
        return made


@pytest.mark.parametrize("value", [pytest.param(v, id=str(v)) for v in (np.nan, np.inf, -1e5)])
def test_images_that_float16_cannot_hold_are_refused(store, scan, value):
    with pytest.raises(DataError, match="case1_day0: its prepared image is not finite"):
        store.prepare([item_of(scan)], Filling(chain(), value))


def test_eight_masks_fit_and_nine_are_refused(store, scan):
    (prepared,) = store.prepare([item_of(scan)], Filling(chain(), 0.5, masks=8))
    assert prepared.presence == (0, 255, 255)
    with pytest.raises(UsageError, match=r"9 masks \(expected at most 8\)"):
        store.prepare([item_of(scan)], Filling(chain(), 0.5, masks=9))


def test_an_interrupt_stops_the_work(store, tmp_path):
    scans = [write_small_scan(tmp_path, f"case{n}", seed=n) for n in range(4)]

    def interrupted(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.prepare([item_of(s) for s in scans], chain(), progress=interrupted)
    assert all(not name.startswith(".tmp") for name in names_in(store))
