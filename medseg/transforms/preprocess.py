"""The deterministic chain from a scan to the network's grid: one for training and for inference.

Read, turn to (L, P, I), scale by the scan's own percentiles, resample where the spacing differs,
crop or pad to the body. Every step but the scaling changes the grid alone, and the grid travels
with the tensor; the scan's own grid is kept beside it, so the way back needs nothing else.
"""

from collections.abc import Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from medseg.errors import Problem, UsageError
from medseg.geometry import Spacing
from medseg.transforms.placed import Chain, Item, grid_of, moved, on_grid
from medseg.transforms.reconstruct import ReadMasksd, ReadVolumed
from medseg.transforms.regrid import Mode

BODY_THRESHOLD = 0.1  # of the scan's 99th percentile: above air and its noise, below any tissue
BODY_CHORD = 0.03  # share of a row or column
BLOCK_PX = 4

# Where something begins and ends along I and along J; the ends are excluded.
Extents = tuple[tuple[int, int], tuple[int, int]]


def preprocessing(
    keys: Sequence[str] = ("image", "label"),
    *,
    organs: Sequence[str] = (),
    spacing_mm: Spacing = (1.5, 1.5, 3.0),
    roi_px: tuple[int, int] = (288, 288),
) -> Chain:
    """Return the chain that turns an item with a scan into one with prepared tensors.

    The item's ``image`` becomes a MetaTensor ``(1, I, J, K)`` float32 in [0, 1], its ``label``
    one ``(C, I, J, K)`` uint8 on the same grid, and ``native`` is the grid of the scan itself.

    Args:
        keys: ``("image", "label")``, or ``("image",)`` for a scan without labels. What happens to
            the image is the same.
        organs: The organs' names in channel order; needed with labels.
        spacing_mm: The spacing wanted along the body's left, back and feet.
        roi_px: Rows and columns of the network's window, the least size of a slice.
    """
    labels = [key for key in keys if key != "image"]
    if labels and not organs:
        raise UsageError(
            Problem("E-CONFIG", "preprocessing", "labels, but no organs", "organs in channel order")
        )
    modes: list[Mode] = ["linear"]
    modes += ["nearest"] * len(labels)
    everything = ["image", *labels]
    return Chain(
        [
            ReadVolumed("image"),
            *([ReadMasksd(labels, organs)] if labels else []),
            KeepGridd("image", native_key="native"),
            Orientd(everything),
            # Before any resampling: the percentiles of the values as they were measured.
            ScaleByPercentilesd("image"),
            ToSpacingd(everything, spacing_mm=spacing_mm, modes=modes),
            BodyCropOrPadd(everything, source_key="image", roi_px=roi_px),
        ]
    )


class KeepGridd(MapTransform):  # type: ignore[misc]
    """Keep the grid of a tensor as it is now under `native_key`."""

    def __init__(self, keys: KeysCollection, *, native_key: str = "native") -> None:
        super().__init__(keys)
        self.native_key = native_key

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with the grid of its first key."""
        return {**data, self.native_key: grid_of(data[self.keys[0]])}


class Orientd(MapTransform):  # type: ignore[misc]
    """Flip and permute axes until they grow to `codes`; exact, and nothing is recorded."""

    def __init__(
        self,
        keys: KeysCollection,
        *,
        codes: tuple[str, str, str] = ("L", "P", "I"),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.codes = codes

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its tensors turned."""
        item = dict(data)
        for key in self.key_iterator(item):
            target = grid_of(item[key]).reoriented(self.codes)
            item[key] = moved(item[key], target, mode="nearest")
        return item


class ToSpacingd(MapTransform):  # type: ignore[misc]
    """Resample to a spacing; a tensor that has it, within 1e-4 mm, is left alone.

    Args:
        keys: Tensors to resample.
        spacing_mm: The spacing wanted along I, J, K.
        modes: ``linear`` or ``nearest``, one for each key.
        allow_missing_keys: Whether items may lack a key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        spacing_mm: Spacing = (1.5, 1.5, 3.0),
        modes: Sequence[Mode] = ("linear", "nearest"),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm = tuple(float(s) for s in spacing_mm)
        self.modes = tuple(modes)[: len(self.keys)]
        if len(self.modes) < len(self.keys):
            raise UsageError(
                Problem("E-CONFIG", "modes", f"{len(modes)} for {len(self.keys)} keys", "one each")
            )

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its tensors resampled."""
        item = dict(data)
        for key, mode in self.key_iterator(item, self.modes):
            i, j, k = self.spacing_mm
            item[key] = moved(item[key], grid_of(item[key]).resampled((i, j, k)), mode=mode)
        return item


class ScaleByPercentilesd(MapTransform):  # type: ignore[misc]
    """Scale an image to [0, 1] between two of its own percentiles, and clip.

    MR intensities have no unit: each scan is measured by itself. The percentiles are those of the
    voxels **above the scan's minimum**. A scan's frame is empty by 10 to 45 % of its voxels,
    depending on its field of view; were they counted, the same tissue would get another grey
    value in a wider frame. The lower percentile maps to 0, the upper one to 1.

    A constant scan gives zeros; one with two values gives 0 and 1.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        *,
        lower: float = 1.0,
        upper: float = 99.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.lower, self.upper = lower, upper

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its images scaled."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            low, high = percentiles_above_minimum(image, (self.lower, self.upper))
            scaled = image.as_subclass(Tensor) - low
            # An empty range cannot divide: a constant scan is zero everywhere by now.
            scaled.mul_(1 / (high - low) if high > low else 0.0).clamp_(0, 1)
            item[key] = on_grid(scaled, grid_of(image))
        return item


def percentiles_above_minimum(image: Tensor, percents: tuple[float, float]) -> tuple[float, float]:
    """Return two percentiles of the values above the minimum, interpolated between ranks.

    Where both are equal, as in an image of two values, the first is the minimum. A constant image
    returns its value twice.
    """
    # Any order of the voxels will do, but the order of memory is the fastest to read.
    flat = image.as_subclass(Tensor).permute(0, 3, 2, 1).reshape(-1).numpy()
    lowest, highest = float(flat.min()), float(flat.max())
    if lowest == highest:
        return lowest, lowest
    counts = _counts(flat) if lowest >= 0 and highest <= 0xFFFF else None
    if counts is None:
        low, high = np.percentile(flat[flat > lowest].astype(np.float64), percents)
    else:
        counts[int(lowest)] = 0
        low, high = _counted_percentiles(counts, percents)
    return (float(low), float(high)) if high > low else (lowest, float(high))


def _counts(flat: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """Return how often each value 0 … 65535 occurs; None when values are not whole numbers."""
    counts = np.zeros(0x10000, np.int64)
    for part in np.array_split(flat, max(1, flat.size >> 20)):
        whole = part.astype(np.uint16)
        if not np.array_equal(whole, part):
            return None
        counts += np.bincount(whole, minlength=0x10000)
    return counts


def _counted_percentiles(
    counts: NDArray[np.int64], percents: tuple[float, float]
) -> tuple[float, float]:
    below_or_at = counts.cumsum()
    ranks = np.array(percents) / 100 * (below_or_at[-1] - 1)
    floor = np.searchsorted(below_or_at, np.floor(ranks), side="right")
    ceil = np.searchsorted(below_or_at, np.ceil(ranks), side="right")
    low, high = floor + (ranks % 1) * (ceil - floor)
    return float(low), float(high)


class BodyCropOrPadd(MapTransform):  # type: ignore[misc]
    """Crop or pad slices around the body, in-plane and alike in all slices.

    Along each axis: a slice no larger than `roi_px` is padded to it with zeros; from a larger one
    `roi_px` are cut out around the body; where the body itself is larger, its whole extent is
    kept. The box is found on the image alone, and grows wherever a mask of the item reaches out
    of it: masks are never cut.

    Args:
        keys: Tensors to crop or pad, all on one grid.
        source_key: The image, scaled to [0, 1], that shows the body.
        roi_px: Least rows and columns of a slice, (J, I).
        allow_missing_keys: Whether items may lack a key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        source_key: str = "image",
        roi_px: tuple[int, int] = (288, 288),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.source_key = source_key
        self.roi_px = tuple(roi_px)

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its tensors on the box's grid."""
        item = dict(data)
        image = item[self.source_key]
        least = (self.roi_px[1], self.roi_px[0])  # along I, along J
        width, height, depth = image.shape[1:]
        body: Extents = ((0, width), (0, height))
        kept: list[Extents] = []
        if width > least[0] or height > least[1]:
            body = body_extents_px(image)
            masks = (item[key] for key in self.key_iterator(item) if key != self.source_key)
            kept = [extents for each in masks if (extents := mask_extents_px(each))]
        (i, width), (j, height) = (
            _span(body[d], image.shape[1 + d], least[d], [extents[d] for extents in kept])
            for d in range(2)
        )
        target = grid_of(image).boxed((i, j, 0), (width, height, depth))
        for key in self.key_iterator(item):
            item[key] = moved(item[key], target, mode="nearest")
        return item


def body_extents_px(image: Tensor) -> Extents:
    """Return where the body begins and ends along I and along J; the ends are excluded.

    A row or column belongs to the body where, in at least a tenth of the slices, more than
    `BODY_CHORD` of it is brighter than `BODY_THRESHOLD`. Brightness is the mean of blocks of 4 x 4
    pixels, which evens out noise, and a block is added on each side for the skin. An image without
    a body counts as all body.
    """
    slices = image.as_subclass(Tensor).permute(3, 0, 2, 1)  # (K, 1, J, I)
    height, width = slices.shape[2:]
    blocks = avg_pool2d(slices, BLOCK_PX, ceil_mode=True, count_include_pad=False)
    tissue = (blocks[:, 0] > BODY_THRESHOLD).float()
    return _body_extent(tissue.mean(1), width), _body_extent(tissue.mean(2), height)


def mask_extents_px(masks: Tensor) -> Extents | None:
    """Return where masks ``(C, I, J, K)`` begin and end along I and J; None when all are empty."""
    slices = masks.as_subclass(Tensor).permute(0, 3, 2, 1).flatten(0, 1).numpy()
    seen = slices.max(axis=0)  # (J, I)
    along_i, along_j = (np.flatnonzero(seen.any(axis=axis)) for axis in (0, 1))
    if not len(along_i):
        return None
    return (int(along_i[0]), int(along_i[-1]) + 1), (int(along_j[0]), int(along_j[-1]) + 1)


def _body_extent(chords: Tensor, size: int) -> tuple[int, int]:
    """Return the extent of the body along one axis, from the share of tissue ``(K, blocks)``."""
    tenth = max(1, len(chords) // 10)
    found = torch.nonzero(chords.topk(tenth, dim=0).values[-1] > BODY_CHORD).flatten()
    if not len(found):
        return 0, size
    return max(0, BLOCK_PX * (int(found[0]) - 1)), min(size, BLOCK_PX * (int(found[-1]) + 2))


def _span(
    body: tuple[int, int], size: int, least: int, kept: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Return the first voxel, negative where padded, and the length of the box along one axis."""
    length = max(least, body[1] - body[0])
    if size <= length:
        return (size - length) // 2, length
    start = min(max(0, (sum(body) - length) // 2), size - length)
    begins, ends = zip((start, start + length), *kept, strict=True)
    return min(begins), max(ends) - min(begins)
