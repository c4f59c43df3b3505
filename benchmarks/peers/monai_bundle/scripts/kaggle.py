"""UW-Madison GI as notebooks read and write it: PNG slices, and rows of runs in NumPy.

Arrays are ``(C, H, W, S)``, rows and columns as in the PNG.
"""

import csv
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ScaleIntensityRange
from monai.transforms.utils_pytorch_numpy_unification import percentile

SLICE_MM = 3.0


def datalist(dataset_dir: str) -> list[dict[str, Any]]:
    """Return an item a scan: the slice files, and the rows of the label table by slice and organ.

    Args:
        dataset_dir: The folder with ``train`` and ``train.csv``.
    """
    root = Path(dataset_dir)
    rows: dict[str, dict[tuple[int, str], str]] = {}
    with (root / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            scan, number = row["id"].split("_slice_")
            rows.setdefault(scan, {})[int(number), row["class"]] = row["segmentation"]
    return [
        {
            "scan_id": folder.parent.name,
            "image": sorted(str(file) for file in folder.glob("slice_*.png")),
            "label": rows.get(folder.parent.name, {}),
        }
        for folder in sorted(root.glob("train/case*/case*_day*/scans"))
    ]


class StackSlicesd(MapTransform):
    """Slices ``(S, H, W)`` become a volume ``(1, H, W, S)`` with the spacing of the file name."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with its image as a volume on its grid, left, posterior, inferior."""
        item = dict(data)
        for key in self.key_iterator(item):
            first = Path(item[key].meta["filename_or_obj"])
            width_mm, height_mm = (float(part) for part in first.stem.split("_")[-2:])
            affine = torch.zeros(4, 4, dtype=torch.float64)
            affine[0, 1], affine[1, 0], affine[2, 2] = -width_mm, -height_mm, -SLICE_MM
            affine[3, 3] = 1
            volume = item[key].as_tensor().permute(1, 2, 0)[None]
            meta = {"filename_or_obj": item["scan_id"]}
            item[key] = MetaTensor(volume, affine=affine, meta=meta)
        return item


class MasksFromRowsd(MapTransform):
    """Rows of runs become masks ``(1 + C, H, W, S)``, background first.

    Args:
        keys: The rows.
        organs: The classes in channel order.
    """

    def __init__(self, keys: KeysCollection, organs: Sequence[str]) -> None:
        super().__init__(keys)
        self.organs = organs

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with its rows as masks on the image's grid."""
        item = dict(data)
        *size, count = item["image"].shape[1:]
        for key in self.key_iterator(item):
            masks = np.zeros((1 + len(self.organs), *size, count), np.uint8)
            for (number, organ), row in item[key].items():
                masks[1 + self.organs.index(organ), ..., number - 1] = rle_decode(row, size)
            masks[0] = ~masks[1:].any(0)
            item[key] = MetaTensor(torch.from_numpy(masks), affine=item["image"].affine)
        return item


class ScaleForegroundd(MapTransform):
    """Scale to [0, 1] between two percentiles of what is above the minimum, and clip.

    Args:
        keys: The images.
        lower: Percentile that becomes 0.
        upper: Percentile that becomes 1.
    """

    def __init__(self, keys: KeysCollection, lower: float, upper: float) -> None:
        super().__init__(keys)
        self.lower, self.upper = lower, upper

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with its images scaled."""
        item = dict(data)
        for key in self.key_iterator(item):
            above = item[key][item[key] > item[key].min()]
            low, high = (float(percentile(above, q)) for q in (self.lower, self.upper))
            item[key] = ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)(item[key])
        return item


class AppendRowsd(MapTransform):
    """Append the rows of a predicted label map to a submission file.

    Args:
        keys: Label maps ``(1, H, W, S)``.
        path: The file.
        organs: The classes, in the order of their codes from 1.
    """

    def __init__(self, keys: KeysCollection, path: str, organs: Sequence[str]) -> None:
        super().__init__(keys)
        self.path, self.organs = Path(path), organs

    def __call__(self, data: Mapping[Hashable, Any]) -> Mapping[Hashable, Any]:
        """Write the item's rows, with a head line where the file is new."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            if new:
                rows.writerow(("id", "class", "segmentation"))
            for key in self.key_iterator(data):
                label_map = data[key].cpu().numpy()[0]
                for k in range(label_map.shape[-1]):
                    name = f"{data['scan_id']}_slice_{k + 1:04d}"
                    for code, organ in enumerate(self.organs, 1):
                        rows.writerow((name, organ, rle_encode(label_map[..., k] == code)))
        return data


def rle_decode(row: str, shape: Sequence[int]) -> np.ndarray:
    """Return the mask ``(H, W)`` of a row, run by run."""
    numbers = np.asarray(row.split(), int)
    starts = numbers[0::2] - 1
    flat = np.zeros(shape[0] * shape[1], np.uint8)
    for start, end in zip(starts, starts + numbers[1::2], strict=True):
        flat[start:end] = 1
    return flat.reshape(shape)


def rle_encode(mask: np.ndarray) -> str:
    """Return the row of a mask ``(H, W)``."""
    pixels = np.concatenate([[0], mask.flatten(), [0]])
    runs = np.where(pixels[1:] != pixels[:-1])[0] + 1
    runs[1::2] -= runs[::2]
    return " ".join(str(number) for number in runs)
