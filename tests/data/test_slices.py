"""Slices, their neighbours, and the order and seeds in which they are served."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_scans import item_of
from torch.utils.data import DataLoader

from medseg.data import (
    EpochSampler,
    SliceDataset,
    Store,
    VolumeDataset,
    neighbour_stack,
    read_manifest,
    read_scans,
)
from medseg.errors import DataError, UsageError
from medseg.transforms import grid_of, preprocessing

ORGANS = ("large_bowel", "small_bowel", "stomach")


@pytest.fixture(scope="module")
def scans(tiny_phantom):
    return read_scans(tiny_phantom, read_manifest("uwmgi"))[:3]


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def side(scans, store_dir):
    """Return the side of a square that holds every slice."""
    return max(max(scan.size_px) for scan in scans) + 4


@pytest.fixture
def dataset(scans, store_dir, side):
    def make(**changes):
        roi_px = (side, side)
        chain = preprocessing(organs=ORGANS, roi_px=roi_px)
        items = [item_of(scan) for scan in changes.pop("scans", scans)]
        return SliceDataset(items, chain, **{"store_dir": store_dir, "roi_px": roi_px, **changes})

    return make


# Neighbours

VOLUME = np.arange(8)[:, None, None] * np.ones((1, 2, 3), int)


@pytest.mark.parametrize(
    ("k", "neighbours", "stride", "expected"),
    [
        pytest.param(3, 1, 1, [3], id="2D"),
        pytest.param(3, 3, 1, [2, 3, 4], id="three"),
        pytest.param(3, 3, 2, [1, 3, 5], id="three at stride 2"),
        pytest.param(4, 5, 2, [0, 2, 4, 6, 7], id="feet clamped"),
        pytest.param(0, 5, 1, [0, 0, 0, 1, 2], id="head clamped"),
        pytest.param(7, 3, 50, [0, 7, 7], id="a stride beyond the scan"),
    ],
)
def test_neighbours_are_clamped_at_the_ends(k, neighbours, stride, expected):
    stacked = neighbour_stack(torch.from_numpy(VOLUME)[:, None], [k], neighbours, stride)
    assert stacked[0, :, 1, 2].tolist() == expected


@pytest.mark.parametrize("stride", [pytest.param(s, id=f"stride {s}") for s in (1, 2, 3)])
@pytest.mark.parametrize("neighbours", [pytest.param(n, id=f"{n} channels") for n in (1, 3, 5)])
@pytest.mark.parametrize("colours", [pytest.param(1, id="grey"), pytest.param(3, id="RGB")])
def test_a_stack_equals_gathering_channel_by_channel(neighbours, stride, colours):
    volume = np.random.default_rng(0).normal(size=(14, colours, 3, 4))
    slices = torch.from_numpy(volume)
    for ks in (range(14), range(6, 8), [13, 0, 5], torch.arange(3, 9), [4, 4]):
        steps = range(-(neighbours // 2) * stride, neighbours // 2 * stride + 1, stride)
        near = [[min(max(int(k) + step, 0), 13) for step in steps] for k in ks]
        expected = [[volume[n, c] for n in each for c in range(colours)] for each in near]
        np.testing.assert_array_equal(neighbour_stack(slices, ks, neighbours, stride), expected)


def test_a_run_inside_the_scan_copies_nothing():
    slices = torch.rand(12, 1, 4, 4)
    run = neighbour_stack(slices, range(4, 8), 5, 2)
    assert run.shape == (4, 5, 4, 4)
    assert run.untyped_storage().data_ptr() == slices.untyped_storage().data_ptr()


def test_no_slices_give_an_empty_stack():
    assert neighbour_stack(torch.rand(5, 2, 4, 3), [], 3, 1).shape == (0, 6, 4, 3)


@pytest.mark.parametrize(
    ("neighbours", "stride"),
    [
        pytest.param(2, 1, id="even"),
        pytest.param(0, 1, id="none"),
        pytest.param(3, 0, id="stride 0"),
    ],
)
def test_impossible_neighbours_are_refused(dataset, neighbours, stride):
    with pytest.raises(UsageError, match="an odd number of neighbours"):
        dataset(neighbours=neighbours, stride=stride)


# Slices


def test_every_slice_is_served_as_it_was_prepared(dataset, scans, side):
    data = dataset()
    assert len(data) == sum(len(scan.slice_files) for scan in scans)
    item = preprocessing(organs=ORGANS, roi_px=(side, side))(item_of(scans[1]))
    first = len(scans[0].slice_files)
    for k in range(len(scans[1].slice_files)):
        served = data[first + k]
        assert served["slice"] == k
        assert served["scan_id"] == scans[1].scan_id
        # Rows first: (H, W) is (J, I).
        expected = item["image"][0, :, :, k].T.as_tensor()
        assert torch.equal(served["image"][0], expected.half().float())
        assert torch.equal(served["label"], item["label"][..., k].mT.as_tensor())


def test_types_and_shapes_fit_a_batch(dataset, side):
    data = dataset(neighbours=5, stride=2)
    batch = next(iter(DataLoader(data, batch_size=4, sampler=EpochSampler(data))))
    assert batch["image"].shape == (4, 5, side, side)
    assert batch["image"].dtype == torch.float32
    assert batch["label"].shape == (4, 3, side, side)
    assert batch["label"].dtype == torch.uint8
    assert batch["draw"].dtype == torch.int64
    assert len(batch["scan_id"]) == 4


def test_neighbours_come_from_the_same_scan(dataset, scans):
    data = dataset(neighbours=3)
    last = len(scans[0].slice_files) - 1
    item, plain = data[last], dataset()
    assert torch.equal(item["image"][0], plain[last - 1]["image"][0])
    assert torch.equal(item["image"][1], plain[last]["image"][0])
    assert torch.equal(item["image"][2], plain[last]["image"][0])


def test_what_monai_asks_for_is_there(dataset, scans):
    data = dataset()
    assert [item["scan_id"] for item in data.data] == [scan.scan_id for scan in scans]
    assert data.transform.transforms


def test_empty_slices_are_kept_and_counted(dataset, scans):
    rows = [zip(*(scan.rle[organ] for organ in ORGANS), strict=True) for scan in scans]
    slices = [row for scan in rows for row in scan]
    assert dataset().counts == {
        "slices": len(slices),
        "empty": sum(not any(row) for row in slices),
        "organs": {organ: sum(bool(row[c]) for row in slices) for c, organ in enumerate(ORGANS)},
    }


def test_a_window_is_drawn_from_a_larger_slice(dataset, side):
    whole, small = dataset(neighbours=3), dataset(neighbours=3, roi_px=(side - 9, side - 6))
    corners = set()
    for epoch in range(30):
        full, part = whole[(epoch, 7)], small[(epoch, 7)]
        assert part["image"].shape == (3, side - 9, side - 6)
        windows = full["image"].unfold(1, side - 9, 1).unfold(2, side - 6, 1)
        found = (windows == part["image"][:, None, None]).flatten(3).all(3).all(0).nonzero()
        labels = full["label"].unfold(1, side - 9, 1).unfold(2, side - 6, 1)
        assert any(torch.equal(labels[:, y, x], part["label"]) for y, x in found.tolist())
        corners.add(tuple(found[0].tolist()))
    assert len(corners) > 15


def test_draws_follow_from_seed_epoch_and_number_alone(dataset):
    data = dataset(seed=5)
    draws = [data[(epoch, n)]["draw"] for epoch in range(3) for n in range(20)]
    assert len(set(draws)) == 60
    assert all(0 <= drawn < 2**63 for drawn in draws)
    assert [dataset(seed=5)[(1, n)]["draw"] for n in range(20)] == draws[20:40]
    assert data[3]["draw"] == data[(0, 3)]["draw"]
    assert dataset(seed=6)[(0, 3)]["draw"] != data[(0, 3)]["draw"]


def test_worker_processes_serve_the_same_items(dataset):
    data = dataset(neighbours=3)
    alone = next(iter(DataLoader(data, batch_size=6, sampler=EpochSampler(data, seed=1))))
    loader = DataLoader(data, batch_size=6, sampler=EpochSampler(data, seed=1), num_workers=1)
    shared = next(iter(loader))
    assert torch.equal(alone["image"], shared["image"])
    assert torch.equal(alone["draw"], shared["draw"])


@pytest.mark.parametrize("number", [pytest.param(-1, id="before"), pytest.param(10**6, id="after")])
def test_numbers_outside_the_data_set_are_refused(dataset, number):
    with pytest.raises(IndexError, match=f"slice {number} of"):
        dataset()[number]


def test_no_scans_give_an_empty_data_set(dataset):
    data = dataset(scans=[])
    assert len(data) == 0
    assert data.counts == {"slices": 0, "empty": 0, "organs": dict.fromkeys(ORGANS, 0)}
    assert list(EpochSampler(data)) == []


def test_scans_without_labels_are_refused(scans, store_dir, side):
    items = [{k: v for k, v in item_of(scan).items() if k != "label"} for scan in scans]
    chain = preprocessing(["image"], roi_px=(side, side))
    with pytest.raises(DataError, match="has no labels") as caught:
        SliceDataset(items, chain, store_dir=store_dir, roi_px=(side, side))
    assert len(caught.value.problems) == 3


def test_a_window_larger_than_the_slices_is_refused(dataset, side):
    with pytest.raises(UsageError, match=f"prepared slices have {side} rows and {side} columns"):
        dataset(roi_px=(side, side + 1))


# Volumes


def test_volumes_are_served_with_their_grids(scans, store_dir, side):
    chain = preprocessing(organs=ORGANS, roi_px=(side, side))
    data = VolumeDataset([item_of(scan) for scan in scans], chain, store_dir=store_dir)
    assert len(data) == 3
    for scan, item in zip(scans, (data[n] for n in range(3)), strict=True):
        made = chain(item_of(scan))
        assert torch.equal(item["image"].as_tensor(), made["image"].as_tensor().half().float())
        assert torch.equal(item["label"].as_tensor(), made["label"].as_tensor())
        assert torch.equal(item["image"].affine, made["image"].affine)
        assert grid_of(item["label"]).shape == made["image"].shape[1:]
        assert item["native"].shape == scan.grid.shape
        assert (item["scan_id"], item["case_id"]) == (scan.scan_id, scan.case_id)


def test_volumes_without_labels_have_none(scans, store_dir, side):
    items = [item_of(replace(scans[0], rle=None))]
    chain = preprocessing(["image"], roi_px=(side, side))
    assert "label" not in VolumeDataset(items, chain, store_dir=store_dir)[0]


def test_slices_and_volumes_share_the_store(dataset, scans, store_dir, side, monkeypatch):
    dataset()
    monkeypatch.setattr(Store, "_write", lambda *_: pytest.fail("prepared again"))
    chain = preprocessing(organs=ORGANS, roi_px=(side, side))
    volumes = VolumeDataset([item_of(scan) for scan in scans], chain, store_dir=store_dir)
    assert len(volumes) == len(scans)


# The order


def test_each_epoch_has_an_order_of_its_own():
    sampler = EpochSampler(10, seed=3)
    first, second = list(sampler), list(sampler)
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in second} == {1}
    assert sorted(n for _, n in first) == sorted(n for _, n in second) == list(range(10))
    assert [n for _, n in first] != [n for _, n in second]
    assert sampler.epoch == 2
    assert len(sampler) == 10


def test_an_epoch_can_be_repeated():
    sampler = EpochSampler([None] * 10, seed=3)
    third = [list(sampler) for _ in range(3)][2]
    resumed = EpochSampler(10, seed=3)
    resumed.start_at(2)
    assert list(resumed) == third
    assert list(EpochSampler(10, seed=4)) != list(EpochSampler(10, seed=3))


def test_an_epoch_can_be_taken_up_in_its_middle():
    third = [list(sampler) for sampler in [EpochSampler(10, seed=3)] for _ in range(3)][2]
    resumed = EpochSampler(10, seed=3)
    resumed.start_at(2, 4)
    assert list(resumed) == third[4:]
    assert len(list(resumed)) == 10


def test_the_epoch_advances_when_a_pass_begins():
    sampler = EpochSampler(4)
    iter(sampler)
    assert sampler.epoch == 1


def test_without_shuffling_numbers_ascend():
    assert list(EpochSampler(3, shuffle=False)) == [(0, 0), (0, 1), (0, 2)]
