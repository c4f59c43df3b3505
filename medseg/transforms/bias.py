"""Shading of a receiver coil, taken out before anything is measured."""

import torch
from monai.transforms import MapTransform
from torch import Tensor

from medseg.transforms.placed import Item, grid_of, on_grid


class BiasCorrectiond(MapTransform):  # type: ignore[misc]
    """Divide slowly varying shading out of each channel, by N4; see `medseg.io.itk`."""

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its images corrected."""
        # SimpleITK takes most of a second to import, and few bundles want it.
        from medseg.io.itk import n4_corrected

        item = dict(data)
        for key in self.key_iterator(item):
            grid = grid_of(item[key])
            channels = item[key].as_subclass(Tensor).numpy()
            # Slices first, as they lie in memory.
            corrected = [torch.from_numpy(n4_corrected(c, grid.spacing_mm).T) for c in channels]
            item[key] = on_grid(torch.stack(corrected).permute(0, 3, 2, 1), grid)
        return item
