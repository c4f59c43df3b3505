"""A stand-in for the course's cell pictures: one folder a pair, a picture and a mask in each.

``OUT/pair_01/cells_01.png`` and ``OUT/pair_01/cells_01_mask.png``, 512 x 512, 8-bit grey. Masks are
grey where cells overlap and along their rims, and that of pair 3 is stored as RGB.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.phantom.culture import draw_cells, render
from medseg.data.phantom.twin import Order, Twin
from medseg.io.pictures import write_picture

_RGB_MASK = 3


def _names(order: Order) -> list[str]:
    return [f"pair_{n:02d}" for n in range(1, order.counts["pairs"] + 1)]


def _tasks(out: Path, order: Order) -> list[Callable[[], None]]:
    side_px = 64 if order.tiny else 512
    return [
        partial(_write_pair, out / name, [order.seed, n], side_px, n == _RGB_MASK)
        for n, name in enumerate(_names(order), 1)
    ]


def _write_pair(folder: Path, seed: Sequence[int], side_px: int, rgb: bool) -> None:
    rng = np.random.default_rng(seed)
    dish = render(draw_cells(rng), rng, side_px=side_px)
    name = folder.name.replace("pair", "cells")
    mask = np.repeat(dish.mask[..., None], 3, axis=2) if rgb else dish.mask
    folder.mkdir()
    write_picture(folder / f"{name}.png", dish.pixels)
    write_picture(folder / f"{name}_mask.png", mask)


CELLS = Twin(
    counts={"pairs": (50, 9999)},
    entries=_names,
    tasks=_tasks,
    finish=lambda _out, _results: None,
)
