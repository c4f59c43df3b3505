"""One prepared scan on the disk, and how to tell that it is whole.

An *entry* is a folder with ``image.npy`` ``(K, C, J, I)`` float16, ``masks.npy`` ``(K, J, I)``
uint8 with a bit an organ, and ``entry.json`` with the grids and every file's size, header and
checksum.
"""

import hashlib
import json
import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.errors import DataError, Problem, UsageError
from medseg.geometry import Grid
from medseg.io.atomic import sync_folder

T = TypeVar("T", bound=np.generic)

MAX_CHANNELS = 8

# Written last, when the arrays are there.
ENTRY = "entry.json"


@dataclass(frozen=True, eq=False)
class Prepared:
    """One prepared scan; its arrays stay on the disk until they are read.

    Attributes:
        scan_id: The scan's name.
        case_id: The patient.
        key: The name of its entry in the store.
        folder: The entry.
        grid: The grid of image and masks.
        native: The grid of the scan itself.
        image_channels: How many values a voxel of the image has.
        channels: How many masks there are; 0 when the scan has no labels.
        presence: For each slice the masks that hold something, a bit each.
    """

    scan_id: str
    case_id: str
    key: str
    folder: Path
    grid: Grid
    native: Grid
    image_channels: int
    channels: int
    presence: tuple[int, ...]

    @property
    def image(self) -> NDArray[np.float16]:
        """Intensities ``(K, C, J, I)``, mapped read-only for as long as the array is held."""
        k, j, i = self.grid.shape[::-1]
        return self._mapped("image.npy", np.float16, (k, self.image_channels, j, i))

    @property
    def masks(self) -> NDArray[np.uint8] | None:
        """Masks ``(K, J, I)``, a bit an organ, mapped likewise; None without labels."""
        return self._mapped("masks.npy", np.uint8, self.grid.shape[::-1]) if self.channels else None

    def _mapped(self, name: str, dtype: type[T], shape: tuple[int, ...]) -> NDArray[T]:
        """Map an array anew: a map that were kept would count, page by page, as memory in use.

        It takes a seventh of the time that `numpy.load` does, header and all.
        """
        with (self.folder / name).open("rb", buffering=0) as stream:
            pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        offset = len(pages) - np.dtype(dtype).itemsize * math.prod(shape)
        return np.frombuffer(pages, dtype, offset=offset).reshape(shape)


class Arrays(NamedTuple):
    """A prepared item as it is stored, slices first."""

    image: NDArray[np.float16]
    masks: NDArray[np.uint8] | None
    channels: int

    @property
    def bytes(self) -> int:
        """Room they need."""
        return self.image.nbytes + (0 if self.masks is None else self.masks.nbytes)


def arrays_of(item: Mapping[str, Any], *, subject: str) -> Arrays:
    """Return what is stored of an item with ``image`` ``(C, I, J, K)`` and perhaps ``label``.

    Raises:
        DataError: The image holds something that is no number in float16.
        UsageError: There are more than 8 masks.
    """
    # Copied first: what was cropped is a view, and those take long to look through.
    image = _slices_first(item["image"]).transpose(0, 1).half().contiguous()
    if not all(map(torch.isfinite, torch.aminmax(image))):
        raise DataError(Problem("E-NONFINITE", subject, "its prepared image is not finite"))
    half: NDArray[np.float16] = image.numpy()
    if item.get("label") is None or not len(item["label"]):
        return Arrays(half, None, 0)
    masks = _slices_first(item["label"])
    if len(masks) > MAX_CHANNELS:
        raise UsageError(
            Problem("E-CHANNELS", subject, f"{len(masks)} masks", f"at most {MAX_CHANNELS}")
        )
    # numba takes most of a second to import, and who only reads entries does without.
    from medseg.data.packing import packed

    masks = masks if masks.dtype == torch.uint8 else masks.ne(0).byte()
    return Arrays(half, packed(masks.numpy()), len(masks))


def unpacked(bits: Tensor, channels: int, *, dim: int = 0) -> Tensor:
    """Return masks of 0 and 1 from a uint8 tensor with a bit a channel; channels become `dim`.

    >>> unpacked(torch.tensor([0, 1, 2, 3], dtype=torch.uint8), 2).tolist()
    [[0, 1, 0, 1], [0, 0, 1, 1]]
    """
    shifts = torch.arange(channels, dtype=torch.uint8, device=bits.device)
    return (
        bits.unsqueeze(dim)
        .bitwise_right_shift(shifts.view(-1, *[1] * (bits.ndim - dim)))
        .bitwise_and_(1)
    )


def write_entry(folder: Path, key: str, item: Mapping[str, Any], arrays: Arrays) -> None:
    """Write an entry into a new folder and bring it to the disk."""
    folder.mkdir()
    files = {"image.npy": _save(folder / "image.npy", arrays.image)}
    presence = [0] * len(arrays.image)
    if arrays.masks is not None:
        files["masks.npy"] = _save(folder / "masks.npy", arrays.masks)
        slices = arrays.masks.reshape(len(arrays.masks), -1)
        presence = np.bitwise_or.reduce(slices, axis=1).tolist()
    i, j, k = item["image"].shape[-3:]
    entry = {
        "key": key,
        "files": files,
        "grid": _grid_facts(Grid((i, j, k), item["image"].affine.numpy())),
        "native": _grid_facts(item["native"]),
        "image_channels": arrays.image.shape[1],
        "channels": arrays.channels,
        "presence": presence,
    }
    with (folder / ENTRY).open("w") as stream:
        json.dump(entry, stream)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(folder)


def read_entry(
    folder: Path, key: str, *, scan_id: str, case_id: str, checksum: bool
) -> Prepared | None:
    """Return the prepared scan of an entry; None where it is absent or not whole.

    Args:
        folder: The entry.
        key: What its name must be.
        scan_id: The name of the scan that it is to stand for.
        case_id: Its patient.
        checksum: Whether to read the files and compare their checksums, too.
    """
    try:
        entry = json.loads((folder / ENTRY).read_text())
        if entry["key"] != key:
            return None
        for name, facts in entry["files"].items():
            k, j, i = entry["grid"]["shape"][::-1]
            of_image = [k, entry["image_channels"], j, i]
            if facts["shape"] != (of_image if name == "image.npy" else [k, j, i]):
                return None
            if not _is_whole(folder / name, facts, checksum=checksum):
                return None
        return Prepared(
            scan_id=scan_id,
            case_id=case_id,
            key=key,
            folder=folder,
            grid=_grid(entry["grid"]),
            native=_grid(entry["native"]),
            image_channels=entry["image_channels"],
            channels=entry["channels"],
            presence=tuple(entry["presence"]),
        )
    # Whatever a broken file makes of the entry, there is none to be had.
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    except (ArithmeticError, RecursionError):  # of infinite sizes; of nesting without end
        return None


def _slices_first(volume: torch.Tensor) -> torch.Tensor:
    """Return ``(C, K, J, I)`` of a tensor ``(C, I, J, K)``, without its metadata."""
    return volume.as_subclass(torch.Tensor).detach().cpu().permute(0, 3, 2, 1)


def _grid_facts(grid: Grid) -> dict[str, Any]:
    return {"shape": grid.shape, "affine_ras_mm": grid.affine_ras_mm.tolist()}


def _grid(facts: Mapping[str, Any]) -> Grid:
    i, j, k = facts["shape"]
    return Grid((i, j, k), np.array(facts["affine_ras_mm"]))


def _save(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    """Write an array and return what tells whether the file is whole."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, np.lib.format.header_data_from_array_1_0(array)
        )
        stream.write(array.data)  # numpy's own way does not tell why the disk took a part only
        stream.flush()
        os.fsync(stream.fileno())
    return {
        "bytes": path.stat().st_size,
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "sha256": _checksum(array),
    }


def _is_whole(path: Path, facts: Mapping[str, Any], *, checksum: bool) -> bool:
    if path.stat().st_size != facts["bytes"]:
        return False
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(stream)
    if [*shape] != facts["shape"] or dtype.str != facts["dtype"] or columns_first:
        return False
    return not checksum or _checksum(np.load(path, mmap_mode="r")) == facts["sha256"]


def _checksum(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.data).hexdigest()
