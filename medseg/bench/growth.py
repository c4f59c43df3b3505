"""How work grows: from what a scan costs to the time of a cohort on many devices, and its limit.

A model of arithmetic alone. Costs are measured, on one core unless said otherwise; what a site has
is said by whoever asks. Each stage takes the time of what it waits for longest, after its start-up:

* *processors*: decoding, preparing, writing and scoring, a scan a core at a time;
* *devices*: the network, a scan or a batch a device at a time. Where a site has none, its cores do
  that too, and both add up;
* *all-reduce*: what devices tell each other after each step; it waits for the step and adds to it;
* *storage*: scans, prepared volumes and results, read and written;
* *one process*: what the process that hands out the work does for each scan.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

STAGES = ("prepare", "train", "predict", "evaluate")


@dataclass(frozen=True)
class Costs:
    """What one scan costs.

    Attributes:
        slices: Slices of it.
        raw_bytes: Of its files, as they come.
        store_bytes: Of it in the store, prepared.
        result_bytes: Of its label map.
        decode_s: Core time to read its slices and labels.
        prepare_s: Core time from there to the store.
        step_s: Core time of a training step, for each slice of the batch.
        predict_s: Core time of the network over it.
        write_s: Core time to write its label map.
        metrics_s: Core time to score it, both label maps read.
        gradient_bytes: Of the gradients of the network.
        begin_s: From the start of a process until it works, by stage.
        list_s: Time of the one process that hands out the work, by stage.
        contention: How much longer a core takes while the others of its machine work too, by
            stage; 1 where nothing is said.
    """

    slices: float
    raw_bytes: float
    store_bytes: float
    result_bytes: float
    decode_s: float
    prepare_s: float
    step_s: float
    predict_s: float
    write_s: float
    metrics_s: float
    gradient_bytes: float
    begin_s: Mapping[str, float] = field(default_factory=dict)
    list_s: Mapping[str, float] = field(default_factory=dict)
    contention: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Costs":
        """Return costs from a mapping that has more keys than these, such as a record's."""
        return cls(**{each.name: told[each.name] for each in fields(cls)})


@dataclass(frozen=True)
class Site:
    """Where the work is done.

    Attributes:
        devices: How many, or workers of one core each where `device_speed` is None.
        device_speed: How many times as fast as the core of the costs a device computes networks;
            None where cores do.
        cores: For each device.
        devices_a_node: Of them, on one machine.
        batch: Slices of a training step on a device.
        disk_bytes_per_s: Of the disk of a machine: that is the storage where there is one machine.
        storage_bytes_per_s: Of the storage that several machines share, all together.
        link_bytes_per_s: Of each machine to the others and to the storage.
        device_link_bytes_per_s: Of each device to the others of its machine.
        latency_s: Of a message between two devices.
    """

    devices: int = 1
    device_speed: float | None = None
    cores: int = 1
    devices_a_node: int = 8
    batch: int = 8
    disk_bytes_per_s: float = 5e8
    storage_bytes_per_s: float = 5e9
    link_bytes_per_s: float = 1.25e9
    device_link_bytes_per_s: float = 5e10
    latency_s: float = 2e-5

    @property
    def nodes(self) -> int:
        """Machines."""
        return ceil(self.devices / self.devices_a_node)

    @property
    def io_bytes_per_s(self) -> float:
        """What all machines together read from and write to where the data lie."""
        if self.nodes == 1:
            return self.disk_bytes_per_s
        return min(self.storage_bytes_per_s, self.nodes * self.link_bytes_per_s)


class Estimate(NamedTuple):
    """How long a stage takes, and the seconds of all that it waits for."""

    stage: str
    seconds: float
    parts: Mapping[str, float]

    @property
    def limit(self) -> str:
        """What it waits for longest."""
        return max(self.parts, key=lambda name: self.parts[name])


def estimate(stage: str, scans: int, costs: Costs, site: Site) -> Estimate:
    """Return how long a stage takes.

    Args:
        stage: One of `STAGES`; ``train`` is one epoch.
        scans: How many; 0 takes the start-up alone.
        costs: Of a scan.
        site: Where.
    """
    work = _WORK[stage](costs)
    cores = ceil(scans / (site.devices * site.cores)) * work.core_s
    devices = ceil(scans / site.devices) * work.device_s
    steps = 0
    if stage == "train":
        steps = ceil(scans * costs.slices / (site.batch * site.devices))
        devices = steps * site.batch * costs.step_s
    busy = costs.contention.get(stage, 1.0) if site.devices * site.cores > 1 else 1.0
    if site.device_speed is None:
        computing = {"processors": (cores + devices) * busy}
    else:
        computing = {"processors": cores * busy, "devices": devices / site.device_speed}
    parts = {
        "start-up": costs.begin_s.get(stage, 0.0),
        **computing,
        "all-reduce": steps * all_reduce_s(costs.gradient_bytes, site),
        "storage": scans * work.moved_bytes / site.io_bytes_per_s,
        "one process": scans * costs.list_s.get(stage, 0.0),
    }
    # What devices tell each other waits for the step, and the next step for it.
    step_s = max(computing.values()) + parts["all-reduce"]
    longest = max(step_s, parts["storage"], parts["one process"])
    return Estimate(stage, parts["start-up"] + longest, parts)


def all_reduce_s(size_bytes: float, site: Site) -> float:
    """Return how long it takes until all devices have the sum of what each has.

    A ring of p devices: 2 (p - 1) messages one after the other, each of a p-th of the bytes, by
    the slowest link of the ring (Patarasu and Yuan 2009). One device has nobody to tell.
    """
    if site.devices == 1:
        return 0.0
    slowest = site.device_link_bytes_per_s
    if site.nodes > 1:
        slowest = min(slowest, site.link_bytes_per_s)
    messages = 2 * (site.devices - 1)
    return messages * (size_bytes / site.devices / slowest + site.latency_s)


def storage_bytes(scans: int, costs: Costs) -> dict[str, float]:
    """Return the bytes of the scans as they come, in the store, and of the label maps."""
    each = {"scans": costs.raw_bytes, "store": costs.store_bytes, "results": costs.result_bytes}
    return {name: scans * size for name, size in each.items()}


def measured() -> Costs:
    """Return the costs that come with medseg: of a scan of slices of 266 x 266, SegFormer-b0."""
    return Costs.of(json.loads(Path(__file__).with_name("growth_costs.json").read_text()))


class _Work(NamedTuple):
    """What a stage takes for one scan: of a core, of a device, and of the storage.

    What training takes of a device goes by steps.
    """

    core_s: float
    device_s: float
    moved_bytes: float


_WORK: Mapping[str, Callable[[Costs], _Work]] = {
    "prepare": lambda c: _Work(c.decode_s + c.prepare_s, 0.0, c.raw_bytes + c.store_bytes),
    "train": lambda c: _Work(0.0, 0.0, c.store_bytes),
    "predict": lambda c: _Work(
        c.decode_s + c.prepare_s + c.write_s, c.predict_s, c.raw_bytes + c.result_bytes
    ),
    "evaluate": lambda c: _Work(c.metrics_s, 0.0, 2 * c.result_bytes),
}
