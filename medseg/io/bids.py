"""What a folder of BIDS derivatives holds beside the images.

References:
    BIDS 1.10, "BIDS derivatives" and "Segmentations".
"""

import json
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.io.atomic import replacing
from medseg.labels import LabelSet

_VERSION = "1.10.0"


def write_dataset(folder: Path, labels: LabelSet) -> None:
    """Write ``dataset_description.json`` and ``desc-medseg_dseg.tsv``, which all scans share."""
    _write(
        folder / "dataset_description.json",
        {
            "Name": "medseg",
            "BIDSVersion": _VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "medseg", "Version": __version__}],
        },
    )
    rows = ["index\tname\tcolor", "0\tbackground\t#000000"]
    for organ in labels.organs:
        red, green, blue = organ.colour
        rows.append(f"{organ.code}\t{organ.name}\t#{red:02x}{green:02x}{blue:02x}")
    with replacing(folder / "desc-medseg_dseg.tsv") as stream:
        stream.write(("\n".join(rows) + "\n").encode())


def write_sidecar(path: Path) -> None:
    """Write what BIDS wants to know of a label map: it lies in the scan's own space."""
    _write(path, {"SpatialReference": "orig", "Manual": False})


def _write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as stream:
        stream.write((json.dumps(content, indent=2) + "\n").encode())
