"""Who a process is among those that were launched, and what one alone adds up."""

from datetime import datetime

import pytest
import torch

from medseg import ranks
from medseg.errors import DataError, Problem, ResourceError

LAUNCHED = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture
def launched(monkeypatch):
    """A function that sets what a launcher tells a process."""

    def tell(**more):
        for name, value in {**LAUNCHED, **more}.items():
            monkeypatch.setenv(name, value)

    return tell


def test_a_process_alone_is_the_first_of_one():
    part = torch.ones(2, requires_grad=True)
    assert (ranks.rank(), ranks.world()) == (0, 1)
    assert ranks.summed(part) is part
    assert ranks.summed_each(part, part) == (part, part)
    assert ranks.averaged(part, 0) is part
    assert (ranks.total(3), ranks.largest(3), ranks.gathered("own")) == (3, 3, ["own"])
    assert ranks.shared(lambda: "made") == "made"


def test_a_process_alone_raises_as_ever():
    with pytest.raises(DataError, match="E-OWN"), ranks.alike():
        raise DataError(Problem("E-OWN", "a", "is wrong"))


def test_nobody_has_launched_this_one():
    told = ranks.launched(), ranks.leads(), ranks.follows(), ranks.restarted()
    assert told == (False, False, False, False)


@pytest.mark.parametrize(
    ("told", "leads", "follows"),
    [
        pytest.param({}, True, False, id="the first of two"),
        pytest.param({"RANK": "1"}, False, True, id="the second of two"),
        pytest.param({"WORLD_SIZE": "1"}, False, False, id="the first of one"),
    ],
)
def test_the_first_leads(launched, told, leads, follows):
    launched(**told)
    assert (ranks.launched(), ranks.leads(), ranks.follows()) == (True, leads, follows)


@pytest.mark.parametrize(
    ("count", "again"),
    [pytest.param("0", False, id="the first time"), pytest.param("2", True, id="the third time")],
)
def test_an_agent_tells_how_often_it_began(launched, count, again):
    launched(TORCHELASTIC_RESTART_COUNT=count)
    assert ranks.restarted() is again
    assert ranks.launcher_began() < datetime.now()


@pytest.mark.parametrize(
    ("device", "beside", "placed"),
    [
        pytest.param("cpu", "2", "cpu", id="a CPU is for all"),
        pytest.param("cuda", "2", "cuda:1", id="a GPU each"),
        pytest.param("cuda", "1", "cuda:1", id="a process a machine"),
        pytest.param("cuda:3", "1", "cuda:3", id="a certain one"),
    ],
)
def test_each_process_has_its_place(launched, monkeypatch, device, beside, placed):
    launched(LOCAL_RANK="1", LOCAL_WORLD_SIZE=beside)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert ranks.placed(device) == placed


@pytest.mark.parametrize(
    ("device", "found"),
    [
        pytest.param("cuda", "there are 2 CUDA devices, for 3 processes", id="too few"),
        pytest.param("cuda:1", "there are 2 CUDA devices, for 3 processes", id="one of too few"),
    ],
)
def test_more_processes_than_devices_are_refused(monkeypatch, device, found):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks.require_devices(device, 1)
    with pytest.raises(ResourceError, match=found):
        ranks.require_devices(device, 3)


def test_a_device_of_its_own_is_not_shared(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ResourceError, match="is one device, for 3 processes"):
        ranks.require_devices("cuda:0", 3)
