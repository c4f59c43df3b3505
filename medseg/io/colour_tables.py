"""The names and colours of a label map's codes, in the files that viewers read.

A NIfTI label map holds numbers alone; ITK-SNAP (Segmentation > Import Label Descriptions) and
3D Slicer (Add Data, then the segmentation's colour table) take what they mean from these files.
"""

from pathlib import Path

from medseg.io.atomic import replacing
from medseg.labels import LabelSet

_ITKSNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


def write_itksnap(path: Path, labels: LabelSet) -> None:
    """Write ITK-SNAP's label description file, background first."""
    rows = ['    0     0    0    0        0  0  0    "Clear Label"']
    for organ in labels.organs:
        red, green, blue = organ.colour
        rows.append(f'{organ.code:5} {red:5} {green:4} {blue:4}        1  1  1    "{organ.name}"')
    _write(path, _ITKSNAP_HEAD + "\n".join(rows) + "\n")


def write_slicer(path: Path, labels: LabelSet) -> None:
    """Write 3D Slicer's colour table, background first; its names hold no blanks."""
    rows = ["# Color table file", f"# {len(labels.organs) + 1} values", "0 Background 0 0 0 0"]
    for organ in labels.organs:
        red, green, blue = organ.colour
        rows.append(f"{organ.code} {organ.name.replace(' ', '_')} {red} {green} {blue} 255")
    _write(path, "\n".join(rows) + "\n")


def _write(path: Path, text: str) -> None:
    with replacing(path) as stream:
        stream.write(text.encode())
