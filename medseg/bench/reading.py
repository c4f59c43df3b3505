"""Reading a scan: its slices, its run-length rows, and all of it up to what a network gets."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.bench.measure import Work, require
from medseg.bench.scans import ORGANS, write_scan
from medseg.io import rle
from medseg.io.png import read_slice
from medseg.scan import Scan

_SIDE_PX = 288
_SPACING_MM = (1.5, 1.5, 3.0)
_PERCENTS = (1.0, 99.0)
# MONAI places the resampled grid some 1e-4 voxels beside ours and computes its coordinates in
# single precision: a thousandth of the range of grey values, and masks that differ at ties.
_TOLERANCE = 2e-3
_TIES = 1e-3


def works(folder: Path, *, slices: int = 144) -> list[Work]:
    """Return the works of reading one scan of 266 x 266 pixels at 1.63 mm.

    Args:
        folder: Where the scan is written.
        slices: How many slices it has, four at least, or no organ shows.
    """
    scan = write_scan(folder, slices=slices, spacing_mm=1.63)
    return [_decode_png(scan), _decode_rows(scan), _prepare(scan)]


def _decode_png(scan: Scan) -> Work:
    from monai.transforms import LoadImage

    # Of MONAI's readers for PNG the fastest; left to itself, it comes to the same one.
    with _quiet():
        load = LoadImage(reader="PILReader", image_only=True)

    def same(ours: list[NDArray[np.uint16]], theirs: list[torch.Tensor]) -> str:
        for own, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(own, other.numpy().T)
        return "equal grey values"

    return Work(
        name=f"PNG decode, {len(scan.slice_files)} slices",
        against="MONAI LoadImage",
        reach=1.3,
        ours=lambda: [read_slice(file) for file in scan.slice_files],
        theirs=lambda: [load(file) for file in scan.slice_files],
        same=same,
    )


def _decode_rows(scan: Scan) -> Work:
    shape = scan.size_px[::-1]
    rows = scan.rle or {}

    def ours() -> NDArray[np.bool_]:
        masks = rle.decode_slices([row for organ in ORGANS for row in rows[organ]], shape)
        return masks.reshape(len(ORGANS), -1, *shape)

    def same(ours: NDArray[np.bool_], theirs: NDArray[np.uint8]) -> str:
        np.testing.assert_array_equal(ours.transpose(1, 0, 2, 3), theirs)
        return "equal masks"

    return Work(
        name=f"RLE decode, {len(ORGANS) * len(scan.slice_files)} rows",
        against="NumPy code as on Kaggle",
        reach=8,
        ours=ours,
        theirs=lambda: _masks_by_slice(scan),
        same=same,
    )


def _masks_by_slice(scan: Scan) -> NDArray[np.uint8]:
    """Return masks ``(S, C, H, W)`` as notebooks make them: row by row, run by run."""
    shape = scan.size_px[::-1]
    rows = scan.rle or {}
    return np.stack(
        [
            np.stack([_mask_by_runs(rows[organ][k], shape) for organ in ORGANS])
            for k in range(len(scan.slice_files))
        ]
    )


def _mask_by_runs(row: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    numbers = np.asarray(row.split(), int)
    starts = numbers[0::2] - 1
    flat = np.zeros(shape[0] * shape[1], np.uint8)
    for start, end in zip(starts, starts + numbers[1::2], strict=True):
        flat[start:end] = 1
    return flat.reshape(shape)


def _prepare(scan: Scan) -> Work:
    from medseg.transforms import preprocessing

    chain = preprocessing(organs=ORGANS, spacing_mm=_SPACING_MM, roi_px=(_SIDE_PX, _SIDE_PX))
    with _quiet():
        stock = _stock_chain(scan)
    files = [str(file) for file in scan.slice_files]
    return Work(
        name=f"scan of {len(files)} slices prepared, 1.63 to 1.5 mm",
        against="MONAI dictionary transforms",
        reach=6,
        ours=lambda: chain({"image": scan, "label": scan}),
        theirs=lambda: stock({"image": files, "label": scan}),
        same=_same_item,
    )


def _stock_chain(scan: Scan) -> Callable[[Any], dict[str, Any]]:
    """Return the chain of MONAI's own transforms that does what `preprocessing` does."""
    from monai.data import MetaTensor
    from monai.transforms import (
        Compose,
        Lambdad,
        LoadImaged,
        ResizeWithPadOrCropd,
        ScaleIntensityRange,
        Spacingd,
    )
    from monai.transforms.utils_pytorch_numpy_unification import percentile

    affine = torch.tensor(scan.grid.affine_ras_mm)

    def volume(slices: MetaTensor) -> MetaTensor:
        return MetaTensor(slices.as_tensor().permute(1, 2, 0)[None], affine=affine)  # (1, I, J, K)

    def masks(labelled: Scan) -> MetaTensor:
        by_slice = torch.from_numpy(_masks_by_slice(labelled))
        return MetaTensor(by_slice.permute(1, 3, 2, 0), affine=affine)  # (C, I, J, K)

    def scaled(image: MetaTensor) -> MetaTensor:
        # MONAI's own transform counts the empty frame; its parts do it without.
        above = image[image > image.min()]
        low, high = (float(percentile(above, percent)) for percent in _PERCENTS)
        scaled: MetaTensor = ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)(image)
        return scaled

    both = ["image", "label"]
    chain: Callable[[Any], dict[str, Any]] = Compose(
        [
            LoadImaged("image", reader="PILReader"),
            Lambdad("image", volume),
            Lambdad("label", masks),
            Lambdad("image", scaled),
            Spacingd(
                both,
                pixdim=_SPACING_MM,
                mode=("bilinear", "nearest"),
                align_corners=True,
                scale_extent=True,
                dtype=np.float32,
            ),
            ResizeWithPadOrCropd(both, (_SIDE_PX, _SIDE_PX, len(scan.slice_files))),
        ]
    )
    return chain


def _same_item(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Compare prepared tensors where they show the same millimetres."""
    offset = np.linalg.solve(ours["image"].affine.numpy(), theirs["image"].affine.numpy()[:, 3])
    own, other = zip(*(_overlap(round(o)) for o in offset[:3]), strict=True)
    image = [item["image"].as_tensor()[0] for item in (ours, theirs)]
    label = [item["label"].as_tensor() for item in (ours, theirs)]
    apart = float((image[0][own] - image[1][other]).abs().max())
    require(apart < _TOLERANCE, f"images are {apart} apart")
    differing = float((label[0][:, *own] != label[1][:, *other]).float().mean())
    require(differing < _TIES, f"{differing:.2%} of the labels differ")
    return f"images within {apart:.1e} of their range, {differing:.1e} of the labels differ"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MONAI from warning of DICOM decoders whenever a reader of anything is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _overlap(shift: int) -> tuple[slice, slice]:
    """Return where two axes of one length overlap, the second beginning `shift` voxels later."""
    ahead, behind = max(shift, 0), max(-shift, 0)
    return slice(ahead, -behind or None), slice(behind, -ahead or None)
