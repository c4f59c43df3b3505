"""Data new: a manifest for data of the user's own, by what their files say."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from medseg.data.dataset_json import Told, read_dataset_json
from medseg.data.manifest import Manifest, read_manifest
from medseg.data.readers import read_scans
from medseg.errors import Problem, UsageError
from medseg.geometry import Grid
from medseg.io.atomic import replacing
from medseg.scan import Scan

# Okabe and Ito's colours, which people tell apart whatever their eyes.
_COLOURS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167), (153, 153, 153)),
)
_AXES = ("L", "P", "I")


class NewData(NamedTuple):
    """The manifest that was written, and what it was seen to fit."""

    file: Path
    root: Path
    manifest: Manifest
    scans: tuple[Scan, ...]


def new_data(name: str, source: Path, *, labels: Mapping[str, int], out: Path) -> NewData:
    """Write a manifest for a folder in nnU-Net's or the Decathlon's layout, or for a table.

    Args:
        name: Of the data set.
        source: The folder with ``imagesTr``, or the CSV table.
        labels: The organs' integers in label maps, by name; without any, ``dataset.json`` tells.
        out: The file to write.

    Raises:
        UsageError: There is such a file already, a name has no meaning, or nothing tells labels.
        DataError: The data are faulty; all faults are told, and no file is left.
    """
    if out.exists():
        fix = "choose another file with -o, or remove it"
        raise UsageError(Problem("E-EXISTS", str(out), "already there", fix=fix))
    root = source.parent if source.is_file() else source
    told = Told((), {}) if source.is_file() else read_dataset_json(root)
    organs = dict(labels) or dict(told.labels)
    if not organs:
        fix = "name them with --labels, such as --labels liver=1,tumour=2"
        raise UsageError(Problem("E-LABEL", str(source), "does not tell its labels", fix=fix))
    facts = _facts(name, source, channels=told.channels or ("intensity",), organs=organs)
    _write(out, facts)
    try:
        scans = read_scans(root, read_manifest(out))
        _write(out, facts | _usual(scans))
        return NewData(out, root, read_manifest(out), tuple(scans))
    except BaseException:
        out.unlink()
        raise


def _facts(
    name: str, source: Path, *, channels: tuple[str, ...], organs: Mapping[str, int]
) -> dict[str, object]:
    layout = (
        {"reader": "table", "images": source.name}
        if source.is_file()
        else {"reader": "volumes", "images": "imagesTr/NAME_0000.nii.gz", "labels": "labelsTr"}
    )
    return {
        "name": name,
        "title": name,
        "source": {"url": "not published", "about": "Data of your own."},
        "licence": {"name": "not stated"},
        "citation": {"text": "none"},
        "layout": layout,
        "channels": list(channels),
        "axis_codes": list(_AXES),
        # What pictures need; of volumes it is measured, and put in its place.
        "spacing_mm": [1.0, 1.0, 1.0],
        "spacing_known": False,
        "labels": [
            {"name": organ, "code": code, "colour": list(_COLOURS[n % 8]), "meaning": organ}
            for n, (organ, code) in enumerate(organs.items())
        ],
        "priority": list(organs),
        "split": {"by": "patient", "balance": "slices of each organ, and scans"},
    }


def _usual(scans: Sequence[Scan]) -> dict[str, object]:
    """Return the median spacing and size of the scans, turned to the axes that networks see."""
    grids = [scan.grid.reoriented(_AXES) for scan in scans]
    columns, rows, _ = (_median(grid.shape[axis] for grid in grids) for axis in range(3))
    told: dict[str, object] = {"size_px": [int(columns), int(rows)]}
    if any(scan.volume_files for scan in scans):
        spacing = [round(_median(_spacing(grid, axis) for grid in grids), 4) for axis in range(3)]
        told |= {"spacing_mm": spacing, "spacing_known": True}
    return told


def _spacing(grid: Grid, axis: int) -> float:
    return grid.spacing_mm[axis]


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _write(out: Path, facts: Mapping[str, object]) -> None:
    with replacing(out) as stream:
        stream.write(_text(facts).encode())


def _text(facts: Mapping[str, object]) -> str:
    head = "# Written by `medseg data new`; the keys are those of data_manifests/README.md.\n"
    return head + yaml.safe_dump(
        dict(facts), sort_keys=False, allow_unicode=True, default_flow_style=None
    )
