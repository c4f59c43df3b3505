"""Figures of scans, drawn by matplotlib without a screen.

Volumes are ``(I, J, K)`` with axis codes L, P, I, their masks ``(C, I, J, K)``; slices are
``(H, W)`` and ``(C, H, W)``. `medseg.report.panels` says how a slice looks.
"""

import io
from pathlib import Path

from matplotlib.figure import Figure

from medseg.geometry import Spacing
from medseg.io.atomic import replacing
from medseg.labels import LabelSet
from medseg.report.panels import Pixels, View, row_of
from medseg.report.scene import Scene

LARGEST_BYTES = 300_000


def overlay(
    image: Pixels,
    truth: Pixels | None,
    pred: Pixels | None,
    labels: LabelSet,
    *,
    spacing_mm: tuple[float, float],
    title: str,
) -> Figure:
    """Return one axial slice with the reference filled and the prediction outlined.

    Empty masks draw nothing; None leaves its row out of the legend too.

    Args:
        image: Intensities ``(H, W)``; the window goes from the 0.5th to the 99.5th percentile.
        truth: Reference masks ``(C, H, W)``.
        pred: Predicted masks ``(C, H, W)``.
        labels: The organs, in the masks' order.
        spacing_mm: Distance between columns and between rows.
        title: What stands above the slice.
    """
    return row_of([View(image, truth, pred, spacing_mm, title)], labels)


def run_picture(
    image: Pixels,
    truth: Pixels | None,
    pred: Pixels | None,
    labels: LabelSet,
    *,
    spacing_mm: Spacing,
    title: str,
) -> Figure:
    """Return a scan seen from below, from the front and from the side, in true proportions.

    Each plane lies where the organs together show most, in the middle where there are none.
    Arguments are volumes, else as for `overlay`; `title` stands above the whole, and the picture
    is cut to the body.
    """
    scene = Scene(image, truth, pred, spacing_mm).cut_to_body()
    every = range(len(labels.organs))
    views = []
    for axis, shown in ((2, "axial"), (1, "coronal"), (0, "sagittal")):
        index = scene.largest(every, axis=axis)
        views.append(
            scene.view(axis, scene.image.shape[axis] // 2 if index is None else index, shown)
        )
    return row_of(views, labels, title=title)


def save(figure: Figure, path: Path, *, dpi: int = 150) -> None:
    """Write a PNG of less than 300 kB, atomically; a larger one is drawn again with fewer pixels.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written.
    """
    data = _png(figure, dpi)
    while len(data) >= LARGEST_BYTES and dpi > 40:
        dpi = int(dpi * min(0.9, (LARGEST_BYTES / len(data)) ** 0.5))
        data = _png(figure, dpi)
    with replacing(path) as stream:
        stream.write(data)


def _png(figure: Figure, dpi: int) -> bytes:
    drawn = io.BytesIO()
    # Without matplotlib's version in it, equal pictures are equal files.
    figure.savefig(drawn, format="png", dpi=dpi, metadata={"Software": None})
    return drawn.getvalue()
