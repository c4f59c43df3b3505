"""Batches equal the data set's items to the bit, wherever the voxels are, and threads end."""

import gc
import logging
import threading
import time

import numpy as np
import pytest
import torch
from nnunet_layout import LABELS, MANIFEST, write_scans
from tiny_scans import item_of, write_scan

import medseg.data.batches as batches_module
from medseg.data import EpochSampler, SliceBatches, SliceDataset, read_manifest, read_scans
from medseg.data.batches import in_advance
from medseg.data.resident import ResidentVoxels
from medseg.errors import UsageError
from medseg.transforms import preprocessing

ROI = (10, 8)
SIZES = [(3, 14, 11), (5, 10, 8), (4, 12, 20)]  # slices, rows, columns; noise fills them


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    rng = np.random.default_rng(0)
    scans = [
        write_scan(
            folder / "data",
            rng.integers(1, 900, size),
            masks={organ: rng.random(size) < 0.3 for organ in "abc"},
            case_id=f"case{number}",
        )
        for number, size in enumerate(SIZES)
    ]
    items = [item_of(scan) for scan in scans]
    chain = preprocessing(organs="abc", roi_px=ROI)

    def make(**changes):
        known = {"store_dir": folder / "store", "roi_px": ROI, "seed": 7}
        return SliceDataset(items, chain, **(known | changes))

    made = make()
    assert [scan.grid.shape[::-1] for scan in made.scans] == SIZES
    return make


def batches(data, **changes):
    known = {"batch_size": 5, "sampler": EpochSampler(data, seed=1)}
    return SliceBatches(data, **(known | changes))


def threads():
    return [each for each in threading.enumerate() if each.name.startswith("medseg-ahead")]


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        equal = torch.equal(a[key], b[key]) if torch.is_tensor(a[key]) else a[key] == b[key]
        assert equal, key


WAYS = [
    pytest.param({"resident": True}, id="resident"),
    pytest.param({"resident": False}, id="streamed"),
    pytest.param({"resident": False, "ahead": 0}, id="read when wanted"),
    pytest.param({"resident": False, "ahead": 9}, id="far ahead"),
    pytest.param({}, id="as shipped"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({}, id="2D"),
        pytest.param({"neighbours": 3}, id="2.5D"),
        pytest.param({"neighbours": 5, "stride": 2}, id="2.5D at stride 2"),
        pytest.param({"neighbours": 3, "roi_px": (6, 7)}, id="smaller windows"),
        pytest.param({"roi_px": [10, 3]}, id="narrow windows"),
    ],
)
def test_batches_are_the_items_stacked(dataset, way, shape):
    data = dataset(**shape)
    order = EpochSampler(data, seed=1)
    served = batches(data, **way)
    for _ in range(2):  # epochs
        wanted = list(order)
        found = list(served)
        assert len(found) == len(served) == len(data) // 5
        for number, batch in enumerate(found):
            items = [data[where] for where in wanted[5 * number : 5 * number + 5]]
            expected = torch.utils.data.default_collate(items)
            same(batch, expected)
            assert batch["image"].dtype == torch.float32
            assert batch["label"].dtype == torch.uint8
            assert batch["draw"].dtype == batch["slice"].dtype == torch.int64
            assert batch["image"].is_contiguous()
            assert batch["label"].is_contiguous()


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Slices of scans of two channels, with a neighbour on either side."""
    folder = tmp_path_factory.mktemp("colours")
    manifest = folder / "livers.yaml"
    manifest.write_text(MANIFEST.replace("READER", "volumes").replace("IMAGES", "imagesTr"))
    scans = read_scans(write_scans(folder / "data"), read_manifest(manifest))
    chain = preprocessing(organs=LABELS.names, spacing_mm=(0.8, 0.9, 5), roi_px=(8, 9))
    items = [item_of(scan) for scan in scans]
    return SliceDataset(items, chain, store_dir=folder / "store", roi_px=(8, 9), neighbours=3)


def test_an_image_holds_all_channels_of_a_neighbour_together(colours):
    samples = colours.samples([(0, 5)])  # slice 1 of the second scan
    image, _ = colours.read(samples)
    scan, top, left = colours.scans[1], int(samples.top[0]), int(samples.left[0])
    expected = [scan.image[k, c, top : top + 8, left : left + 9] for k in (0, 1, 2) for c in (0, 1)]
    np.testing.assert_array_equal(image[0], expected)


@pytest.mark.parametrize("way", WAYS[:2])
def test_batches_of_several_channels_are_the_items_stacked(colours, way):
    order = list(EpochSampler(colours, seed=1))
    for number, batch in enumerate(batches(colours, **way)):
        items = [colours[where] for where in order[5 * number : 5 * number + 5]]
        same(batch, torch.utils.data.default_collate(items))
        assert batch["image"].shape == (5, 6, 8, 9)


@pytest.mark.parametrize("way", WAYS[:2])
def test_an_epoch_is_taken_up_in_its_middle(dataset, way):
    data = dataset(neighbours=3)
    whole = [list(served) for served in [batches(data, batch_size=2, **way)] for _ in range(2)][1]
    rest = batches(data, batch_size=2, **way)
    rest.sampler.start_at(1, 2 * 2)
    for batch, expected in zip(rest, whole[2:], strict=True):
        same(batch, expected)


def test_torchs_random_state_is_left_alone(dataset):
    before = torch.get_rng_state()
    assert list(batches(dataset()))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_trainer_asks_for_is_there(dataset):
    data = dataset()
    served = batches(data, batch_size=7)
    assert (len(served), served.batch_size, served.dataset) == (1, 7, data)
    assert len(batches(data, batch_size=13)) == 0
    assert list(batches(data, batch_size=13)) == []


@pytest.mark.parametrize("way", WAYS)
def test_no_slices_give_no_batches(dataset, way):
    data = dataset()
    data.scans.clear()
    nothing = SliceBatches(data, batch_size=2, sampler=EpochSampler(0), **way)
    assert len(nothing) == 0
    assert list(nothing) == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"batch_size": 0}, id="batch size"),
        pytest.param({"ahead": -1}, id="ahead"),
        pytest.param({"resident": "yes"}, id="resident"),
    ],
)
def test_senseless_settings_are_refused(dataset, wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UsageError, match=rf"E-CONFIG.*{name} '?{value}"):
        batches(dataset(), **wrong)


# Memory of the device


def shrunk(monkeypatch, free):
    monkeypatch.setattr(batches_module, "free_bytes", lambda _device: free)


VOXELS = sum(k * j * i for k, j, i in SIZES)


def test_voxels_that_fit_are_kept_on_the_device(dataset, monkeypatch, caplog):
    shrunk(monkeypatch, 5 * VOXELS)  # three bytes a voxel are 60 % of five
    served = batches(dataset())
    list(served)
    assert served._voxels.image.numel() == VOXELS
    assert caplog.records == []


def test_voxels_that_do_not_fit_are_streamed_with_one_line(dataset, monkeypatch, caplog):
    data = dataset(neighbours=3)
    expected = list(batches(data, resident=True))
    shrunk(monkeypatch, 5 * VOXELS - 1)
    monkeypatch.setattr(ResidentVoxels, "bytes_of", lambda _scans: 3 << 30)
    with caplog.at_level(logging.WARNING):
        served = batches(data)
        found = [list(served), list(served)][0]
    for batch, other in zip(found, expected, strict=True):
        same(batch, other)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "warning[W-STREAMED]: cpu: " in record.getMessage()
    assert "need 3072 MiB, and 0 MiB are free" in record.getMessage()


@pytest.mark.parametrize(
    "resident", [pytest.param("auto", id="auto"), pytest.param(True, id="wanted")]
)
def test_memory_that_runs_out_while_voxels_are_brought_is_no_fault(
    dataset, monkeypatch, caplog, resident
):
    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    expected = list(batches(dataset(), resident=False))
    shrunk(monkeypatch, 1 << 40)
    monkeypatch.setattr(torch.Tensor, "__setitem__", full)
    served = batches(dataset(), resident=resident)
    found = next(iter(served))
    monkeypatch.undo()
    same(found, expected[0])
    assert [record.getMessage().count("W-STREAMED") for record in caplog.records] == [1]


def test_a_processor_has_no_memory_of_its_own(dataset, caplog):
    served = batches(dataset())
    list(served)
    assert served._voxels is None
    assert caplog.records == []


# The thread


def test_results_come_in_order():
    def slow(n):
        time.sleep(0.002 * (n % 3))
        return n * n

    assert list(in_advance(slow, range(20), ahead=4)) == [n * n for n in range(20)]
    assert list(in_advance(slow, [], ahead=4)) == []
    assert threads() == []


@pytest.mark.parametrize("ahead", [pytest.param(n, id=f"{n} ahead") for n in (0, 1, 3)])
def test_no_more_is_begun_than_asked_for(ahead):
    begun = []
    results = in_advance(begun.append, range(100), ahead=ahead)
    assert begun == []
    next(results)
    results.close()
    assert begun == list(range(len(begun)))
    assert 1 <= len(begun) <= ahead + 1


def test_an_exception_arrives_where_its_result_would_have():
    def faulty(n):
        if n == 2:
            raise ValueError("the third")
        return n

    results = in_advance(faulty, range(9), ahead=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)
    assert threads() == []


def test_a_scan_that_vanishes_is_told(dataset, monkeypatch):
    data = dataset()

    def gone(*_args):
        raise OSError("the disk went away")

    monkeypatch.setattr(type(data.scans[0]), "_mapped", gone)
    with pytest.raises(OSError, match="the disk went away"):
        next(iter(batches(data)))
    assert threads() == []


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda passing: passing.close(), id="closed"),
        pytest.param(lambda passing: None, id="let go"),  # noqa: ARG005
    ],
)
def test_an_abandoned_pass_ends_its_thread(dataset, leave):
    passing = iter(batches(dataset(), batch_size=2))
    next(passing)
    assert len(threads()) == 1
    leave(passing)
    del passing
    gc.collect()
    assert threads() == []


def test_a_consumers_exception_ends_the_thread(dataset):
    def interrupted():
        for _ in batches(dataset(), batch_size=2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threads() == []


def test_a_pass_that_never_began_starts_no_thread(dataset):
    passing = iter(batches(dataset()))
    assert threads() == []
    del passing
