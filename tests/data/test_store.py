"""The store: prepared once, found again, rebuilt when anything changed, never half there."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter, namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch

import medseg.data.content as content_module
import medseg.data.entry as entry_module
import medseg.data.store as store_module
from medseg.data import Store
from medseg.errors import DataError, Problem, ResourceError, UsageError
from medseg.io.png import write_slice
from medseg.scan import Scan
from medseg.transforms import preprocessing, reconstruct

ROI = (12, 12)
Usage = namedtuple("Usage", "total used free")


def chain(**changes):
    return preprocessing(organs=("a", "b"), **{"roi_px": ROI, **changes})


def scan_in(folder, case_id="case1", *, seed=0, rle=None):
    """Write a scan of three slices, ten rows and eight columns."""
    folder = folder / case_id
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    files = []
    for k in range(3):
        files.append(folder / f"slice_{k + 1:04d}_8_10_1.50_1.50.png")
        write_slice(files[-1], rng.integers(0, 900, (10, 8)).astype(np.uint16))
    rows = {"a": ("", "3 2", "80 1"), "b": ("", "4 2", "")} if rle is None else rle
    return Scan(case_id, 0, tuple(files), (1, 2, 3), (8, 10), (1.5, 1.5, 3.0), rows)


def item_of(scan):
    item = {"scan_id": scan.scan_id, "case_id": scan.case_id, "image": scan}
    return item if scan.rle is None else {**item, "label": scan}


@pytest.fixture
def scan(tmp_path):
    return scan_in(tmp_path / "data")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def decoded(monkeypatch):
    """Count how often each slice is decoded."""
    count = Counter()
    original = reconstruct.read_slice

    def counted(path):
        count[path.name] += 1
        return original(path)

    monkeypatch.setattr(reconstruct, "read_slice", counted)
    return count


def names_in(store):
    return sorted(path.name for path in store.root.iterdir() if path.name != "index")


# What is stored


def test_what_is_stored_is_what_the_chain_made(store, scan):
    (prepared,) = store.prepare([item_of(scan)], chain())
    made = chain()(item_of(scan))
    image = made["image"][0].permute(2, 1, 0)
    assert prepared.image.dtype == np.float16
    assert prepared.image.shape == (3, 12, 12)
    np.testing.assert_array_equal(prepared.image, image.half().numpy())
    masks = made["label"].permute(0, 3, 2, 1).numpy()
    np.testing.assert_array_equal(prepared.masks, masks[0] + 2 * masks[1])
    assert prepared.channels == 2
    assert prepared.presence == (0, 3, 1)
    assert (prepared.scan_id, prepared.case_id) == ("case1_day0", "case1")
    np.testing.assert_array_equal(prepared.grid.affine_ras_mm, made["image"].affine.numpy())
    assert prepared.grid.shape == made["image"].shape[1:]
    np.testing.assert_array_equal(prepared.native.affine_ras_mm, scan.grid.affine_ras_mm)
    assert prepared.native.shape == (8, 10, 3)


def test_arrays_are_mapped_not_read(store, scan):
    (prepared,) = store.prepare([item_of(scan)], chain())
    assert isinstance(prepared.image, np.memmap)
    assert isinstance(prepared.masks, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        prepared.image[0, 0, 0] = 1


def test_what_goes_to_another_process_holds_no_pixels(store, scan):
    (prepared,) = store.prepare([item_of(scan)], chain())
    assert prepared.image is not None
    assert not any(isinstance(value, np.ndarray) for value in prepared.__getstate__().values())


def test_a_scan_without_labels_has_no_masks(store, scan):
    item = item_of(replace(scan, rle=None))
    (prepared,) = store.prepare([item], chain(keys=("image",)))
    assert prepared.masks is None
    assert prepared.channels == 0
    assert prepared.presence == (0, 0, 0)


def test_items_come_back_in_order_and_progress_is_told(store, tmp_path):
    scans = [scan_in(tmp_path / "data", f"case{n}", seed=n) for n in range(5)]
    told = []
    prepared = store.prepare(
        [item_of(s) for s in scans], chain(), workers=3, progress=lambda *at: told.append(at)
    )
    assert [p.case_id for p in prepared] == [f"case{n}" for n in range(5)]
    assert told == [(n, 5) for n in range(1, 6)]


def test_nothing_to_prepare_gives_nothing(store):
    assert store.prepare([], chain()) == []


# Found again


def test_a_second_run_neither_decodes_nor_hashes(store, scan, monkeypatch):
    (first,) = store.prepare([item_of(scan)], chain())

    def fail(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(reconstruct, "read_slice", fail)
    monkeypatch.setattr(content_module, "_file_hash", fail)
    (second,) = Store(store.root).prepare([item_of(scan)], chain())
    assert second.key == first.key
    np.testing.assert_array_equal(second.image, first.image)


def test_a_copy_elsewhere_is_recognised(store, scan, tmp_path, decoded):
    store.prepare([item_of(scan)], chain())
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    files = tuple(tmp_path / "moved" / "case1" / path.name for path in scan.slice_files)
    (again,) = store.prepare([item_of(replace(scan, slice_files=files, case_id="case9"))], chain())
    assert set(decoded.values()) == {1}
    assert again.case_id == "case9"


def test_a_scan_listed_twice_is_prepared_once(store, scan, decoded):
    a, b = store.prepare([item_of(scan), item_of(scan)], chain(), workers=2)
    assert a.key == b.key
    assert set(decoded.values()) == {1}


# Rebuilt


def changed_byte(scan):
    """Change one pixel in place, and give the file its old time back."""
    path = scan.slice_files[1]
    before = path.stat()
    pixels = reconstruct.read_slice(path).copy()
    pixels[5, 5] += 1
    write_slice(path, pixels)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return scan


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        pytest.param(changed_byte, {}, id="a pixel"),
        pytest.param(lambda s: replace(s, rle={**s.rle, "b": ("", "4 3", "")}), {}, id="a run"),
        pytest.param(lambda s: replace(s, spacing_mm=(1.5, 1.5, 2.5)), {}, id="the spacing"),
        pytest.param(
            lambda s: replace(s, slice_files=s.slice_files[::-1]), {}, id="the order of slices"
        ),
        pytest.param(lambda s: s, {"roi_px": (16, 12)}, id="a parameter"),
        pytest.param(lambda s: s, {"spacing_mm": (1.0, 1.5, 3.0)}, id="another parameter"),
        pytest.param(lambda s: s, {"organs": ("b", "a")}, id="the organs' order"),
    ],
)
def test_what_changed_is_prepared_anew(store, scan, decoded, change, settings):
    (first,) = store.prepare([item_of(scan)], chain())
    made = {"organs": ("a", "b"), "roi_px": ROI, **settings}
    (second,) = store.prepare([item_of(change(scan))], preprocessing(**made))
    assert second.key != first.key
    assert set(decoded.values()) >= {2}


def test_another_version_is_prepared_anew(store, scan, monkeypatch):
    (first,) = store.prepare([item_of(scan)], chain())
    monkeypatch.setattr(store_module, "__version__", "99")
    assert store.prepare([item_of(scan)], chain())[0].key != first.key


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def overwrite_header(path):
    raw = bytearray(path.read_bytes())
    raw[:6] = b"nonsen"
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("image.npy", cut, id="image cut short"),
        pytest.param("masks.npy", cut, id="masks cut short"),
        pytest.param("image.npy", overwrite_header, id="image without header"),
        pytest.param("image.npy", lambda path: path.unlink(), id="image gone"),
        pytest.param("entry.json", lambda path: path.unlink(), id="entry gone"),
        pytest.param("entry.json", cut, id="entry cut short"),
        pytest.param("entry.json", lambda path: path.write_text("[]"), id="entry of another kind"),
        pytest.param("entry.json", lambda path: path.write_text("{}"), id="empty entry"),
    ],
)
def test_a_damaged_entry_is_rebuilt(store, scan, decoded, name, damage):
    (first,) = store.prepare([item_of(scan)], chain())
    image = np.array(first.image)
    damage(first.folder / name)
    (second,) = Store(store.root).prepare([item_of(scan)], chain())
    np.testing.assert_array_equal(second.image, image)
    assert set(decoded.values()) == {2}
    assert names_in(store) == [first.key]


def test_an_entry_under_another_name_is_not_taken(store, scan):
    (first,) = store.prepare([item_of(scan)], chain())
    first.folder.rename(store.root / "elsewhere")
    shutil.copytree(store.root / "elsewhere", first.folder)
    entry = json.loads((first.folder / "entry.json").read_text())
    (first.folder / "entry.json").write_text(json.dumps({**entry, "key": "another"}))
    (again,) = store.prepare([item_of(scan)], chain())
    assert json.loads((again.folder / "entry.json").read_text())["key"] == first.key


def test_a_flipped_bit_is_found_when_checksums_are_asked_for(store, scan, decoded):
    (first,) = store.prepare([item_of(scan)], chain())
    path = first.folder / "image.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    store.prepare([item_of(scan)], chain())
    assert set(decoded.values()) == {1}
    Store(store.root, verify=True).prepare([item_of(scan)], chain())
    assert set(decoded.values()) == {2}
    Store(store.root, verify=True).prepare([item_of(scan)], chain())
    assert set(decoded.values()) == {2}


# Killed, shared, full


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
        cut(folder / "image.npy")
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

    def __init__(self, root):
        self.transforms = chain().transforms
        self._root = root

    def __call__(self, item):
        self._others = Store(self._root).prepare([item], chain())
        self._written = (self._others[0].folder / "image.npy").stat().st_ino
        return chain()(item)


def test_whoever_comes_second_takes_what_the_first_wrote(store, scan):
    overtaken = Overtaken(store.root)
    (prepared,) = store.prepare([item_of(scan)], overtaken)
    assert (prepared.folder / "image.npy").stat().st_ino == overtaken._written
    assert names_in(store) == [prepared.key]


def test_processes_may_prepare_the_same_scans_at_once(store, tmp_path):
    scans = [scan_in(tmp_path / "data", f"case{n}", seed=n) for n in range(3)]
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
    scans = [scan_in(tmp_path / "data", f"case{n}", seed=n) for n in range(4)]
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

    def __init__(self, value, masks=2):
        self.value, self.masks = value, masks

    def __call__(self, item):
        made = chain()(item)
        made["image"] = torch.full_like(made["image"], self.value)
        made["label"] = made["label"][:1].repeat(self.masks, 1, 1, 1)
        return made


@pytest.mark.parametrize("value", [pytest.param(v, id=str(v)) for v in (np.nan, np.inf, -1e5)])
def test_images_that_float16_cannot_hold_are_refused(store, scan, value):
    with pytest.raises(DataError, match="case1_day0: its prepared image is not finite"):
        store.prepare([item_of(scan)], Filling(value))


def test_eight_masks_fit_and_nine_are_refused(store, scan):
    (prepared,) = store.prepare([item_of(scan)], Filling(0.5, masks=8))
    assert prepared.presence == (0, 255, 255)
    with pytest.raises(UsageError, match=r"9 masks \(expected at most 8\)"):
        store.prepare([item_of(scan)], Filling(0.5, masks=9))


def test_an_interrupt_stops_the_work(store, tmp_path):
    scans = [scan_in(tmp_path / "data", f"case{n}", seed=n) for n in range(4)]

    def interrupted(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.prepare([item_of(s) for s in scans], chain(), progress=interrupted)
    assert all(not name.startswith(".tmp") for name in names_in(store))
