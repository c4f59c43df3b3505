"""Colour tables, in the formats of the viewers."""

import re

from medseg.io.colour_tables import write_itksnap, write_slicer
from medseg.labels import LabelSet, Organ

LABELS = LabelSet(
    (
        Organ("large bowel", 1, (230, 159, 0), "14742008", "Large intestine"),
        Organ("stomach", 12, (86, 180, 233), "69695003", "Stomach"),
    ),
    ("stomach", "large bowel"),
)


def test_itksnap_gets_index_colour_alpha_visibility_mesh_and_quoted_name(tmp_path):
    write_itksnap(tmp_path / "labels.txt", LABELS)
    lines = (tmp_path / "labels.txt").read_text().splitlines()
    rows = [
        # The fields as ITK-SNAP scans them: seven numbers and a name in quotation marks.
        re.fullmatch(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+([01])\s+([01])\s+"(.*)"', line)
        for line in lines
        if not line.startswith("#")
    ]
    assert [row.groups() for row in rows] == [
        ("0", "0", "0", "0", "0", "0", "0", "Clear Label"),
        ("1", "230", "159", "0", "1", "1", "1", "large bowel"),
        ("12", "86", "180", "233", "1", "1", "1", "stomach"),
    ]


def test_slicer_gets_index_name_without_blanks_and_four_bytes(tmp_path):
    write_slicer(tmp_path / "labels.ctbl", LABELS)
    lines = (tmp_path / "labels.ctbl").read_text().splitlines()
    assert lines[0].startswith("# Color table file")
    assert lines[2:] == [
        "0 Background 0 0 0 0",
        "1 large_bowel 230 159 0 255",
        "12 stomach 86 180 233 255",
    ]
