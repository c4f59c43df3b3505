"""2.5D: which slices of a scan a slice is seen with.

The channels are the slice and its neighbours at a stride, from head to feet; at the ends of a scan
the last slice stands for those beyond.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.errors import Problem, UsageError


def neighbour_indices(
    ks: Sequence[int] | NDArray[np.int64],
    count: int | NDArray[np.int64],
    *,
    neighbours: int,
    stride: int,
) -> NDArray[np.int64]:
    """Return the slices that each of `ks` is seen with, ``(len(ks), neighbours)``.

    Args:
        ks: Slices, 0 to count - 1.
        count: How many slices the scan has; of slices of several scans, ``(len(ks), 1)``.
        neighbours: Slices of a sample, itself among them; odd.
        stride: Distance between neighbouring slices, in slices.

    >>> neighbour_indices([0, 5], 8, neighbours=5, stride=2).tolist()
    [[0, 0, 0, 2, 4], [1, 3, 5, 7, 7]]
    """
    if neighbours < 1 or neighbours % 2 == 0 or stride < 1:
        raise UsageError(
            Problem(
                "E-CONFIG",
                "slices",
                f"{neighbours} neighbours at stride {stride}",
                "an odd number of neighbours, a stride of at least 1",
            )
        )
    offsets = (np.arange(neighbours) - neighbours // 2) * stride
    return (np.asarray(ks, np.int64)[:, None] + offsets).clip(0, count - 1)


def neighbour_stack(
    slices: Tensor, ks: Sequence[int] | Tensor, neighbours: int, stride: int
) -> Tensor:
    """Return slices of a volume ``(K, C, H, W)`` with their neighbours.

    The result is ``(B, neighbours * C, H, W)``, all channels of a neighbour together. Of a volume
    with one channel, a run of slices away from the ends is a view that copies nothing.
    """
    wanted = neighbour_indices(
        [int(k) for k in ks], len(slices), neighbours=neighbours, stride=stride
    )
    run = (np.diff(wanted, axis=0) == 1).all() and (np.diff(wanted, axis=1) == stride).all()
    if len(wanted) and run:
        windows = slices[wanted[0, 0] : wanted[-1, -1] + 1].unfold(
            0, (neighbours - 1) * stride + 1, 1
        )  # (B, C, H, W, reach)
        return windows[..., ::stride].permute(0, 4, 1, 2, 3).flatten(1, 2)
    # Not waiting: the device may still be busy with the batch before.
    return slices[torch.from_numpy(wanted).to(slices.device, non_blocking=True)].flatten(1, 2)
