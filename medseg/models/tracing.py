"""TorchScript copies of networks whose parts come from transformers.

Their blocks take ``**kwargs``, which TorchScript cannot compile; it can follow a pass through them.
"""

import copy
import warnings

import torch
from torch import Tensor, nn


def traced(network: nn.Module, *, in_channels: int, multiple_px: int) -> nn.Module:
    """Return the trace of a network in eval mode, as a module that `torch.jit.script` accepts.

    The trace keeps heights, widths and the batch size symbolic, so it serves images of any size.

    Args:
        network: Takes images ``(B, C, H, W)``; it stays as it is.
        in_channels: Channels of the images.
        multiple_px: To what the network pads them.
    """
    network = copy.deepcopy(network).eval()
    example = next(network.parameters()).new_zeros(2, in_channels, 2 * multiple_px, 3 * multiple_px)
    with warnings.catch_warnings(), torch.no_grad():
        # A test compares the trace with the network at other sizes than the example's.
        warnings.simplefilter("ignore")
        trace: nn.Module = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        return _Traced(trace)


class _Traced(nn.Module):
    """A trace as a module."""

    def __init__(self, trace: nn.Module) -> None:
        super().__init__()
        self.trace = trace

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.trace(images)
        return logits
