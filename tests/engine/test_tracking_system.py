"""The machine's load is sampled beside a training, under the names that MLflow's UI looks for."""

import threading
import time

import pytest

from medseg.engine import tracking_system
from medseg.engine.tracking_system import watching

NAMES = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes",
    "system/system_memory_usage_percentage",
}


class Samples:
    def __init__(self):
        self.rows, self.enough = [], threading.Event()

    def log_metrics(self, metrics, step):
        self.rows.append((metrics, step))
        if len(self.rows) == 3:
            self.enough.set()


def test_samples_come_while_the_work_goes_on_and_at_its_end():
    log = Samples()
    with watching(log, began_s=time.time() - 3600, every_s=0.01):
        assert log.enough.wait(10)
        during = len(log.rows)
    assert len(log.rows) > during >= 3
    for metrics, step in log.rows:
        assert set(metrics) >= NAMES
        assert step == pytest.approx(3600, abs=60)
        assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
        assert 0 < metrics["system/system_memory_usage_percentage"] <= 100
    ended = len(log.rows)
    time.sleep(0.05)
    assert len(log.rows) == ended


def test_short_work_has_one_sample():
    log = Samples()
    with watching(log, began_s=time.time()):
        pass
    assert len(log.rows) == 1


def test_an_error_of_the_work_goes_through():
    with pytest.raises(ValueError, match="of the work"), watching(Samples(), began_s=0.0):
        raise ValueError("of the work")


def test_a_meter_that_fails_takes_only_its_own_numbers(monkeypatch):
    class Refusing(tracking_system.CPUMonitor):
        def collect_metrics(self):
            raise OSError("no permission")

    monkeypatch.setattr(tracking_system, "GPUMonitor", Refusing)
    log = Samples()
    with watching(log, began_s=time.time()):
        pass
    assert [set(metrics) for metrics, _ in log.rows] == [NAMES]


def test_without_a_gpu_there_is_none_in_the_numbers(monkeypatch):
    class Missing(tracking_system.CPUMonitor):
        def __init__(self):
            raise RuntimeError("no driver")

    monkeypatch.setattr(tracking_system, "GPUMonitor", Missing)
    log = Samples()
    with watching(log, began_s=time.time()):
        pass
    assert [set(metrics) for metrics, _ in log.rows] == [NAMES]


def test_a_gpu_is_told_under_mlflows_names(monkeypatch):
    class Stub(tracking_system.CPUMonitor):
        def collect_metrics(self):
            self._metrics["gpu_0_utilization_percentage"].append(75)

    monkeypatch.setattr(tracking_system, "GPUMonitor", Stub)
    log = Samples()
    with watching(log, began_s=time.time()):
        pass
    assert log.rows[0][0]["system/gpu_0_utilization_percentage"] == 75
