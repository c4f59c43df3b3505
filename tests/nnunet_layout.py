"""Small data sets in nnU-Net's layout, written for a test."""

import json

import numpy as np

from medseg.geometry import lpi_grid
from medseg.io.nifti import write_image, write_label_map
from medseg.labels import LabelSet, Organ

LABELS = LabelSet(
    (
        Organ("liver", 1, (255, 0, 0), "", "Liver"),
        Organ("tumour", 3, (0, 255, 0), "", "Tumour"),
    ),
    ("tumour", "liver"),
)
GRID = lpi_grid((12, 10, 4), (0.8, 0.9, 5.0))
MANIFEST = """
name: livers
title: Livers
source: {url: none, about: Computed.}
licence: {name: none}
citation: {text: none}
layout: {reader: READER, images: IMAGES}
channels: [t1, t2]
labels:
  - {name: liver, code: 1, colour: [255, 0, 0], meaning: Liver}
  - {name: tumour, code: 3, colour: [0, 255, 0], meaning: Tumour}
priority: [tumour, liver]
split: {by: patient, balance: scans}
"""


def voxels(number, channel):
    """Return the image of a scan and channel, ``(I, J, K)``."""
    values = np.random.default_rng([number, channel]).integers(0, 900, GRID.shape)
    return values.astype(np.float32)


def label_map(number):
    """Return the label map of a scan: a box of liver with a corner of tumour."""
    codes = np.zeros(GRID.shape, np.uint8)
    codes[2 : 6 + number, 3:8, 1:3] = 1
    codes[2:4, 3:5, 1] = 3
    return codes


def write_scans(root, names=("a_day1", "a_day2", "b", "c"), *, channels=2):
    """Write scans as nnU-Net has them, with dataset.json; return `root`."""
    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    for number, name in enumerate(names):
        for channel in range(channels):
            path = root / "imagesTr" / f"{name}_{channel:04d}.nii.gz"
            write_image(path, voxels(number, channel), GRID)
        path = root / "labelsTr" / f"{name}.nii.gz"
        write_label_map(path, label_map(number), GRID, LABELS)
    told = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "liver": 1, "tumour": 3},
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(told))
    return root
