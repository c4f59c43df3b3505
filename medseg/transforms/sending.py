"""What a device is given besides pixels: a few small arrays, in one go."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def sent(device: torch.device, *arrays: NDArray[np.generic]) -> list[Tensor]:
    """Return arrays as tensors on the device, copied there at once and without waiting."""
    # Each begins where any type may.
    chunks = [array.tobytes().ljust(-(-array.nbytes // 8) * 8, b"\0") for array in arrays]
    flat = torch.frombuffer(bytearray().join(chunks), dtype=torch.uint8)
    flat = (flat.pin_memory() if device.type == "cuda" else flat).to(device, non_blocking=True)
    pieces = torch.split(flat, [len(chunk) for chunk in chunks])
    return [
        piece[: array.nbytes].view(getattr(torch, array.dtype.name)).view(array.shape)
        for piece, array in zip(pieces, arrays, strict=True)
    ]
