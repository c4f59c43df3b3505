"""Twins of data sets: computed pictures in the true layout, for whoever has no patients at hand.

`twin` is how any of them is made. ``uwmgi``, random abdomens scanned on several days: `abdomens`
names and writes the files, `render` paints the slices of one scan: `trunk` the body wall, `anatomy`
the firm organs, `ends` chest and pelvis, `hollow` the gut, whose course `bowel` lays out as
`tubes`; `scanner` adds what a scanner adds. ``lgg``, random heads: `heads` writes, `brain` paints,
`glioma` is the lesion. ``cells``, cell cultures: `dishes` writes, `culture` paints. `sheet`,
`canvas`, `noise` and `smooth_noise` are paper and brushes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from medseg.data.phantom.abdomens import UWMGI
from medseg.data.phantom.dishes import CELLS
from medseg.data.phantom.heads import LGG
from medseg.data.phantom.twin import Twin, is_phantom, make, order
from medseg.errors import Problem, UsageError

__all__ = ["TWINS", "is_phantom", "write_phantom"]

TWINS: Mapping[str, Twin] = {"uwmgi": UWMGI, "lgg": LGG, "cells": CELLS}


def write_phantom(
    out: Path,
    *,
    like: str = "uwmgi",
    seed: int = 0,
    tiny: bool = False,
    progress: Callable[[int, int], object] | None = None,
    **counts: int,
) -> Path:
    """Write the twin of a data set, in its layout, and return `out`.

    Args:
        out: Folder to fill; made where absent, and refused where it already holds a data set.
        like: The manifest's name, one of `TWINS`.
        seed: The same seed gives the same bytes; 0 or more.
        tiny: Write small ones for tests: dolls of at most 96 x 80 pixels and 20 slices.
        progress: Called after each scan with the number of scans done and of all.
        counts: How many of what: ``patients`` and ``days`` of uwmgi, ``patients`` of lgg, ``pairs``
            of cells.

    Raises:
        UsageError: There is no such twin, a number is out of range, or `out` holds a data set.
    """
    if like not in TWINS:
        raise UsageError(Problem("E-PHANTOM", like, "has no phantom", ", ".join(TWINS)))
    wanted = order(TWINS[like], seed=seed, tiny=tiny, counts=counts)
    make(TWINS[like], out, wanted, progress=progress)
    return out
