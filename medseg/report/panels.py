"""Slices as panels: image, masks, scale bar, the patient's sides, and a legend below.

A slice is shown as radiologists look at it, from the feet and from the front: the patient's right
is at the left. The reference is filled, the prediction is an outline, both in the organ's colour,
with a dark rim that keeps the line visible on bright tissue.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from medseg.labels import LabelSet

Pixels = NDArray[Any]

_INK = "#e8eaed"
_FILL_ALPHA = 0.42
_DASHES = (0, (2.2, 1.6))
_BARS_MM = (50, 20, 10, 5, 2, 1)
_NARROW_INCH, _WIDE_INCH, _TALL_INCH = 6.4, 12.0, 7.0
_ALONE_INCH = 4.4
_HEAD_INCH, _FOOT_INCH, _GAP_INCH = 0.36, 0.42, 0.08


class View(NamedTuple):
    """One slice, ready to be drawn.

    Attributes:
        image: Intensities ``(H, W)``.
        truth: Reference masks ``(C, H, W)``, None where there is no reference.
        pred: Predicted masks ``(C, H, W)``, None where there is no prediction.
        spacing_mm: Distance between columns and between rows.
        title: What stands above it.
        sides: Letters at the left and at the right edge: R, L, A, P.
    """

    image: Pixels
    truth: Pixels | None
    pred: Pixels | None
    spacing_mm: tuple[float, float]
    title: str
    sides: str = "RL"

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        height, width = self.image.shape
        return width * self.spacing_mm[0], height * self.spacing_mm[1]


def row_of(views: Sequence[View], labels: LabelSet, *, title: str = "") -> Figure:
    """Return views side by side, at one scale in millimetres, with a legend below."""
    widths, heights = zip(*(view.size_mm for view in views), strict=True)
    wide = _WIDE_INCH if len(views) > 1 else _NARROW_INCH
    gaps = _GAP_INCH * (len(views) - 1)
    scale = min((wide - gaps) / sum(widths), _TALL_INCH / max(heights))  # inches a millimetre
    head = _HEAD_INCH * (2 if title else 1)
    tall = max(heights) * scale
    figure = Figure(figsize=(wide, tall + head + _FOOT_INCH), facecolor="black")
    to_figure = figure.dpi_scale_trans + figure.transFigure.inverted()
    left = (wide - gaps - sum(widths) * scale) / 2
    for view, width, height in zip(views, widths, heights, strict=True):
        bottom = _FOOT_INCH + (tall - height * scale) / 2
        box = Bbox.from_bounds(left, bottom, width * scale, height * scale)
        _draw(figure.add_axes(to_figure.transform_bbox(box).bounds), view, labels)
        middle = left + width * scale / 2
        _write(figure, (middle, _FOOT_INCH + tall + 0.45 * _HEAD_INCH), view.title, size=11)
        left += width * scale + _GAP_INCH
    _write(figure, (wide / 2, _FOOT_INCH + tall + 1.45 * _HEAD_INCH), title, size=13)
    _legend(figure, views, labels)
    return figure


def alone(view: View, labels: LabelSet) -> Figure:
    """Return one slice without a margin, its title in the corner, both sides as outlines.

    The reference is dashed, the prediction solid; the page around says which colour is what.
    """
    width, height = view.size_mm
    figure = Figure(figsize=(_ALONE_INCH, _ALONE_INCH * height / width), facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    _draw(axes, view, labels, dashed=True)
    axes.text(
        0.02 * width,
        0.025 * height,
        view.title,
        color="white",
        va="top",
        fontsize=11,
        path_effects=[withStroke(linewidth=2.5, foreground="black")],
    )
    return figure


def _write(figure: Figure, place_inch: tuple[float, float], text: str, *, size: float) -> None:
    figure.text(
        *place_inch,
        text,
        transform=figure.dpi_scale_trans,
        color=_INK,
        ha="center",
        va="center",
        fontsize=size,
    )


def _draw(axes: Axes, view: View, labels: LabelSet, *, dashed: bool = False) -> None:
    width, height = view.size_mm
    extent = (0.0, width, height, 0.0)
    low, high = np.percentile(view.image, (0.5, 99.5))
    axes.imshow(
        view.image,
        cmap="gray",
        vmin=low,
        vmax=max(high, low + 1e-6),
        extent=extent,
        interpolation="bicubic",
        aspect="auto",
    )
    for channel in labels.painting_order:
        colour = colour_of(labels.organs[channel].colour)
        if view.truth is not None and view.truth[channel].any():
            x, y, mask = _padded(view.truth[channel], view.spacing_mm)
            alpha = _FILL_ALPHA / 2 if dashed else _FILL_ALPHA
            axes.contourf(x, y, mask, levels=(0.5, 1.5), colors=[colour], alpha=alpha)
            if dashed:
                edge = axes.contour(
                    x, y, mask, (0.5,), colors=["white"], linewidths=1.6, linestyles=[_DASHES]
                )
                edge.set_path_effects([withStroke(linewidth=2.8, foreground=(0, 0, 0, 0.6))])
    for channel in labels.painting_order:
        colour = colour_of(labels.organs[channel].colour)
        if view.pred is not None and view.pred[channel].any():
            x, y, mask = _padded(view.pred[channel], view.spacing_mm)
            lines = axes.contour(x, y, mask, levels=(0.5,), colors=[colour], linewidths=1.5)
            lines.set_path_effects([withStroke(linewidth=3.0, foreground=(0, 0, 0, 0.75))])
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0))
    _marks(axes, view)


def _padded(
    mask: Pixels, spacing_mm: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Return pixel centres in mm and the mask, with a rim of zeros that closes every outline."""
    height, width = mask.shape
    x = (np.arange(-1, width + 1) + 0.5) * spacing_mm[0]
    y = (np.arange(-1, height + 1) + 0.5) * spacing_mm[1]
    return x, y, np.pad(np.asarray(mask, bool), 1).astype(np.float32)


def _marks(axes: Axes, view: View) -> None:
    """Draw a scale bar at the lower left and the patient's sides at the edges."""
    width, height = view.size_mm
    bar = next((b for b in _BARS_MM if b <= width / 3), width / 3)
    rim = [withStroke(linewidth=2.5, foreground="black")]
    x, y = 0.04 * width, 0.965 * height
    axes.plot((x, x + bar), (y, y), color="white", linewidth=3, solid_capstyle="butt", gid="scale")
    axes.text(
        x + bar / 2,
        y - 0.012 * height,
        f"{bar:g} mm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=8,
        path_effects=rim,
    )
    for place, letter, side in ((0.02, view.sides[0], "left"), (0.98, view.sides[1], "right")):
        axes.text(
            place * width,
            height / 2,
            letter,
            color="white",
            ha=side,
            va="center",
            fontsize=10,
            weight="bold",
            path_effects=rim,
        )


def _legend(figure: Figure, views: Sequence[View], labels: LabelSet) -> None:
    rows: list[Patch | Line2D] = [
        Patch(color=colour_of(organ.colour), label=spoken(organ.name)) for organ in labels.organs
    ]
    if any(view.truth is not None for view in views):
        rows.append(Patch(color="#9aa0a6", alpha=0.6, label="reference (filled)"))
    if any(view.pred is not None for view in views):
        rows.append(Line2D([], [], color="#e8eaed", linewidth=1.8, label="prediction (line)"))
    figure.legend(
        handles=rows,
        loc="center",
        bbox_to_anchor=(figure.get_figwidth() / 2, _FOOT_INCH / 2),
        bbox_transform=figure.dpi_scale_trans,
        ncols=len(rows),
        frameon=False,
        labelcolor=_INK,
        fontsize=8.5,
        handlelength=1.3,
        columnspacing=1.3,
    )


def colour_of(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return a colour of 0 to 255 the way matplotlib wants it."""
    red, green, blue = rgb
    return red / 255, green / 255, blue / 255


def spoken(name: str) -> str:
    """Return an organ's name as it is read: ``large_bowel`` is the large bowel."""
    return name.replace("_", " ")
