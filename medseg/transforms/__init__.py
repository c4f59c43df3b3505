"""What happens to pixels: slices to volumes, preprocessing, augmentation, and the way back.

`preprocessing` is the one deterministic chain for training, validation and inference,
`BatchAugment` the random one for batches, `decided` the way from logits to masks on the scan's own
grid, `SaveMasks` from there to files. `regrid` serves both ways. The names below load their module
on first use, as MONAI takes seconds to import.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

# Loaded here, for it shares its name with its module; it needs neither MONAI nor seconds.
from medseg.transforms.regrid import regrid

if TYPE_CHECKING:
    from medseg.transforms.augment import BatchAugment
    from medseg.transforms.body import BodyCropOrPadd
    from medseg.transforms.cleaning import Cleaning
    from medseg.transforms.draws import Draws
    from medseg.transforms.export import SaveMasks
    from medseg.transforms.intensity import ScaleByPercentilesd
    from medseg.transforms.placed import Chain, grid_of, moved, on_grid
    from medseg.transforms.postprocess import Decided, decided
    from medseg.transforms.preprocess import KeepGridd, Orientd, ToSpacingd, preprocessing
    from medseg.transforms.reconstruct import ReadMasksd, ReadVolumed

_HOMES = {
    "BatchAugment": "augment",
    "BodyCropOrPadd": "body",
    "Chain": "placed",
    "Cleaning": "cleaning",
    "Decided": "postprocess",
    "Draws": "draws",
    "KeepGridd": "preprocess",
    "Orientd": "preprocess",
    "ReadMasksd": "reconstruct",
    "ReadVolumed": "reconstruct",
    "SaveMasks": "export",
    "ScaleByPercentilesd": "intensity",
    "ToSpacingd": "preprocess",
    "decided": "postprocess",
    "grid_of": "placed",
    "moved": "placed",
    "on_grid": "placed",
    "preprocessing": "preprocess",
}

__all__ = [
    "BatchAugment",
    "BodyCropOrPadd",
    "Chain",
    "Cleaning",
    "Decided",
    "Draws",
    "KeepGridd",
    "Orientd",
    "ReadMasksd",
    "ReadVolumed",
    "SaveMasks",
    "ScaleByPercentilesd",
    "ToSpacingd",
    "decided",
    "grid_of",
    "moved",
    "on_grid",
    "preprocessing",
    "regrid",
]

__getattr__ = loader(__name__, _HOMES)
