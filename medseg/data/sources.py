"""From a data folder to MONAI items: what a bundle's ``dataset::data`` names.

An *item* is a dictionary with ``scan_id``, ``case_id``, ``image`` and, where there are labels,
``label``; image and label hold where the pixels come from, not the pixels.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from medseg.data.manifest import read_manifest
from medseg.data.readers import read_scans
from medseg.data.splits import make_splits, read_splits
from medseg.labels import LabelSet
from medseg.scan import Scan

Item = dict[str, Any]
Role = Literal["train", "validation", "test"]


def label_set(manifest: str) -> LabelSet:
    """Return the organs of the data set `manifest`."""
    return read_manifest(manifest).labels


def items(
    dataset_dir: str | Path,
    *,
    manifest: str,
    role: Role,
    fold: int = 0,
    folds: int = 5,
    split_file: str | Path | None = None,
) -> list[Item]:
    """Return the items of one side of a fold, in natural order.

    Without a split file the patients are split into `folds` groups with seed 0. A data set too
    small for a validation side of its own has an empty one.

    Raises:
        DataError: The folder holds faults, or the split does not fit it.
    """
    table = Path(dataset_dir) / "train.csv"
    seen = table.stat() if table.exists() else None
    scans = _scans(str(dataset_dir), manifest, (seen.st_mtime_ns, seen.st_size) if seen else None)
    splits = read_splits(Path(split_file)) if split_file else make_splits(scans, folds=folds)
    chosen = set(getattr(splits.fold(fold), role))
    return [item_of(scan) for scan in scans if scan.scan_id in chosen]


@lru_cache(maxsize=2)
def _scans(dataset_dir: str, manifest: str, _stamp: tuple[int, int] | None) -> list[Scan]:
    """Return the scans of a folder; its three sides are asked for one after another."""
    return read_scans(Path(dataset_dir), read_manifest(manifest))


def item_of(scan: Scan) -> Item:
    """Return the item of a scan, with ``label`` when the scan has labels."""
    item: Item = {"scan_id": scan.scan_id, "case_id": scan.case_id, "image": scan}
    return item if scan.rle is None else {**item, "label": scan}
