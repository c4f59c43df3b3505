"""How near a network comes to what its device can do: operations and bytes, against its peaks.

The *roofline* of a device is the lower of two bounds on the images a second: its peak of
floating-point operations over those an image needs, and its peak of memory traffic over the bytes
that an image moves when every operator reads its inputs and writes its output (Williams et al.
2009). Both peaks are measured, by a matrix product and by a copy. Fused operators move less than is
counted here, so a compiled network may pass the second bound.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.engine.costs import cost_of, seconds_of
from medseg.engine.device import amp_dtype, autocast

# Operators that only give another view of the same memory.
_VIEWS = {"view", "t", "transpose", "permute", "expand", "slice", "select", "unsqueeze", "squeeze"}
_VIEWS |= {"_unsafe_view", "detach", "alias", "as_strided", "split", "chunk", "unbind"}


class Peaks(NamedTuple):
    """What a device was seen to do: operations and bytes a second."""

    flops: float
    bytes: float


class Cost(NamedTuple):
    """What one image needs: floating-point operations, and bytes read and written."""

    flops: float
    bytes: float

    def bound(self, peaks: Peaks) -> float:
        """Return the images a second that a device with these peaks cannot exceed."""
        return min(peaks.flops / self.flops, peaks.bytes / self.bytes)


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of every operator's inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func.overloadpacket.__name__ not in _VIEWS:
            moved = tree_leaves((args, kwargs, output))
            self.bytes += sum(each.nbytes for each in moved if isinstance(each, Tensor))
        return output


def peaks(device: torch.device, *, size: int = 4096) -> Peaks:
    """Measure a device by a product of square matrices and a copy, in its fastest precision.

    Args:
        device: Where to measure.
        size: Rows of the matrices.
    """
    dtype = amp_dtype(device) or torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product_s = seconds_of(lambda: left @ right, device)
    # Larger than any cache, and as large as the matrices.
    source = torch.randn(max(size * size, 1 << 26) if size >= 4096 else size * size, device=device)
    target = torch.empty_like(source)
    copy_s = seconds_of(lambda: target.copy_(source), device)
    return Peaks(2 * size**3 / product_s, 2 * source.nbytes / copy_s)


def cost(step: Callable[[Tensor], object], images: Tensor, *, network: nn.Module) -> Cost:
    """Count what `step` needs for one of the images ``(B, C, H, W)``.

    Bytes are those of the step. Operations are those of the network's forward pass, three times
    where it is in training mode: each product has two more in the backward pass. (torch's counter
    is not asked about the backward pass; it counts grouped convolutions as full ones there.)
    """
    one = cost_of(network, in_channels=images.shape[1], size_px=(images.shape[2], images.shape[3]))
    with _Traffic() as traffic:
        step(images)
    passes = 3 if network.training else 1
    return Cost(passes * 2 * one.macs, traffic.bytes / len(images))


def inference_step(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a forward pass as inference runs it: bfloat16 where the device has it."""

    @torch.inference_mode()
    def step(images: Tensor) -> Tensor:
        with autocast(images.device):
            logits: Tensor = network(images)
        return logits

    return step


def training_step(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a training step on images alone: forward, a simple loss, backward, Adam."""
    fused = torch.optim.Adam(network.parameters(), lr=1e-5, fused=True)

    def step(images: Tensor) -> Tensor:
        with autocast(images.device):
            logits = network(images)
        loss: Tensor = logits.float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        fused.step()
        fused.zero_grad(set_to_none=True)
        return loss.detach()

    return step
