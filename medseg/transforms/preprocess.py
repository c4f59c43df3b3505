"""The deterministic chain from a scan to the network's grid: one for training and for inference.

Read, turn to (L, P, I), scale by the scan's own values, resample where the spacing differs, crop or
pad to the body. Every step but the scaling changes the grid alone, and the grid travels with the
tensor; the scan's own grid is kept beside it, so the way back needs nothing else.
"""

from collections.abc import Sequence
from typing import Literal

from monai.config import KeysCollection
from monai.transforms import MapTransform

from medseg.errors import Problem, UsageError
from medseg.geometry import Grid, Spacing
from medseg.transforms.bias import BiasCorrectiond
from medseg.transforms.body import BodyCropOrPadd
from medseg.transforms.intensity import ScaleByMaximumd, ScaleByPercentilesd
from medseg.transforms.placed import Chain, Item, grid_of, moved
from medseg.transforms.reconstruct import ReadMasksd, ReadVolumed
from medseg.transforms.regrid import Mode

Intensity = Literal["percentiles", "maximum"]

_SCALING: dict[str, type[MapTransform]] = {
    "percentiles": ScaleByPercentilesd,
    "maximum": ScaleByMaximumd,
}


def preprocessing(
    keys: Sequence[str] = ("image", "label"),
    *,
    organs: Sequence[str] = (),
    spacing_mm: Spacing | None = (1.5, 1.5, 3.0),
    roi_px: tuple[int, int] = (288, 288),
    intensity: Intensity = "percentiles",
    bias_correction: bool = False,
) -> Chain:
    """Return the chain that turns an item with a scan into one with prepared tensors.

    The item's ``image`` becomes a MetaTensor ``(C, I, J, K)`` float32 in [0, 1], its ``label``
    one ``(C, I, J, K)`` uint8 on the same grid, and ``native`` is the grid of the scan itself.

    Args:
        keys: ``("image", "label")``, or ``("image",)`` for a scan without labels. What happens to
            the image is the same.
        organs: The organs' names in channel order; needed with labels.
        spacing_mm: The spacing wanted along the body's left, back and feet. None resizes every
            slice to `roi_px`, whatever it shows: for pictures without a scale.
        roi_px: Rows and columns of the network's window, the least size of a slice.
        intensity: ``percentiles`` scales each channel between two of its own, ``maximum`` divides
            the image by its largest value.
        bias_correction: Divide slowly varying shading out first, by N4: seconds a scan.
    """
    labels = [key for key in keys if key != "image"]
    if labels and not organs:
        raise UsageError(
            Problem("E-CONFIG", "preprocessing", "labels, but no organs", "organs in channel order")
        )
    if intensity not in _SCALING:
        found, expected = f"intensity is {intensity!r}", f"one of {', '.join(_SCALING)}"
        raise UsageError(Problem("E-CONFIG", "preprocessing", found, expected))
    modes: list[Mode] = ["linear"]
    modes += ["nearest"] * len(labels)
    everything = ["image", *labels]
    return Chain(
        [
            ReadVolumed("image"),
            *([ReadMasksd(labels, organs)] if labels else []),
            KeepGridd("image", native_key="native"),
            Orientd(everything),
            *([BiasCorrectiond("image")] if bias_correction else []),
            # Before any resampling: by the values as they were measured.
            _SCALING[intensity]("image"),
            ToSpacingd(everything, spacing_mm=spacing_mm, roi_px=roi_px, modes=modes),
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
        spacing_mm: The spacing wanted along I, J, K; None is the one that gives slices of `roi_px`.
        roi_px: Rows and columns wanted where no spacing is.
        modes: ``linear`` or ``nearest``, one for each key.
        allow_missing_keys: Whether items may lack a key.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        spacing_mm: Spacing | None = (1.5, 1.5, 3.0),
        roi_px: tuple[int, int] = (288, 288),
        modes: Sequence[Mode] = ("linear", "nearest"),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm = None if spacing_mm is None else tuple(float(s) for s in spacing_mm)
        self.roi_px = None if spacing_mm is not None else tuple(roi_px)
        self.modes = tuple(modes)[: len(self.keys)]
        if len(self.modes) < len(self.keys):
            raise UsageError(
                Problem("E-CONFIG", "modes", f"{len(modes)} for {len(self.keys)} keys", "one each")
            )

    def __call__(self, data: Item) -> dict[str, object]:
        """Return the item with its tensors resampled."""
        item = dict(data)
        for key, mode in self.key_iterator(item, self.modes):
            grid = grid_of(item[key])
            item[key] = moved(item[key], grid.resampled(self._wanted_mm(grid)), mode=mode)
        return item

    def _wanted_mm(self, grid: Grid) -> Spacing:
        if self.spacing_mm is not None:
            i, j, k = self.spacing_mm
            return i, j, k
        (i, j, k), (columns, rows, _) = grid.spacing_mm, grid.shape
        height, width = self.roi_px or (rows, columns)
        return i * columns / width, j * rows / height, k
