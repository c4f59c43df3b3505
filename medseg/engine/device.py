"""Where to compute, and in which precision: bfloat16 where the device has it, float32 elsewhere."""

from contextlib import AbstractContextManager, nullcontext

import torch

from medseg.errors import Problem, ResourceError


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
