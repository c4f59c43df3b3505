"""What tuning keeps of each validation scan: how sure the network was of each voxel, and the truth.

Probabilities of a whole data set would fill any memory. Kept is how many of a few thresholds each
voxel is above, in the box that holds all of it, packed: a hundredth of the probabilities.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medseg.bundle import Config, Opened
from medseg.data.batches import in_advance
from medseg.data.label_files import Mask, PlacedMasks, read_reference
from medseg.data.sources import Item
from medseg.geometry import Grid
from medseg.labels import LabelSet
from medseg.transforms.cleaning import Box, box_of
from medseg.transforms.postprocess import LabelMode, logits_of, masks_of

USUAL = 0.5
THRESHOLDS = (0.3, 0.4, USUAL, 0.6, 0.7)
# Smoothing that is tried looks no farther than this.
MARGIN_MM = 10.0

Voxels = NDArray[np.uint8]


class Packed(NamedTuple):
    """An array of small whole numbers, most of them equal to their neighbours."""

    data: bytes
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: Voxels) -> "Packed":
        """Pack an array."""
        return cls(zlib.compress(array.tobytes(), 1), array.shape)

    def array(self) -> Voxels:
        """Return the array."""
        return np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(self.shape)


class KeptScan(NamedTuple):
    """A scan in the box around all that was found or is there.

    Attributes:
        patient: Whose it is.
        levels: ``(organs, I, J, K)``: how many of `THRESHOLDS` each voxel is above.
        truth: ``(organs, I, J, K)`` of 0 and 1.
        grid: Of the box.
    """

    patient: str
    levels: Packed
    truth: Packed
    grid: Grid

    def around(self, channel: int) -> tuple[Voxels, Mask, Grid]:
        """Return the levels of all organs and the truth of one, in the box around that one."""
        levels, truth = self.levels.array(), self.truth.array()[channel].view(bool)
        box = _box((levels[channel] > 0) | truth, self.grid)
        return levels[:, *box], truth[box], _within(self.grid, box)


def predicted_scans(config: Config, chosen: Sequence[Item], labels: LabelSet) -> Iterator[KeptScan]:
    """Yield what is kept of each scan, in their order.

    Args:
        config: An inference configuration, without cleaning and with probabilities.
        chosen: The items.
        labels: The organs.

    Raises:
        DataError: A scan cannot be read.
    """
    opened = Opened(config)
    opened["initialize"]
    network, inferer = opened["network"].eval(), opened["inferer"]
    read = in_advance(opened["preprocessing"], map(dict, chosen), ahead=1)
    with closing(read):
        for item, scan in zip(chosen, read, strict=True):
            pred, probs = inferer(scan["image"], network, native=scan["native"])
            levels = levels_of(pred, probs, config["label_mode"])
            yield kept(item["case_id"], levels, read_reference(item["image"], labels))


def levels_of(pred: Tensor, probs: Tensor, label_mode: LabelMode) -> Voxels:
    """Return how many of `THRESHOLDS` each voxel ``(organs, I, J, K)`` is above.

    Above `USUAL` is what `pred` holds, to the voxel.
    """
    logits, levels = logits_of(probs, label_mode), pred.clone()
    for threshold in THRESHOLDS:
        if threshold != USUAL:
            levels += masks_of(logits, label_mode, [threshold] * len(pred))
    found: Voxels = levels.numpy()
    return found


def kept(patient: str, levels: Voxels, truth: PlacedMasks) -> KeptScan:
    """Return what is kept of a scan whose levels lie on the grid of its truth."""
    masks = np.stack(truth.masks).view(np.uint8)
    anything: Mask = np.logical_or(levels.any(axis=0), masks.any(axis=0))
    box = _box(anything, truth.grid)
    grid = _within(truth.grid, box)
    return KeptScan(patient, Packed.of(levels[:, *box]), Packed.of(masks[:, *box]), grid)


def _box(mask: Mask, grid: Grid) -> Box:
    """Return the box around a mask with room for smoothing; of an empty one a single voxel."""
    margin_vox = [int(np.ceil(MARGIN_MM / mm)) for mm in grid.spacing_mm]
    return box_of(mask, margin_vox) or (slice(0, 1),) * 3


def _within(grid: Grid, box: Box) -> Grid:
    i, j, k = (cut.stop - cut.start for cut in box)
    return grid.boxed((box[0].start, box[1].start, box[2].start), (i, j, k))


def masks_above(levels: Voxels, channel: int, threshold: float | None) -> Voxels:
    """Return masks as one organ's threshold leaves them; the others have the usual one."""
    above = np.full(len(levels), THRESHOLDS.index(USUAL))
    above[channel] = THRESHOLDS.index(threshold or USUAL)
    return (levels > above[:, None, None, None]).view(np.uint8)
