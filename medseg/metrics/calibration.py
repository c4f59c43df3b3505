"""Whether predicted probabilities may be believed: of voxels given 0.8 eight in ten should count.

Voxels are counted by the probability they were given, and those of the reference among them; the
volumes themselves need not be kept, and counts of several scans add up. The body far away from an
organ, where every network is sure and right, would hide everything else: a voxel given less than
`FLOOR` is counted apart. The choice looks at the probability alone, for one that looked at the
reference would move every bin.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GeometryError, Problem

BINS = 20
FLOOR = 0.005


class Point(NamedTuple):
    """A bin that holds voxels: their mean probability, the share that is organ, how many."""

    probability: float
    share: float
    n: int


class Calibration(NamedTuple):
    """The voxels of one organ by the probability they were given.

    Attributes:
        n: Voxels in each of `BINS` equal bins of probability.
        n_ref: Those of them that the reference has.
        sum_p: The sum of the probabilities in each.
        n_below: Voxels given less than `FLOOR`, in no bin.
        n_ref_below: Those of them that the reference has: missed, and surely so.
    """

    n: tuple[int, ...] = (0,) * BINS
    n_ref: tuple[int, ...] = (0,) * BINS
    sum_p: tuple[float, ...] = (0.0,) * BINS
    n_below: int = 0
    n_ref_below: int = 0

    def plus(self, other: "Calibration") -> "Calibration":
        """Return the counts of both together."""
        return Calibration(
            n=tuple(np.add(self.n, other.n).tolist()),
            n_ref=tuple(np.add(self.n_ref, other.n_ref).tolist()),
            sum_p=tuple(np.add(self.sum_p, other.sum_p).tolist()),
            n_below=self.n_below + other.n_below,
            n_ref_below=self.n_ref_below + other.n_ref_below,
        )

    @property
    def points(self) -> list[Point]:
        """The bins that hold voxels, from the least probable on; on the diagonal all is well."""
        bins = zip(self.n, self.n_ref, self.sum_p, strict=True)
        return [Point(total / n, n_ref / n, n) for n, n_ref, total in bins if n]

    @property
    def expected_error(self) -> float:
        """Expected calibration error in [0, 1]: how far off a voxel's bin is, in the mean.

        Bins count by their voxels, as in Guo et al., ICML 2017. NaN without voxels.
        """
        off = math.fsum(n * abs(p - share) for p, share, n in self.points)
        return off / sum(self.n) if any(self.n) else math.nan

    @property
    def surely_missed(self) -> float:
        """Share of the reference that was given less than `FLOOR`; NaN without a reference."""
        whole = sum(self.n_ref) + self.n_ref_below
        return self.n_ref_below / whole if whole else math.nan


def count_by_probability(probs: NDArray[np.float32], ref: NDArray[np.bool_]) -> Calibration:
    """Count the voxels of one organ in one scan.

    Args:
        probs: Probabilities ``(I, J, K)`` in [0, 1].
        ref: The reference mask, of the same shape.

    Raises:
        GeometryError: The shapes differ.
    """
    if probs.shape != ref.shape:
        raise GeometryError(Problem("E-GRID", "masks", f"shape {probs.shape}", f"{ref.shape}"))
    # In the order of their memory: some ten times faster than across it.
    order = np.argsort(probs.strides)[::-1]
    probs, ref = probs.transpose(order), np.asarray(ref, bool).transpose(order)
    counted = probs >= FLOOR
    p, is_ref = probs[counted], ref[counted]
    bins = np.minimum((p * BINS).astype(np.intp), BINS - 1)
    return Calibration(
        n=tuple(np.bincount(bins, minlength=BINS).tolist()),
        n_ref=tuple(np.bincount(bins[is_ref], minlength=BINS).tolist()),
        sum_p=tuple(np.bincount(bins, weights=p, minlength=BINS).tolist()),
        n_below=probs.size - p.size,
        n_ref_below=int(np.count_nonzero(ref)) - int(np.count_nonzero(is_ref)),
    )
