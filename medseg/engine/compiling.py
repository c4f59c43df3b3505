"""Compiling the forward and backward pass of a training step, or going on without.

What is compiled is the training step alone, at its one batch size. Validation and inference call
the same network as it is, so that no other size of batch or mode ever compiles anew, and its
parameters keep their names in checkpoints.
"""

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from medseg.errors import Problem

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")

Forward = Callable[[Tensor], Tensor]
_log = logging.getLogger(__name__)


def compiled(network: nn.Module, images: Tensor, *, mode: str) -> Forward:
    """Return the network's forward pass compiled for batches like `images`, or the network itself.

    Without a C++ compiler (CPU) or triton (CUDA), and wherever compiling fails, one warning says
    so and the network computes as it is. Compiling changes neither the network's buffers nor
    torch's random numbers.

    Args:
        network: In training mode, on the device of `images`.
        images: A batch ``(B, C, H, W)``; those of another size are not computed by compiled code.
        mode: One of `MODES`, those of `torch.compile`; ``reduce-overhead`` uses CUDA graphs.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_user_cache() / "inductor"))
    forward = torch.compile(network, mode=mode, dynamic=False)
    shape = images.shape

    def step(images: Tensor) -> Tensor:
        if images.shape != shape:
            return network(images)  # type: ignore[no-any-return]
        # CUDA graphs write each step's results where the last one's were.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits: Tensor = forward(images)
        return logits

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler's parts about one another
            _rehearse(step, network, images)
    except Exception as fault:
        # A fault of the network's own happens once more without the compiler, and is raised then.
        warn_uncompiled(
            f"torch.compile ({mode})",
            f"failed: {_first_line(fault)}",
            fix="training goes on without it; set compile to false, or install a C++ compiler",
        )
        return network
    return step


def warn_uncompiled(subject: str, found: str, *, fix: str) -> None:
    """Tell whoever wanted compiled code that there is none."""
    _log.warning("%s", Problem("W-COMPILE", subject, found, fix=fix, level="warning"))


def _rehearse(step: Forward, network: nn.Module, images: Tensor) -> None:
    """Do a step whose results nobody keeps: the backward pass is compiled when it is first run."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    parameters = [each for each in network.parameters() if each.requires_grad]
    devices = [images.device] if images.is_cuda else []
    try:
        with torch.random.fork_rng(devices), torch.enable_grad():
            total = step(images).sum()
            with torch.autocast(images.device.type, enabled=False):
                torch.autograd.grad(total, parameters, allow_unused=True)
    finally:
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])


def _user_cache() -> Path:
    """Return where medseg keeps what it can make anew."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "medseg"


def _first_line(fault: Exception) -> str:
    return next(iter(str(fault).splitlines()), type(fault).__name__).rstrip(".")
