"""The model of growth: worked out by hand, and laws that hold for any site."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.bench.growth import (
    STAGES,
    Costs,
    Site,
    all_reduce_s,
    estimate,
    measured,
    storage_bytes,
)

COSTS = Costs(
    slices=100,
    raw_bytes=10e6,
    store_bytes=40e6,
    result_bytes=1e6,
    decode_s=0.2,
    prepare_s=0.3,
    step_s=0.05,
    predict_s=4.0,
    write_s=0.5,
    metrics_s=0.1,
    gradient_bytes=16e6,
    begin_s={"predict": 3.0},
    list_s={"prepare": 0.001},
    contention={"prepare": 1.5},
)
CORE = Site(disk_bytes_per_s=5e8)


def test_one_core_prepares_ten_scans_one_after_another():
    found = estimate("prepare", 10, COSTS, CORE)
    # 10 x 0.5 s; 10 x 50 MB at 500 MB/s; 10 x 1 ms.
    assert found.parts == pytest.approx(
        {
            "start-up": 0,
            "processors": 5.0,
            "all-reduce": 0,
            "storage": 1.0,
            "one process": 0.01,
        }
    )
    assert (found.seconds, found.limit) == (pytest.approx(5.0), "processors")


def test_workers_share_the_scans_and_slow_each_other():
    found = estimate("prepare", 10, COSTS, replace(CORE, devices=4))
    # The fourth takes a third scan, so 3 x 0.5 s, and half as long again beside the others.
    assert found.seconds == pytest.approx(3 * 0.5 * 1.5)


def test_where_cores_do_the_network_s_work_both_add_up():
    found = estimate("predict", 2, COSTS, CORE)
    assert found.parts["processors"] == pytest.approx(2 * (0.2 + 0.3 + 0.5 + 4.0))
    assert found.seconds == pytest.approx(3.0 + 10.0)


def test_a_device_computes_while_its_cores_read_and_write():
    site = Site(device_speed=100, cores=2)
    found = estimate("predict", 10, COSTS, site)
    assert found.parts["devices"] == pytest.approx(10 * 4.0 / 100)
    assert found.parts["processors"] == pytest.approx(5 * 1.0)
    assert (found.seconds, found.limit) == (pytest.approx(3.0 + 5.0), "processors")


def test_an_epoch_is_as_many_steps_as_fill_all_batches():
    site = Site(devices=3, batch=8)
    found = estimate("train", 1, COSTS, site)
    # 100 slices in batches of 24 are 5 steps. A ring of 3: 4 messages of a third of 16 MB at
    # 50 GB/s, each 20 us late.
    message_s = 16e6 / 3 / 5e10 + 2e-5
    assert found.parts["processors"] == pytest.approx(5 * 8 * 0.05)
    assert found.parts["all-reduce"] == pytest.approx(5 * 4 * message_s)
    assert found.seconds == pytest.approx(5 * 8 * 0.05 + 5 * 4 * message_s)


def test_a_ring_goes_by_its_slowest_link():
    inside = Site(devices=8, latency_s=0, device_link_bytes_per_s=1e9, link_bytes_per_s=1e8)
    assert all_reduce_s(8e9, replace(inside, devices=1)) == 0
    assert all_reduce_s(8e9, inside) == pytest.approx(14.0)
    assert all_reduce_s(8e9, replace(inside, devices=16)) == pytest.approx(2 * 15 / 16 * 80)
    slow_inside = replace(inside, devices=16, device_link_bytes_per_s=1e7)
    assert all_reduce_s(8e9, slow_inside) == pytest.approx(2 * 15 / 16 * 800)


def test_one_machine_reads_from_its_disk_and_several_from_what_they_share():
    site = Site(disk_bytes_per_s=1, storage_bytes_per_s=30, link_bytes_per_s=10)
    assert (site.nodes, site.io_bytes_per_s) == (1, 1)
    assert replace(site, devices=16).io_bytes_per_s == 20
    assert replace(site, devices=32).io_bytes_per_s == 30
    assert replace(site, devices=9).nodes == 2


def test_the_process_that_hands_out_the_work_limits_many_devices():
    site = Site(devices=512, storage_bytes_per_s=1e12, link_bytes_per_s=1e11)
    found = estimate("prepare", 10_000_000, COSTS, site)
    assert found.limit == "processors"
    many = replace(site, cores=16)
    assert estimate("prepare", 10_000_000, COSTS, many).limit == "one process"
    assert estimate("prepare", 10_000_000, COSTS, many).seconds == pytest.approx(10_000)


def test_evaluation_reads_both_sides():
    slow = replace(CORE, disk_bytes_per_s=1e6)
    assert estimate("evaluate", 3, COSTS, slow).parts["storage"] == pytest.approx(6.0)


def test_what_lies_on_the_storage():
    assert storage_bytes(1000, COSTS) == {"scans": 10e9, "store": 40e9, "results": 1e9}


@pytest.mark.parametrize("stage", [pytest.param(stage, id=stage) for stage in STAGES])
def test_nothing_takes_the_start_up(stage):
    found = estimate(stage, 0, COSTS, CORE)
    assert found.seconds == COSTS.begin_s.get(stage, 0)


def test_costs_are_read_from_a_record_that_has_more():
    told = {name: getattr(COSTS, name) for name in COSTS.__dataclass_fields__}
    assert Costs.of({**told, "commit": "x"}) == COSTS


sites = st.builds(
    Site,
    devices=st.integers(1, 600),
    device_speed=st.none() | st.floats(1, 1000),
    cores=st.integers(1, 16),
    devices_a_node=st.integers(1, 16),
    batch=st.integers(1, 64),
)
stages = st.sampled_from(STAGES)


@given(stages, st.integers(1, 10**7), st.integers(0, 10**6), sites)
def test_more_scans_take_no_less(stage, scans, more, site):
    few, many = (estimate(stage, n, COSTS, site).seconds for n in (scans, scans + more))
    assert few <= many * (1 + 1e-12)


@given(stages, st.integers(1, 10**6), sites, st.integers(1, 4))
def test_more_machines_take_no_longer_but_for_what_they_tell_each_other(stage, scans, site, times):
    """Several machines begin to share a storage, so one is compared with what it could read."""
    alone = replace(COSTS, contention={})
    small = replace(site, storage_bytes_per_s=1e12, link_bytes_per_s=1e12)
    few = estimate(stage, scans, alone, small)
    many = estimate(stage, scans, alone, replace(small, devices=site.devices * times))
    assert many.seconds - many.parts["all-reduce"] <= few.seconds * (1 + 1e-9)


@given(stages, st.integers(1, 10**6), sites, st.floats(1.01, 100))
def test_twice_the_bytes_and_twice_the_bandwidth_are_the_same(stage, scans, site, times):
    sizes = ("raw_bytes", "store_bytes", "result_bytes", "gradient_bytes")
    larger = replace(COSTS, **{name: getattr(COSTS, name) * times for name in sizes})
    speeds = [name for name in site.__dataclass_fields__ if name.endswith("bytes_per_s")]
    faster = replace(site, **{name: getattr(site, name) * times for name in speeds})
    one, other = estimate(stage, scans, COSTS, site), estimate(stage, scans, larger, faster)
    assert other.seconds == pytest.approx(one.seconds)
    assert other.parts == pytest.approx(one.parts)


@given(stages, st.integers(1, 10**6), sites)
def test_it_takes_its_limit_at_least_and_all_parts_at_most(stage, scans, site):
    found = estimate(stage, scans, COSTS, site)
    assert found.parts[found.limit] <= found.seconds * (1 + 1e-12)
    assert found.seconds <= sum(found.parts.values()) * (1 + 1e-12)


def test_the_costs_that_come_with_the_package_are_those_that_were_measured():
    kept = Path(__file__).parents[2] / "benchmarks" / "growth.json"
    assert measured() == Costs.of(json.loads(kept.read_text(encoding="utf-8"))["costs"])
