"""The part of a slice that shows the body."""

from collections.abc import Sequence

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from medseg.transforms.blocks import BLOCK_PX, bright_blocks
from medseg.transforms.placed import Item, grid_of, moved

BODY_THRESHOLD = 0.1  # of the scan's 99th percentile: above air and its noise, below any tissue
BODY_CHORD = 0.03  # share of a row or column

# Where something begins and ends along I and along J; the ends are excluded.
Extents = tuple[tuple[int, int], tuple[int, int]]


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
    pixels, which evens out noise, and a block is added on each side for the skin. Of several
    channels the brightest counts. An image without a body counts as all body.
    """
    channels = image.as_subclass(Tensor)
    brightest = channels[0] if len(channels) == 1 else channels.amax(0)
    slices = brightest.permute(2, 1, 0).cpu().numpy()  # (K, J, I)
    bright = bright_blocks(slices, BODY_THRESHOLD)
    height, width = slices.shape[1:]
    return _body_extent(bright.of_columns, width), _body_extent(bright.of_rows, height)


def mask_extents_px(masks: Tensor) -> Extents | None:
    """Return where masks ``(C, I, J, K)`` begin and end along I and J; None when all are empty."""
    slices = masks.as_subclass(Tensor).permute(0, 3, 2, 1).flatten(0, 1).numpy()
    seen = slices.max(axis=0)  # (J, I)
    along_i, along_j = (np.flatnonzero(seen.any(axis=axis)) for axis in (0, 1))
    if not len(along_i):
        return None
    return (int(along_i[0]), int(along_i[-1]) + 1), (int(along_j[0]), int(along_j[-1]) + 1)


def _body_extent(chords: NDArray[np.float32], size: int) -> tuple[int, int]:
    """Return the extent of the body along one axis, from the share of tissue ``(K, blocks)``."""
    tenth = max(1, len(chords) // 10)
    found = np.flatnonzero(np.sort(chords, axis=0)[-tenth] > BODY_CHORD)
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
