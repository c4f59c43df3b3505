"""What a network costs: parameters, multiplications, images a second and memory.

The first two are counted, on no data and on no device, and are the same everywhere. The other two
are measured, and hold for the device, the size of the images and the batch they are measured with.
"""

import copy
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from medseg.engine.device import autocast
from medseg.engine.training import StepInferer

ROUNDS = 5


class Cost(NamedTuple):
    """What a network needs for one image, counted.

    Attributes:
        parameters: Those that only training uses are among them.
        macs: Multiplications with their additions, in convolutions, matrix products and attention.
            As is usual, normalisations, activations and enlargements are not counted.
    """

    parameters: int
    macs: int


class Pace(NamedTuple):
    """What a network was measured to do with one batch on one device.

    Attributes:
        images_per_s: In the fastest of some rounds.
        memory_bytes: The most that tensors held at a time: weights, batch, the optimiser's state
            and everything computed on the way.
    """

    images_per_s: float
    memory_bytes: int


def cost_of(network: nn.Module, *, in_channels: int, size_px: tuple[int, int]) -> Cost:
    """Count what a network needs for the logits of one image.

    Nothing is computed, only shapes pass through. The network may be on any device, ``meta`` among
    them, where it is built without drawing weights; it stays as it is.

    Args:
        network: Takes images ``(B, C, H, W)``.
        in_channels: Channels of the image.
        size_px: Height and width of the image.
    """
    shapes = FakeTensorMode(allow_non_fake_inputs=True)
    with shapes:
        parts: dict[int, Tensor] = {id(each): _shaped(each) for each in network.buffers()}
        for each in network.parameters():
            parts[id(each)] = nn.Parameter(_shaped(each), requires_grad=False)
    hollow = copy.deepcopy(network, parts).eval()
    counter = FlopCounterMode(display=False)
    # torch's counter does not know the fused attention of CPUs.
    with shapes, torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        hollow(torch.empty(1, in_channels, *size_px))
    parameters = sum(each.numel() for each in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)


def forward_pace(
    network: nn.Module, images: Tensor, *, amp: bool = True, rounds: int = ROUNDS
) -> Pace:
    """Measure forward passes as inference does them.

    Args:
        network: On the device of `images`; it comes back in eval mode.
        images: A batch ``(B, C, H, W)``.
        amp: Compute in bfloat16 where the device multiplies in it.
        rounds: How often to measure the time, after two rounds that do not count.
    """
    network.eval()

    @torch.inference_mode()
    def work() -> object:
        with autocast(images.device, amp=amp):
            return network(images)

    return _measured(work, images, [*_weights(network), images], rounds)


def step_pace(
    network: nn.Module,
    images: Tensor,
    *,
    masks: Tensor,
    loss: nn.Module,
    amp: bool = True,
    rounds: int = ROUNDS,
) -> Pace:
    """Measure training steps: forward pass, loss, backward pass and Adam.

    Args:
        network: On the device of `images`. A copy is trained; the network stays as it is.
        images: A batch ``(B, C, H, W)``.
        masks: Its organs' masks ``(B, organs, H, W)``.
        loss: The network's own, see `medseg.models`.
        amp: Compute in bfloat16 where the device multiplies in it.
        rounds: How often to measure the time, after two rounds that do not count.
    """
    network = copy.deepcopy(network).train()
    forward = StepInferer(amp=amp)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)

    def work() -> object:
        optimizer.zero_grad(set_to_none=True)
        total = loss(forward(images, network, masks), masks)
        total.backward()
        optimizer.step()
        return total

    work()  # makes the optimiser's state
    optimizer.zero_grad(set_to_none=True)
    held = [*_weights(network), *_tensors(optimizer.state_dict()), images, masks]
    return _measured(work, images, held, rounds)


def seconds_of(work: Callable[[], object], device: torch.device, *, rounds: int = 10) -> float:
    """Return the shortest time of some work, after two rounds not counted; waits for the device."""
    times = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[2:])


def _measured(
    work: Callable[[], object], images: Tensor, held: Iterable[Tensor], rounds: int
) -> Pace:
    seconds = seconds_of(work, images.device, rounds=rounds)
    if images.device.type == "cuda":
        grown = _grown_on_cuda(work, images.device)
    else:
        with _Growth() as growth:
            work()
        grown = growth.most
    return Pace(len(images) / seconds, grown + sum(each.nbytes for each in held))


def _grown_on_cuda(work: Callable[[], object], device: torch.device) -> int:
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return int(torch.cuda.max_memory_allocated(device)) - before


class _Growth(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follow the bytes of the tensors made meanwhile, until each is freed.

    What the process takes from the system says less: it keeps what earlier work has freed.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.most = 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        for given in _tensors((args, kwargs)):
            self._known[given.untyped_storage()] = True
        output = func(*args, **(kwargs or {}))
        for made in _tensors(output):
            memory = made.untyped_storage()
            if memory not in self._known:  # no view of what there was
                self._known[memory] = True
                self.bytes += memory.nbytes()
                weakref.finalize(memory, self._freed, memory.nbytes())
        self.most = max(self.most, self.bytes)
        return output

    def _freed(self, size: int) -> None:
        self.bytes -= size


def _shaped(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")


def _weights(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _tensors(state: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor)]
