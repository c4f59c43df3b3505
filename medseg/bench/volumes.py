"""Volumes: from one spacing to another, and to and from NIfTI files, beside MONAI.

Each side gets its volumes as it likes them best in memory: medseg slice after slice, as it reads
them, MONAI in the order of the axes. The peers that write do not wait for the disk and do not read
back what they wrote; medseg does both, and its time includes them.
"""

import os
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.bench.measure import Work, require
from medseg.data.phantom.render import Frame, draw_patient, render
from medseg.geometry import TOLERANCE_MM, Grid, Spacing, corner_shift_mm, lpi_grid
from medseg.io.nifti import read_label_map, write_image, write_label_map
from medseg.labels import LabelSet, Organ
from medseg.transforms.regrid import Mode

_SIZE_PX = (266, 266)
_FIELD_MM = 432.0  # along the body, whatever the number of slices
_WANTED_MM: Spacing = (1.5, 1.5, 3.0)
# MONAI's grid lies 2e-4 mm beside medseg's, and float32 holds its coordinates to 1e-5 voxels.
_TOLERANCE = 2e-4
LABELS = LabelSet(
    tuple(
        Organ(name, code, (0, 0, 0), "", "")
        for code, name in enumerate(("large_bowel", "small_bowel", "stomach"), 1)
    ),
    ("large_bowel", "small_bowel", "stomach"),
)


class Phantom(NamedTuple):
    """A drawn scan: image ``(I, J, K)`` in [0, 1] and masks ``(3, I, J, K)``, slices first."""

    image: NDArray[np.float32]
    masks: NDArray[np.uint8]


def works(folder: Path, *, slices: int = 144) -> list[Work]:
    """Return the works on one scan of 266 x 266 pixels.

    Args:
        folder: Where files are written.
        slices: How many slices the scan has.
    """
    phantom = draw(slices)
    native, coarse = (lpi_grid(phantom.image.shape, (side, side, 3.0)) for side in (1.5, 1.63))
    label_map = LABELS.label_map(list(phantom.masks))
    with warnings.catch_warnings():
        # MONAI warns of DICOM decoders whenever a reader of anything is made.
        warnings.simplefilter("ignore")
        return [
            _resample(phantom.image[None], coarse, mode="linear", dtype=torch.float32),
            _resample(phantom.image[None], coarse, mode="linear", dtype=torch.float64),
            _resample(phantom.masks, coarse, mode="nearest", dtype=torch.float32),
            _write(folder, "NIfTI label write", label_map, native, reach=3),
            _write(folder, "NIfTI image write", phantom.image, native, reach=1),
            _read(folder, label_map, native),
        ]


def draw(slices: int) -> Phantom:
    """Draw a scan of a whole body, always the same one."""
    frame = Frame(_SIZE_PX, slices, 1.5, _FIELD_MM / slices, 1.5, 0.0)
    rng = np.random.default_rng(0)
    pictures = list(render(draw_patient(rng), frame, peak=400.0, rng=rng))
    pixels = np.stack([picture.pixels for picture in pictures]).astype(np.float32)
    masks = np.stack([picture.masks for picture in pictures], axis=1).astype(np.uint8)
    return Phantom((pixels / pixels.max()).T, masks.transpose(0, 3, 2, 1))


def sync_s(folder: Path, *, n_bytes: int, rounds: int = 5) -> float:
    """Return the median time to bring a new file of `n_bytes`, and its folder, to the disk."""
    times = []
    for number in range(rounds):
        with (folder / f"sync{number}").open("wb") as stream:
            stream.write(os.urandom(n_bytes))
            stream.flush()
            start = time.perf_counter()
            os.fsync(stream.fileno())
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        times.append(time.perf_counter() - start)
    return median(times)


def _resample(values: NDArray[Any], grid: Grid, *, mode: Mode, dtype: torch.dtype) -> Work:
    import monai.transforms

    from medseg.transforms import ToSpacingd, grid_of, on_grid

    linear = mode == "linear"
    own = on_grid(torch.from_numpy(values), grid)
    other = on_grid(torch.from_numpy(values).contiguous(), grid)
    ours = ToSpacingd("volume", spacing_mm=_WANTED_MM, modes=[mode])
    # With `scale_extent` the outer faces of its volumes stay where they are, as medseg's do.
    theirs = monai.transforms.Spacing(
        _WANTED_MM,
        mode="bilinear" if linear else "nearest",
        padding_mode="border",
        scale_extent=True,
        dtype=dtype,
    )

    def same(one: torch.Tensor, two: torch.Tensor) -> str:
        shift_mm = corner_shift_mm(grid_of(one), grid_of(two))
        require(one.shape == two.shape, f"shapes are {one.shape} and {two.shape}")
        require(shift_mm < TOLERANCE_MM, f"grids are {shift_mm:.4f} mm apart")
        apart = float((one.as_subclass(torch.Tensor) - two.as_subclass(torch.Tensor)).abs().max())
        if not linear:
            require(apart == 0, "masks differ")
            return "equal masks"
        span = float(np.ptp(values))
        require(apart <= _TOLERANCE * span, f"images are {apart / span:.1e} of their range apart")
        return f"images within {apart / span:.1e} of their range"

    precision = "float32" if dtype == torch.float32 else "float64, its default"
    return Work(
        name="1.63 to 1.5 mm resampling" if linear else f"{len(values)} masks, 1.63 to 1.5 mm",
        against=f"MONAI Spacing, {precision}",
        reach=25,
        ours=lambda: ours({"volume": own})["volume"],
        theirs=lambda: theirs(other),
        same=same,
    )


def _write(folder: Path, name: str, volume: NDArray[Any], grid: Grid, *, reach: float) -> Work:
    from monai.transforms import LoadImage, SaveImage

    from medseg.transforms import grid_of, on_grid

    kind = volume.dtype.name
    own, other = folder / f"{kind}.nii.gz", folder / "monai" / f"{kind}.nii.gz"
    # Of a batch a SaveImage gets one item, with a channel.
    item = on_grid(torch.from_numpy(volume).contiguous()[None], grid)
    item.meta["filename_or_obj"] = other.name
    save = SaveImage(
        other.parent,
        output_postfix="",
        output_dtype=volume.dtype,
        resample=False,
        separate_folder=False,
        print_log=False,
        writer="NibabelWriter",
    )
    load = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True)

    def ours() -> Path:
        own.unlink(missing_ok=True)
        if kind == "uint8":
            write_label_map(own, volume, grid, LABELS)
        else:
            write_image(own, volume, grid)
        return own

    def theirs() -> Path:
        other.unlink(missing_ok=True)
        save(item)
        return other

    def same(one: Path, two: Path) -> str:
        """Compare what nibabel reads of both files with what was meant."""
        for file in (one, two):
            found = load(file)
            np.testing.assert_array_equal(found[0].numpy(), volume)
            shift_mm = corner_shift_mm(grid_of(found), grid)
            require(shift_mm < TOLERANCE_MM, f"{file.name} lies {shift_mm} mm off")
        sizes = [f"{file.stat().st_size / 1e6:.2f}" for file in (one, two)]
        return f"equal voxels and affine; {sizes[0]} MB, theirs {sizes[1]} MB"

    return Work(name, "MONAI SaveImage", reach, ours, theirs, same)


def _read(folder: Path, label_map: NDArray[np.uint8], grid: Grid) -> Work:
    from monai.transforms import LoadImage

    file = folder / "labels.nii.gz"
    write_label_map(file, label_map, grid, LABELS)
    load = LoadImage(reader="NibabelReader", image_only=True, dtype=np.uint8)

    def same(one: NDArray[np.uint8], two: torch.Tensor) -> str:
        np.testing.assert_array_equal(one, two.numpy())
        return "equal voxels"

    return Work(
        "NIfTI label read",
        "MONAI LoadImage",
        1,
        lambda: read_label_map(file)[0],
        lambda: load(file),
        same,
    )
