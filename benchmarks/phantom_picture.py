"""Draw slices of the phantom beside slices of real scans, with the organs' outlines.

    python benchmarks/phantom_picture.py --real DIR -o picture.png

DIR holds the real data in Kaggle's layout (``train/`` and ``train.csv``); without it, phantom
slices alone are drawn. Slices of all scans are taken at the same places of their labelled range, so
that each column shows about the same part of the body.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from medseg.data.manifest import read_manifest
from medseg.data.phantom import write_phantom
from medseg.data.readers import read_scans
from medseg.io.png import read_slice
from medseg.io.rle import decode
from medseg.scan import Scan

# Places along the labelled range: 0 its first slice, 1 its last; outside are chest and pelvis.
PLACES = (-0.45, 0.04, 0.2, 0.36, 0.52, 0.68, 0.84, 1.25)


def draw_row(axes: NDArray[np.object_], scan: Scan, name: str) -> None:
    """Draw one scan along a row of axes, each slice grey with its own outlines."""
    columns, rows = scan.size_px
    labelled = [n for n, texts in enumerate(zip(*scan.rle.values(), strict=True)) if any(texts)]
    first, last = labelled[0], labelled[-1]
    for axis, place in zip(axes, PLACES, strict=True):
        at = int(np.clip(first + place * (last - first), 0, len(scan.slice_files) - 1))
        image = read_slice(scan.slice_files[at]).astype(float)
        axis.imshow(image, cmap="gray", vmax=np.percentile(image, 99.5), interpolation="bilinear")
        for organ in read_manifest("uwmgi").labels.organs:
            mask = decode(scan.rle[organ.name][at], (rows, columns))
            if mask.any():
                colour = np.array(organ.colour) / 255
                axis.contour(mask, [0.5], colors=[colour], linewidths=0.8)
        axis.set_title(f"{name} {scan.slice_numbers[at]}", fontsize=7)


def main() -> None:
    """Parse, draw, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="real data in Kaggle's layout")
    parser.add_argument("--seed", type=int, default=0, help="seed of the phantom")
    parser.add_argument("--scans", type=int, default=2, help="scans of each kind")
    parser.add_argument("-o", "--output", type=Path, default=Path("phantom.png"))
    wanted = parser.parse_args()
    manifest = read_manifest("uwmgi")
    with tempfile.TemporaryDirectory() as folder:
        root = write_phantom(Path(folder), patients=wanted.scans, days=1, seed=wanted.seed)
        shown = [(scan, f"phantom {scan.scan_id}") for scan in read_scans(root, manifest)]
        if wanted.real is not None:
            real = read_scans(wanted.real, manifest)[: wanted.scans]
            shown = [(scan, f"real {scan.scan_id}") for scan in real] + shown
        size = (2.6 * len(PLACES), 2.5 * len(shown))
        figure, axes = plt.subplots(len(shown), len(PLACES), figsize=size, squeeze=False)
        for line, (scan, name) in zip(axes, shown, strict=True):
            draw_row(line, scan, name)
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.tight_layout(pad=0.2)
    figure.savefig(wanted.output, dpi=100)


if __name__ == "__main__":
    main()
