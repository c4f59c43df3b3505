"""Predicting many scans: order, faults, and how much is held while threads read and write."""

import threading
import time
import weakref

import pytest
from torch import nn

from medseg.errors import (
    DataError,
    DivergedError,
    PartialError,
    Problem,
    ResourceError,
    Stopped,
)
from medseg.stages import predict as stage
from medseg.stages.display import Silent


class Image:
    """Stands for a prepared image; it can be watched as it lives."""


class Parts(dict):
    """What a configuration opens to; a step fails where `faults` names it and the scan."""

    def __init__(self, faults=None, *, slow="", compute=lambda _: None):
        self.faults, self.slow, self.compute = faults or {}, slow, compute
        self.images, self.most, self.done = [], 0, []
        super().__init__(
            initialize=None,
            network=nn.Identity(),
            preprocessing=self.read,
            inferer=self.infer,
            postprocessing=self.write,
        )

    def step(self, name, number):
        if name == self.slow:
            time.sleep(0.02)
        if (name, number) in self.faults:
            raise self.faults[name, number]
        self.done.append((name, number))

    def read(self, item):
        image = Image()
        self.images.append(weakref.ref(image))
        self.most = max(self.most, sum(each() is not None for each in self.images))
        self.step("read", item["number"])
        return {**item, "image": image, "native": item["number"]}

    def infer(self, image, _network, *, native):
        assert isinstance(image, Image)
        assert threading.current_thread() is threading.main_thread()
        self.compute(native)
        self.step("infer", native)
        return f"masks {native}", None

    def write(self, scan):
        assert threading.current_thread() is not threading.main_thread()
        self.step("write", scan["number"])
        return {**scan, "file": scan["pred"]}

    def written(self):
        return [number for name, number in self.done if name == "write"]


def bad(number):
    return DataError(Problem("E-BAD", f"scan{number}", "is bad"))


@pytest.fixture
def predicted(monkeypatch):
    """Return a function that predicts scans with given parts."""

    def run(parts, count=8, display=None):
        monkeypatch.setattr(stage, "Opened", lambda _: parts)
        items = [{"scan_id": f"scan{number}", "number": number} for number in range(count)]
        return stage.predict_items({}, items, display or Silent())

    yield run
    assert [t.name for t in threading.enumerate() if t.name.startswith("medseg-ahead")] == []


@pytest.mark.parametrize(
    "slow",
    [pytest.param(name, id=f"slow to {name}") for name in ("read", "infer", "write")],
)
def test_files_come_in_the_order_of_the_scans(predicted, slow):
    assert predicted(Parts(slow=slow)) == [f"masks {number}" for number in range(8)]


def test_progress_is_told_when_a_scan_is_written(predicted):
    told = []

    class Recorder(Silent):
        def advance(self, done, total, note=""):
            assert len(parts.written()) >= done
            told.append((done, total, note))

    parts = Parts()
    predicted(parts, 3, Recorder())
    assert told == [(1, 3, "scan0"), (2, 3, "scan1"), (3, 3, "scan2")]


@pytest.mark.parametrize("step", [pytest.param(s, id=s) for s in ("read", "infer", "write")])
def test_a_faulty_scan_leaves_the_others(predicted, step):
    parts = Parts({(step, 1): bad(1), (step, 6): bad(6)})
    with pytest.raises(PartialError, match=r"E-BAD.*scan1(?s:.)*E-BAD.*scan6") as caught:
        predicted(parts)
    assert [problem.subject for problem in caught.value.problems] == ["scan1", "scan6"]
    assert parts.written() == [0, 2, 3, 4, 5, 7]


def test_logits_that_are_no_numbers_are_the_fault_of_their_scan(predicted):
    fault = DivergedError(Problem("E-NONFINITE", "network", "its logits hold NaN"))
    parts = Parts({("infer", 2): fault})
    with pytest.raises(PartialError, match=r"E-NONFINITE\]: scan2: its logits") as caught:
        predicted(parts, 4)
    assert caught.value.exit_code == 6
    assert parts.written() == [0, 1, 3]


def test_a_network_that_fails_on_all_is_no_fault_of_the_data(predicted):
    fault = DivergedError(Problem("E-NONFINITE", "network", "its logits hold NaN"))
    parts = Parts({("infer", 0): fault, ("infer", 1): fault})
    with pytest.raises(PartialError, match=r"E-NONFINITE\]: scan0(?s:.)*scan1"):
        predicted(parts, 2)
    assert parts.written() == []


def test_faults_are_told_in_the_order_of_the_scans_whatever_step_meets_them(predicted):
    parts = Parts({("write", 0): bad(0), ("read", 2): bad(2), ("infer", 1): bad(1)})
    with pytest.raises(PartialError, match="E-BAD") as caught:
        predicted(parts, 4)
    assert [problem.subject for problem in caught.value.problems] == ["scan0", "scan1", "scan2"]


def test_without_any_good_scan_the_data_are_wrong(predicted):
    with pytest.raises(DataError, match="E-BAD"):
        predicted(Parts({("read", 0): bad(0), ("infer", 1): bad(1)}), 2)


def test_no_scans_give_no_files(predicted):
    assert predicted(Parts(), 0) == []


@pytest.mark.parametrize(
    ("step", "error"),
    [
        pytest.param("infer", ResourceError(Problem("E-X", "a", "b")), id="resources to compute"),
        pytest.param("read", ResourceError(Problem("E-X", "a", "b")), id="resources to read"),
        pytest.param("write", ResourceError(Problem("E-X", "a", "b")), id="resources to write"),
        pytest.param("write", OSError("E-X"), id="an error nobody foresaw"),
    ],
)
def test_what_is_no_fault_of_a_scan_ends_it_all(predicted, step, error):
    parts = Parts({(step, 3): error})
    with pytest.raises(type(error), match="E-X"):
        predicted(parts)
    # The scan after one that cannot be written is computed by then, and may be written.
    assert parts.written() in ([0, 1, 2], [0, 1, 2, 4])


def test_a_stop_lets_what_is_computed_be_written(predicted):
    def stop(number):
        if number == 4:
            raise Stopped(15)

    parts = Parts(slow="write", compute=stop)
    with pytest.raises(Stopped, match="15"):
        predicted(parts)
    assert parts.written() == [0, 1, 2, 3]


@pytest.mark.parametrize("slow", [pytest.param(s, id=s) for s in ("infer", "write")])
def test_no_more_images_are_held_however_many_scans(predicted, slow):
    parts = Parts(slow=slow)
    predicted(parts, 30)
    # Two ahead, one about to be taken and one computed.
    assert parts.most <= 4
