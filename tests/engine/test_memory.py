"""Where memory does not suffice, less is done at once, and the masks are the same."""

import logging

import pytest
import torch
from torch import nn

from medseg.engine import VolumeInferer, memory
from medseg.engine.memory import Portion, portions, within_memory
from medseg.errors import ResourceError
from medseg.geometry import lpi_grid
from medseg.transforms import on_grid

CPU = torch.device("cpu")
OF_TORCH = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
OF_THE_CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"
)


class Narrow(nn.Module):
    """Has no room for more than some images at once; its logits are a filter of each."""

    def __init__(self, room, error=OF_TORCH):
        super().__init__()
        torch.manual_seed(0)
        self.filter = nn.Conv2d(1, 3, 3, padding=1)
        self.room, self.error, self.seen = room, error, []

    def forward(self, images):
        self.seen.append(len(images))
        if len(images) > self.room:
            raise self.error
        return self.filter(images)


def scan():
    image = torch.rand(8, 8, 7, generator=torch.Generator().manual_seed(1))
    return on_grid(image[None], lpi_grid((8, 8, 7), (1.5, 1.5, 3.0)))


def inferer(**more):
    return VolumeInferer((8, 8), label_mode="overlapping", amp=False, batch=4, **more)


@pytest.mark.parametrize("room", [pytest.param(n, id=f"room for {n}") for n in (1, 2, 3)])
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OF_TORCH, id="torch"),
        pytest.param(OF_THE_CPU, id="torch on a CPU"),
        pytest.param(MemoryError(), id="Python"),
    ],
)
def test_the_masks_are_those_of_enough_memory(room, error):
    expected = inferer()(scan(), Narrow(4).eval())
    found = inferer()(scan(), Narrow(room, error).eval())
    assert torch.equal(found.masks, expected.masks)
    assert expected.masks.any()


def test_what_fitted_once_is_kept_and_told_once(caplog):
    given, network = inferer(), Narrow(1).eval()
    with caplog.at_level(logging.WARNING):
        given(scan(), network)
        assert max(network.seen) == 4
        network.seen.clear()
        given(scan(), network)
    assert max(network.seen) == 1
    assert [record.message.split(":")[2].strip() for record in caplog.records] == [
        "4 images at once need more memory than there is. Fix",
        "2 images at once need more memory than there is. Fix",
    ]


def test_no_room_for_one_slice_says_how_much_is_free():
    with pytest.raises(ResourceError, match=r"E-MEMORY.*one slice at a time.*MiB that are free"):
        inferer()(scan(), Narrow(0).eval())


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), id="shapes"),
        pytest.param(ValueError("out of memory of what was said"), id="words alone"),
    ],
)
def test_other_errors_are_not_taken_for_memory(error):
    network = Narrow(0, error).eval()
    with pytest.raises(type(error), match=str(error)):
        inferer()(scan(), network)
    assert network.seen == [4]


def test_a_device_gives_up_its_masks_last():
    assert list(portions(4, torch.device("cuda"))) == [
        *(Portion(4), Portion(2), Portion(1), Portion(1, aside=True))
    ]


def test_slices_kept_aside_give_the_same_logits():
    given, network = inferer(), Narrow(4).eval()
    slices = scan().as_subclass(torch.Tensor).permute(3, 0, 2, 1)
    whole = torch.cat(list(given.logits(slices, network)))
    singly = torch.cat(list(given.logits(slices, network, at_once=1)))
    torch.testing.assert_close(singly, whole)


def test_the_first_that_fits_is_returned():
    def compute(portion):
        if portion.batch > 2:
            raise OF_TORCH
        return portion.batch * 10

    assert within_memory(compute, portions(8, CPU), CPU) == (20, Portion(2))


def test_more_masks_than_memory_are_refused_beforehand(monkeypatch):
    monkeypatch.setattr(memory, "free_mib", lambda _: 0.0001)
    network = Narrow(4).eval()
    with pytest.raises(ResourceError, match=r"E-MEMORY.*masks take 0\.0 GiB, and 0\.0 are free"):
        inferer()(scan(), network)
    assert network.seen == []
