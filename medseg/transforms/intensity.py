"""Grey values that mean the same in every scan."""

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

from medseg.transforms.intensity_kernels import count_values, scale_values
from medseg.transforms.placed import Item, grid_of, on_grid


class ScaleByPercentilesd(MapTransform):  # type: ignore[misc]
    """Scale an image to [0, 1] between two of its own percentiles, and clip.

    MR intensities have no unit: each scan is measured by itself. The percentiles are those of the
    voxels **above the scan's minimum**. A scan's frame is empty by 10 to 45 % of its voxels,
    depending on its field of view; were they counted, the same tissue would get another grey
    value in a wider frame. The lower percentile maps to 0, the upper one to 1. Each channel is
    measured by itself.

    A constant channel gives zeros; one with two values gives 0 and 1.
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
            slices = image.as_subclass(Tensor).permute(0, 3, 2, 1)
            scaled = np.empty(slices.shape, np.float32)
            for channel, target in zip(slices, scaled, strict=True):
                values = channel.reshape(-1).numpy()
                low, high = percentiles_above_minimum(values, (self.lower, self.upper))
                # An empty range cannot divide: less its minimum, a constant image is zero.
                factor = 1 / (high - low) if high > low else 0.0
                scale_values(values, np.float32(low), np.float32(factor), target.reshape(-1))
            item[key] = on_grid(torch.from_numpy(scaled).permute(0, 3, 2, 1), grid_of(image))
        return item


class ScaleByMaximumd(MapTransform):  # type: ignore[misc]
    """Divide an image by its largest value, over all channels; one without any is all zeros.

    For pictures, whose black is 0: values below it, which none has, become 0.
    """

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its images scaled to [0, 1]."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            values = image.as_subclass(Tensor)
            largest = values.max().clamp(min=0)
            scaled = values.clamp(min=0) / torch.where(largest > 0, largest, 1)
            item[key] = on_grid(scaled, grid_of(image))
        return item


def percentiles_above_minimum(
    values: NDArray[np.float32], percents: tuple[float, float]
) -> tuple[float, float]:
    """Return two percentiles of the values above the minimum, interpolated between ranks.

    Where both are equal, as in an image of two values, the first is the minimum. A constant image
    returns its value twice.

    Args:
        values: ``(n,)``, at least one. Whole numbers of 16 bits are counted, not sorted.
        percents: The lower one first.
    """
    counts = np.zeros(0x10000, np.int64)
    counted = count_values(values, counts)
    extremes = np.flatnonzero(counts)[[0, -1]] if counted else (values.min(), values.max())
    lowest, highest = map(float, extremes)
    if lowest == highest:
        return lowest, lowest
    if counted:
        counts[int(lowest)] = 0
        low, high = _counted_percentiles(counts, percents)
    else:
        low, high = np.percentile(values[values > lowest].astype(np.float64), percents)
    return (float(low), float(high)) if high > low else (lowest, float(high))


def _counted_percentiles(
    counts: NDArray[np.int64], percents: tuple[float, float]
) -> tuple[float, float]:
    below_or_at = counts.cumsum()
    ranks = np.array(percents) / 100 * (below_or_at[-1] - 1)
    floor = np.searchsorted(below_or_at, np.floor(ranks), side="right")
    ceil = np.searchsorted(below_or_at, np.ceil(ranks), side="right")
    low, high = floor + (ranks % 1) * (ceil - floor)
    return float(low), float(high)
