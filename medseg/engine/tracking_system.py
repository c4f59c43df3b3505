"""What a run takes of its machine: processors, memory and GPUs, under MLflow's own names.

MLflow's own monitor ends for good when the store is away for a moment, and asks the store before
each sample. Here its meters are read in a thread, and what they say goes the way of all metrics.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from medseg.engine.history import Log

EVERY_S = 10.0
_log = logging.getLogger(__name__)


@contextmanager
def watching(log: Log, *, began_s: float, every_s: float = EVERY_S) -> Iterator[None]:
    """Sample the machine every `every_s` seconds while the context lasts, and at its end.

    Metrics are called ``system/cpu_utilization_percentage`` and so on, and MLflow shows them on a
    page of their own. Their step is the time since the run began, in seconds.

    Args:
        log: Where they go.
        began_s: When the run began, in seconds of `time.time`.
        every_s: Time between samples.
    """
    meters = _meters()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(every_s):
            log.log_metrics(_read(meters), step=round(time.time() - began_s))

    thread = threading.Thread(target=watch, name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        log.log_metrics(_read(meters), step=round(time.time() - began_s))


def _meters() -> list[Any]:
    meters: list[Any] = []
    for kind in (CPUMonitor, GPUMonitor):
        # Without a GPU and its driver there is nothing to read.
        try:
            meters.append(kind())
        except Exception as fault:
            _log.info("no %s: %s", kind.__name__, fault)
    _read(meters)  # processor load is counted from one reading to the next
    return meters


def _read(meters: list[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for meter in meters:
        meter.clear_metrics()
        try:
            meter.collect_metrics()
        except Exception as fault:
            _log.info("%s reads nothing: %s", type(meter).__name__, fault)
        found |= {f"system/{name}": value for name, value in meter.aggregate_metrics().items()}
    return found
