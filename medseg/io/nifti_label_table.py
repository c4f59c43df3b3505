"""The header extension that tells a NIfTI label map's organs and colours.

References:
    nifti1.h, "extended header"; code 30 is Caret's, an XML text. Connectome Workbench writes it,
    and TotalSegmentator puts the same table into its files.
"""

from xml.etree.ElementTree import Element, SubElement, tostring

from medseg.labels import LabelSet

_CARET = 30


def label_table(labels: LabelSet) -> bytes:
    """Return the bytes between a header and its voxels: the flag, then one extension."""
    root = Element("CaretExtension")
    volume = SubElement(root, "VolumeInformation", Index="0")
    table = SubElement(volume, "LabelTable")
    _row(table, 0, (0, 0, 0), "background", alpha=0)
    for organ in labels.organs:
        _row(table, organ.code, organ.colour, organ.name)
    SubElement(volume, "VolumeType").text = "Label"
    text = tostring(root, encoding="UTF-8", xml_declaration=True)
    size = -(-(8 + len(text)) // 16) * 16
    head = size.to_bytes(4, "little") + _CARET.to_bytes(4, "little")
    extension: bytes = (head + text).ljust(size, b"\0")
    return b"\1\0\0\0" + extension


def _row(
    table: Element, code: int, colour: tuple[int, int, int], name: str, *, alpha: int = 1
) -> None:
    red, green, blue = (f"{value / 255:.4f}" for value in colour)
    told = {"Key": str(code), "Red": red, "Green": green, "Blue": blue, "Alpha": str(alpha)}
    SubElement(table, "Label", told).text = name
