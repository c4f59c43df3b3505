"""The store: prepared once, found again, rebuilt when anything changed."""

import json
import os
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_scans import item_of, write_small_scan

import medseg.data.content as content_module
import medseg.data.store as store_module
from medseg.data import Store
from medseg.io import voxels
from medseg.io.png import write_slice
from medseg.transforms import preprocessing


def chain(keys=("image", "label"), **settings):
    return preprocessing(keys, **{"organs": ("a", "b"), "roi_px": (12, 12), **settings})


@pytest.fixture
def scan(tmp_path):
    return write_small_scan(tmp_path / "data")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def decoded(monkeypatch):
    """Count how often each slice is decoded."""
    count = Counter()
    original = voxels.read_slice

    def counted(path):
        count[path.name] += 1
        return original(path)

    monkeypatch.setattr(voxels, "read_slice", counted)
    return count


def names_in(store):
    return sorted(path.name for path in store.root.iterdir() if path.name != "index")


# What is stored


def test_what_is_stored_is_what_the_chain_made(store, scan):
    (prepared,) = store.prepare([item_of(scan)], chain())
    made = chain()(item_of(scan))
    image = made["image"].permute(3, 0, 2, 1)
    assert prepared.image.dtype == np.float16
    assert prepared.image.shape == (3, 1, 12, 12)
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


def mapped_bytes(folder):
    """Return how much of the files in a folder this process has mapped into its memory."""
    maps = Path("/proc/self/smaps").read_text().split("VmFlags")
    return sum(
        int(re.search(r"Size: +(\d+)", part)[1]) << 10 for part in maps if str(folder) in part
    )


def test_arrays_are_mapped_while_they_are_held(store, scan):
    (prepared,) = store.prepare([item_of(scan)], chain())
    image = prepared.image
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1
    if sys.platform == "linux":
        assert mapped_bytes(store.root) > 0
        del image
        assert mapped_bytes(store.root) == 0


def test_what_goes_to_another_process_holds_no_pixels(store, scan):
    (prepared,) = store.prepare([item_of(scan)], chain())
    assert prepared.image is not None
    assert not any(isinstance(value, np.ndarray) for value in vars(prepared).values())


def test_a_scan_without_labels_has_no_masks(store, scan):
    item = item_of(replace(scan, rle=None))
    (prepared,) = store.prepare([item], chain(keys=("image",)))
    assert prepared.masks is None
    assert prepared.channels == 0
    assert prepared.presence == (0, 0, 0)


def test_items_come_back_in_order_and_progress_is_told(store, tmp_path):
    scans = [write_small_scan(tmp_path, f"case{n}", seed=n) for n in range(5)]
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

    monkeypatch.setattr(voxels, "read_slice", fail)
    monkeypatch.setattr(content_module, "_file_hash", fail)
    (second,) = Store(store.root).prepare([item_of(scan)], chain())
    assert second.key == first.key
    np.testing.assert_array_equal(second.image, first.image)


def test_a_copy_elsewhere_is_recognised(store, scan, tmp_path, decoded):
    store.prepare([item_of(scan)], chain())
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    files = tuple(tmp_path / "moved" / "case1" / path.name for path in scan.slice_files)
    (again,) = store.prepare(
        [item_of(replace(scan, slice_files=files, scan_id="case9_day0"))], chain()
    )
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
    pixels = voxels.read_slice(path).copy()
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
    (second,) = store.prepare([item_of(change(scan))], chain(**settings))
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


def columns_first(path):
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"'fortran_order': False", b"'fortran_order': True ", 1))


def endless(path):
    path.write_text("[" * 100_000)


def infinite(path):
    entry = json.loads(path.read_text())
    entry["native"]["shape"] = [float("inf")] * 3
    path.write_text(json.dumps(entry))


def other_grid(path):
    entry = json.loads(path.read_text())
    entry["grid"]["shape"][0] += 1
    path.write_text(json.dumps(entry))


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
        pytest.param("image.npy", columns_first, id="image in another order"),
        pytest.param("entry.json", other_grid, id="grid of another size"),
        pytest.param("entry.json", endless, id="entry nested without end"),
        pytest.param("entry.json", infinite, id="grid without end"),
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
