"""All that happens to a batch, slice by slice: the fastest way on a processor.

A slice stays in the cache through its changes, and only what was drawn for it is done. Each thread
takes a slice, so that none waits for another; several times as fast as `warp` and `shading`, which
do the same for a batch at once on any device.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.transforms.draws import Draws
from medseg.transforms.shading import bias_points, kept_px, normals
from medseg.transforms.slice_kernels import (
    Taps,
    add_noise_slice,
    coarsen_slice,
    field,
    warp_slice,
)
from medseg.transforms.spline import taps
from medseg.transforms.warp import ELASTIC_SPACING_PX, displacements_px, mirrored, sampling_px

Pixels = NDArray[np.float32]
Bits = NDArray[np.uint8]


def changed_slices(image: Tensor, masks: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return images ``(B, C, H, W)`` float32 and masks ``(B, K, H, W)`` uint8, all changed."""
    sources = image.detach().contiguous().numpy(), masks.contiguous().numpy()
    targets = np.empty_like(sources[0]), np.empty_like(sources[1])
    move, shade = _mover(draws, *sources), _shader(draws, *image.shape[2:])

    def change(b: int) -> None:
        move(b, targets[0][b], targets[1][b])
        shade(b, targets[0][b])

    in_threads(change, range(len(image)))
    return torch.from_numpy(targets[0]), torch.from_numpy(targets[1])


def _mover(draws: Draws, images: Pixels, masks: Bits) -> Callable[[int, Pixels, Bits], None]:
    """Return what fills an image ``(C, H, W)`` and masks ``(K, H, W)`` with those of a sample."""
    height, width = images.shape[2:]
    sampling = sampling_px(draws, width, height)
    points = displacements_px(draws, height, width)
    nowhere = np.empty((0, *points.shape[2:]), np.float32)
    tapped = _taps(height, width, ELASTIC_SPACING_PX)
    moves = draws.moves

    def move(b: int, image: Pixels, bits: Bits) -> None:
        if moves[b]:
            bend = points[b] if draws.elastic_px[b] else nowhere, tapped
            warp_slice(images[b], masks[b], sampling[b], bend, image, bits)
        else:
            image[:] = np.flip(images[b], mirrored(draws, b))
            bits[:] = np.flip(masks[b], mirrored(draws, b))

    return move


def _shader(draws: Draws, height: int, width: int) -> Callable[[int, Pixels], None]:
    """Return what changes the intensities of a sample's image ``(C, H, W)``."""
    points, kept = bias_points(draws), kept_px(draws, height, width)
    tapped = _taps(height, width, (height, width))
    chosen = normals(torch.device("cpu")).numpy()

    def shade(b: int, image: Pixels) -> None:
        if draws.gamma[b] != 1:
            np.maximum(image, 0, out=image)
            np.power(image, np.float32(draws.gamma[b]), out=image)
        if draws.bias[b]:
            image *= np.exp(field(points[b, 0], tapped))
        if (draws.contrast[b], draws.brightness[b]) != (1, 0):
            image *= np.float32(draws.contrast[b])
            image += np.float32(draws.brightness[b])
        if draws.resolution[b] != 1:
            coarsen_slice(image, *kept[b])
        if draws.noise[b]:
            deviation, key = np.float32(draws.noise[b]), draws.noise_key[b]
            add_noise_slice(image.reshape(-1), deviation, key, chosen)

    return shade


def _taps(height: int, width: int, spacing: tuple[float, float]) -> Taps:
    return *taps(height, spacing[0]), *taps(width, spacing[1])


def in_threads(work: Callable[[int], None], numbers: Iterable[int]) -> None:
    """Do some work for each number, on as many threads as torch uses on a processor.

    It gains by them as far as it lets go of the interpreter's lock.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        for number in numbers:
            work(number)
    else:
        for _ in _pool(threads, os.getpid()).map(work, numbers):
            pass


@lru_cache(maxsize=1)
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    """Return threads, new ones in a process that was forked: it has none of those before."""
    return ThreadPoolExecutor(threads, thread_name_prefix="medseg-augment")
