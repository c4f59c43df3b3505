"""From a data folder to MONAI items: what a bundle's ``dataset::data`` names.

An *item* is a dictionary with ``scan_id``, ``case_id``, ``image`` and, where there are labels,
``label``; image and label hold where the pixels come from, not the pixels.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from medseg.data.label_files import natural
from medseg.data.manifest import read_manifest
from medseg.data.readers import is_data_set, read_scans
from medseg.data.splits import make_splits, read_splits
from medseg.data.uwmgi import read_scan_folder
from medseg.data.volumes import channel_files, volume
from medseg.errors import DataError, Problem
from medseg.io.nifti_names import SUFFIXES, stem_of, volumes_in
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


def inference_items(source: str | Path | Sequence[str | Path], *, manifest: str) -> list[Item]:
    """Return unlabelled items of NIfTI files, scan folders or whole data folders.

    Raises:
        DataError: A source is none of these, or two scans have one name, so that one prediction
            would overwrite the other; all such are named together.
    """
    sources = [source] if isinstance(source, str | Path) else source
    found: dict[str, Item] = {}
    problems: list[Problem] = []
    for each in map(Path, sources):
        try:
            scans = _items_in(each, manifest)
            problems += [_same_name(s["scan_id"], each) for s in scans if s["scan_id"] in found]
            found |= {item["scan_id"]: item for item in scans}
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(*problems)
    return list(found.values())


def item_of(scan: Scan) -> Item:
    """Return the item of a scan, with ``label`` when the scan has labels."""
    item: Item = {"scan_id": scan.scan_id, "case_id": scan.case_id, "image": scan}
    return item if scan.rle is None else {**item, "label": scan}


def _same_name(scan_id: str, source: Path) -> Problem:
    fix = "rename one, or predict them into two folders"
    return Problem("E-DUP", str(source), f"is a second scan named {scan_id}", "one", fix)


def _items_in(source: Path, manifest: str) -> list[Item]:
    if source.name.endswith(SUFFIXES):
        name = stem_of(source)
        return [{"scan_id": name, "case_id": name, "image": source}]
    facts = read_manifest(manifest)
    if (source / "train").is_dir() or is_data_set(source, facts):
        scans = read_scans(source, facts, labelled=False)
    elif len(facts.channels) > 1 and (files := channel_files(source)):
        scans = [volume(name, files[name], None, facts) for name in sorted(files, key=natural)]
    elif volumes := volumes_in(source):
        return [item for path in volumes for item in _items_in(path, manifest)]
    else:
        scans = [read_scan_folder(source, facts)]
    return [{key: value for key, value in item_of(s).items() if key != "label"} for s in scans]
