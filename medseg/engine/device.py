"""Where to compute, and in which precision: bfloat16 where the device has it, float32 elsewhere."""

import ctypes
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from medseg.errors import Problem, ResourceError

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


def amp_dtype(device: torch.device) -> torch.dtype | None:
    """Return bfloat16 where `device` multiplies in it, None where float32 is the better choice.

    A CPU without AVX512_BF16 or AMX emulates bfloat16 and gets slower; so do GPUs before Ampere.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else None
    return None


def autocast(device: torch.device, *, amp: bool = True) -> AbstractContextManager[object]:
    """Return the context in which the network of one step runs on `device`."""
    dtype = amp_dtype(device) if amp else None
    if dtype is None:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep the memory of freed tensors for the next ones, once a process.

    glibc returns a tensor of more than 32 MB to the system when it is freed; the next one is handed
    out anew, page by page. For SegFormer-b0 and eight images that is a third of a forward pass in
    float32 on a CPU, and a fifth of a training step. Up to 1 GiB stays with the process.

    Returns:
        Whether the C library takes the advice; others than glibc do not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # the three ways in which there is none
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES))


def device_of(name: str) -> str:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` as torch names it.

    Raises:
        ResourceError: The device is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ResourceError(
            Problem("E-DEVICE", name, f"there are {count} CUDA devices", fix="use --device auto")
        )
    return name
