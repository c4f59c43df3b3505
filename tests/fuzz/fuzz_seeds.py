"""Sound inputs of each format, small: what mutations begin from."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from nifti_files import image
from nifti_files import save as save_nifti
from PIL import Image

from medseg.data.splits import ScanFacts, Splits
from medseg.io.png import write_slice
from medseg.report.scores import COLUMNS
from medseg.resources import located

LABELS = (
    b"id,class,segmentation\ncase1_day0_slice_0001,liver,1 3 7 2\n"
    b"case1_day0_slice_0001,stomach,\ncase1_day0_slice_0002,liver,\n",
    b"id,class,predicted\r\ncase1_day0_slice_0001,liver,\r\n",
)

MANIFEST = b"""name: a
title: A
source: {url: b, about: c}
licence: {name: d}
citation: {text: e}
layout: {reader: pairs, images: f}
axis_codes: [L, P, S]
spacing_mm: [1, 1, 2]
labels:
- {name: liver, code: 1, colour: [1, 2, 3], meaning: g}
priority: [liver]
known_bad: {h: {who: i, why: j, scans: [k]}}
exclude: h
split: {by: patient, folds: 2, balance: l}
"""


def as_json(*contents: object) -> list[bytes]:
    return [json.dumps(content).encode() for content in contents]


def shipped_bundle() -> bytes:
    return (located("bundles", "uwmgi_unet") / "configs" / "train.json").read_bytes()


def manifests() -> list[bytes]:
    return [MANIFEST, located("data_manifests", "uwmgi").read_bytes()]


def _saved(name: str, save: Callable[[Path], object]) -> bytes:
    """Return what is written under a name."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(path)
        return path.read_bytes()


def png_seeds() -> list[bytes]:
    pixels = np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000
    seeds = [_saved("a.png", lambda path: write_slice(path, pixels))]
    for picture in (
        Image.fromarray((pixels // 300).astype(np.uint8)),
        Image.fromarray(np.zeros((4, 3, 3), np.uint8)),
    ):
        stream = BytesIO()
        picture.save(stream, "PNG")
        seeds.append(stream.getvalue())
    # One with its rows as they are, which `mended_png` packs; and one that is interlaced.
    for interlaced in (0, 1):
        head = struct.pack(">IIBBBBB", 6, 5, 16, 0, 0, 0, interlaced)
        rows = bytes(65 + 20 * interlaced)
        chunks = (b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")
        plain = b"".join(struct.pack(">I", len(b)) + k + b + bytes(4) for k, b in chunks)
        seeds.append(seeds[0][:8] + plain)
    return seeds


def tiff_seeds() -> list[bytes]:
    seeds = []
    for pixels, packing in (
        (np.zeros((5, 6), np.uint16), None),
        (np.zeros((5, 6, 3), np.uint8), "tiff_deflate"),
        (np.zeros((5, 6), np.uint8), "tiff_lzw"),
        (np.zeros((5, 6), np.uint8), "packbits"),
    ):
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "TIFF", compression=packing)
        seeds.append(stream.getvalue())
    return seeds


def nifti_seeds() -> list[bytes]:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    seeds = []
    for kind, offset in ((nib.Nifti1Image, 352), (nib.Nifti2Image, 544)):
        made = image(voxels, kind=kind)
        made.header["vox_offset"] = offset
        seeds.append(_saved("a.nii", lambda path, made=made: save_nifti(made, path)))
    return seeds


def itk_seeds(suffix: str) -> list[bytes]:
    voxels = np.arange(24, dtype="<i2").tobytes()
    if suffix == ".nrrd":
        head = (
            "NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
            "sizes: 2 3 4\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nkinds: domain domain domain\n"
            "endian: little\nencoding: raw\nspace origin: (1,2,3)\n\n"
        )
        packed = head.replace("raw", "gzip").encode() + gzip.compress(voxels, 1)
    else:
        head = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\n"
            "ElementSpacing = 1 1 2\nDimSize = 2 3 4\nElementType = MET_SHORT\n"
            "ElementDataFile = LOCAL\n"
        )
        packed = head.replace("edData = False", "edData = True").encode() + zlib.compress(voxels, 1)
    return [head.encode() + voxels, packed]


def dicom_seeds() -> list[bytes]:
    from dicom_series import ramp, save, slices

    (dataset,) = slices(ramp((4, 3, 1)))
    return [_saved("a.dcm", lambda path: save(dataset, path))]


def split_seeds() -> list[bytes]:
    facts = {
        f"case{n}_day0": ScanFacts(patient=f"case{n}", sha256="0" * 64, organ_slices={"liver": n})
        for n in (1, 2, 3)
    }
    return [Splits((("case1",), ("case2",), ("case3",)), facts).text.encode()]


def score_seeds() -> list[bytes]:
    row = ["case1_day0", "case1", "liver", "scored", *["1"] * (len(COLUMNS) - 4)]
    return [f"{','.join(COLUMNS)}\n{','.join(row)}\n".encode()]
