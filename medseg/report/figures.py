"""Figures of scans and of trainings, drawn by matplotlib without a screen.

Volumes are ``(I, J, K)`` with axis codes L, P, I, their masks ``(C, I, J, K)``; slices are
``(H, W)`` and ``(C, H, W)``. `medseg.report.panels` says how a slice looks.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.geometry import Spacing
from medseg.io.atomic import replacing
from medseg.labels import LabelSet
from medseg.report.panels import Pixels, View, colour_of, row_of, spoken

LARGEST_BYTES = 300_000

_BODY_SHARE = 0.1  # of the brightest tissue
_MARGIN_MM = 8.0


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


def overlay_per_organ(
    image: Pixels,
    truth: Pixels | None,
    pred: Pixels | None,
    labels: LabelSet,
    *,
    spacing_mm: Spacing,
    title: str,
) -> dict[str, Figure]:
    """Return for each organ its largest axial slice, of the reference or else of the prediction.

    An organ that neither has anywhere is left out. Arguments are volumes, else as for `overlay`;
    the picture is cut to the body.
    """
    scene = _Scene(image, truth, pred, spacing_mm)
    body = scene.cut_to_body()
    figures = {}
    for channel, name in enumerate(labels.names):
        slice_index = scene.largest([channel], axis=2)
        if slice_index is not None:
            shown = f"{title}, {spoken(name)}, slice {slice_index + 1}"
            figures[name] = row_of([body.view(2, slice_index, shown)], labels)
    return figures


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
    scene = _Scene(image, truth, pred, spacing_mm).cut_to_body()
    every = range(len(labels.organs))
    views = []
    for axis, shown in ((2, "axial"), (1, "coronal"), (0, "sagittal")):
        index = scene.largest(every, axis=axis)
        views.append(
            scene.view(axis, scene.image.shape[axis] // 2 if index is None else index, shown)
        )
    return row_of(views, labels, title=title)


def curves(history: Sequence[Mapping[str, float]], labels: LabelSet | None = None) -> Figure:
    """Return the loss and the validation Dice of every organ over the epochs.

    Args:
        history: One row an epoch, as `medseg.engine.history.TrackingHandler` keeps them: ``epoch``,
            ``train/loss``, ``val/dice/<organ>``. What a row lacks is not drawn.
        labels: Gives the organs their colours; matplotlib's own without it.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained", facecolor="white")
    loss, dice = figure.subplots(1, 2)
    colours = {o.name: colour_of(o.colour) for o in labels.organs} if labels else {}
    found = {key for row in history for key in row if key.startswith("val/dice/")}
    names = sorted(found, key=lambda key: (key.endswith("/mean"), key))
    _curve(loss, history, "train/loss", colour="#30363d")
    for key in names:
        organ = key.removeprefix("val/dice/")
        mean = organ == "mean"
        _curve(dice, history, key, colour="black" if mean else colours.get(organ), thick=mean)
    loss.set(title="Training loss", xlabel="epoch", ylim=(0, None))
    dice.set(title="Validation Dice", xlabel="epoch", ylim=(0, 1))
    if names:
        dice.legend(frameon=False, loc="lower right")
    for axes in (loss, dice):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


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


class _Scene(NamedTuple):
    """A scan with its masks: ``(I, J, K)`` and ``(C, I, J, K)``."""

    image: Pixels
    truth: Pixels | None
    pred: Pixels | None
    spacing_mm: Spacing

    def view(self, axis: int, index: int, title: str) -> View:
        """Return the slice at `index` of `axis`; K runs down the figure, in axial slices J."""
        across, down = (a for a in range(3) if a != axis)
        return View(
            _cut(self.image, axis, index),
            None if self.truth is None else _cut(self.truth, axis, index),
            None if self.pred is None else _cut(self.pred, axis, index),
            (self.spacing_mm[across], self.spacing_mm[down]),
            title,
            "AP" if axis == 0 else "RL",
        )

    def largest(self, channels: Sequence[int], *, axis: int) -> int | None:
        """Return the slice that shows most of the organs, each told by its own largest area.

        The reference decides, the prediction where the reference has none of them; None when
        neither has any.
        """
        rest = tuple(a for a in range(3) if a != axis)
        for masks in (self.truth, self.pred):
            if masks is not None:
                areas = [np.count_nonzero(masks[channel], axis=rest) for channel in channels]
                if np.any(areas):
                    return int(np.sum([a / max(a.max(), 1) for a in areas], axis=0).argmax())
        return None

    def cut_to_body(self) -> "_Scene":
        """Return the scene without the dark margins in I and J; no mask is cut."""
        shown = self.image > _BODY_SHARE * np.percentile(self.image, 99)
        spans: list[slice] = []
        for axis, rest in ((0, (1, 2)), (1, (0, 2))):
            seen = shown.mean(axis=rest) > _BODY_SHARE / 10
            for masks in (self.truth, self.pred):
                if masks is not None:
                    seen |= np.any(masks, axis=(0, *(a + 1 for a in rest)))
            where = np.flatnonzero(seen)
            margin = round(_MARGIN_MM / self.spacing_mm[axis])
            first, last = (where[0], where[-1]) if where.size else (0, seen.size - 1)
            spans.append(slice(max(0, first - margin), last + margin + 1))
        i, j = spans
        truth, pred = (None if m is None else m[:, i, j] for m in (self.truth, self.pred))
        return _Scene(self.image[i, j], truth, pred, self.spacing_mm)


def _cut(volume: Pixels, axis: int, index: int) -> Pixels:
    """Return a slice ``(..., H, W)``; channels in front stay there."""
    chosen: Pixels = np.take(volume, index, axis=axis - 3)
    return chosen.swapaxes(-1, -2)


def _curve(
    axes: Axes,
    history: Sequence[Mapping[str, float]],
    key: str,
    *,
    colour: str | tuple[float, float, float] | None,
    thick: bool = False,
) -> None:
    points = [(row["epoch"], row[key]) for row in history if key in row]
    if points:
        epochs, values = zip(*points, strict=True)
        name = spoken(key.rsplit("/", 1)[1])
        # A single epoch makes no line.
        axes.plot(epochs, values, ".-", color=colour, label=name, linewidth=2.2 if thick else 1.5)
