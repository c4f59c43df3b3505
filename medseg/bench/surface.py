"""Surface metrics of a scan's organs, beside MONAI and, where it is installed, MedPy.

Each side gets its masks as it likes them best in memory: medseg slice after slice, as it reads
them, the others in the order of the axes. All three metrics are taken of every organ; medseg reads
them off one measurement, MONAI measures for each.
"""

import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.bench.measure import Work, require
from medseg.bench.volumes import draw
from medseg.geometry import Spacing
from medseg.metrics.surface import SurfaceDistances, surface_distances

SPACING_MM: Spacing = (1.5, 1.5, 3.0)
_TOLERANCE_MM = 3.0
_SAME_MM = 1e-4
_FAR_VOX = 60

Masks = NDArray[np.bool_]


def works(folder: Path, *, slices: int = 144) -> list[Work]:  # noqa: ARG001
    """Return the works on the three organs of one scan of 266 x 266 pixels.

    Args:
        folder: Of no use here: nothing is written.
        slices: How many slices the scan has.
    """
    ref = draw(slices).masks.astype(bool)
    pred = np.stack([_redrawn(mask, seed) for seed, mask in enumerate(ref)])
    far = np.zeros_like(pred)
    far[:, _FAR_VOX:] = pred[:, :-_FAR_VOX]
    found = [
        _beside_monai("HD95, NSD and ASSD, 3 organs", pred, ref),
        _beside_monai("the same of organs 90 mm apart", far, ref),
    ]
    return [*found, _beside_medpy(pred[-1], ref[-1])] if find_spec("medpy") else found


def _redrawn(mask: Masks, seed: int) -> Masks:
    """Return an outline as another hand would draw it: smoother, and a few millimetres off."""
    rng = np.random.default_rng(seed)
    lumps = ndimage.gaussian_filter(rng.standard_normal(mask.shape, np.float32), 4)
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), 1.5)
    redrawn: Masks = smooth + 0.3 * lumps / lumps.std() * (smooth > 0.01) > 0.5
    return redrawn


def _beside_monai(name: str, pred: Masks, ref: Masks) -> Work:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    tensors = [torch.from_numpy(np.ascontiguousarray(masks))[None] for masks in (pred, ref)]
    given: dict[str, Any] = {"include_background": True, "spacing": SPACING_MM}
    limits_mm = [_TOLERANCE_MM] * len(ref)
    measured = _measuring(pred, ref)

    def ours() -> NDArray[np.float64]:
        return np.array(
            [
                (each.hausdorff_mm(95), each.surface_dice(_TOLERANCE_MM), each.average_mm())
                for each in measured()
            ]
        )

    def theirs() -> NDArray[np.float64]:
        with warnings.catch_warnings():
            # MONAI warns of an argument that it gives itself.
            warnings.simplefilter("ignore")
            found = (
                compute_hausdorff_distance(*tensors, percentile=95, **given),
                compute_surface_dice(*tensors, class_thresholds=limits_mm, **given),
                compute_average_surface_distance(*tensors, symmetric=True, **given),
            )
        return torch.stack([metric[0] for metric in found], dim=1).double().numpy()

    return Work(name, "MONAI", 6, ours, theirs, _same)


def _beside_medpy(pred: Masks, ref: Masks) -> Work:
    from medpy.metric.binary import assd, hd95

    given = np.ascontiguousarray(pred), np.ascontiguousarray(ref)
    measured = _measuring(pred[None], ref[None])

    def ours() -> NDArray[np.float64]:
        (each,) = measured()
        # MedPy takes one percentile of both directions together.
        return np.array([np.percentile(np.concatenate(each), 95), each.average_mm()])

    def theirs() -> NDArray[np.float64]:
        return np.array([metric(*given, voxelspacing=SPACING_MM) for metric in (hd95, assd)])

    return Work("HD95 (pooled) and ASSD, stomach", "MedPy", 6, ours, theirs, _same)


def _measuring(preds: Masks, refs: Masks) -> Callable[[], Iterator[SurfaceDistances]]:
    pairs = [[np.asfortranarray(mask) for mask in pair] for pair in zip(preds, refs, strict=True)]

    def measured() -> Iterator[SurfaceDistances]:
        return (surface_distances(*pair, spacing_mm=SPACING_MM) for pair in pairs)

    return measured


def _same(one: NDArray[np.float64], two: NDArray[np.float64]) -> str:
    apart = float(np.abs(one - two).max())
    require(apart <= _SAME_MM, f"metrics are {apart:.1e} apart")
    return f"metrics within {apart:.0e}"
