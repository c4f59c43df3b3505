"""The picture of a comparison: differences with their intervals, and a dot a patient.

What may be called different is told by shape and by colour: a filled disc in blue for the first
run of a pair, a filled square in orange for the second, and a hollow grey disc for neither. The
colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.metrics.comparison import Comparison, Difference
from medseg.metrics.scores import Metric
from medseg.report.panels import spoken

_FIRST, _SECOND, _NEITHER = "#0072B2", "#D55E00", "#57606a"
_WIDE_INCH, _ROW_INCH, _PANEL_INCH, _FOOT_INCH = 8.5, 0.55, 0.95, 0.9
# The interval lies above its patients.
_INTERVAL_AT, _DOTS_AT = -0.2, np.array([0.06, 0.17, 0.28])


def differences_figure(comparison: Comparison) -> Figure:
    """Return a panel a pair of runs, in it a row an organ; all panels share one scale."""
    rows = [row for organ in comparison.organs for row in organ.differences]
    pairs = list(dict.fromkeys((row.first, row.second) for row in rows))
    panel_inch = _PANEL_INCH + _ROW_INCH * len(comparison.organs)
    tall = max(1, len(pairs)) * panel_inch + _FOOT_INCH
    figure = Figure(figsize=(_WIDE_INCH, tall), layout="constrained", facecolor="white")
    panels = figure.subplots(max(1, len(pairs)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, pair in zip(panels, pairs, strict=False):
        _draw(axes, [row for row in rows if (row.first, row.second) == pair])
        left, right = reversed(pair) if comparison.metric.better == "higher" else pair
        axes.set_title(f"← better: {left}", loc="left", fontsize=10)
        axes.set_title(f"better: {right} →", loc="right", fontsize=10)
        axes.tick_params(labelbottom=True)
    panels[-1].set_xlabel(_scale(comparison.metric))
    figure.suptitle(
        f"{comparison.metric.title}, {comparison.n_scans} scans of {comparison.n_patients} patients"
    )
    figure.legend(
        handles=_key(comparison.level), loc="outside lower center", ncols=3, frameon=False
    )
    return figure


def _scale(metric: Metric) -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    return f"difference of {metric.title}: first run less second{unit}"


def _draw(axes: Axes, rows: Sequence[Difference]) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    for place, row in enumerate(rows):
        # In the order of their values on three levels, neighbours hardly hide each other.
        level = np.argsort(np.argsort(row.by_patient, kind="stable")) % len(_DOTS_AT)
        axes.plot(row.by_patient, place + _DOTS_AT[level], ".", color=_NEITHER, alpha=0.45)
        ends, at = (row.interval.low, row.interval.high), place + _INTERVAL_AT
        colour = _look(row)["color"]
        axes.plot(ends, (at, at), color=colour, linewidth=2.6, solid_capstyle="butt")
        axes.plot(row.interval.mean, at, **_look(row))
    axes.set_yticks(range(len(rows)), [spoken(row.organ) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)


def _look(row: Difference) -> dict[str, Any]:
    if row.better is None:
        return _marker(_NEITHER, "o", filled=False)
    return _marker(_FIRST, "o") if row.better == row.first else _marker(_SECOND, "s")


def _marker(colour: str, shape: str, *, filled: bool = True) -> dict[str, Any]:
    return {
        "color": colour,
        "marker": shape,
        "markerfacecolor": colour if filled else "white",
        "markersize": 8.0,
        "markeredgewidth": 1.8,
    }


def _key(level: float) -> list[Line2D]:
    interval = f"mean, {level:.0%} interval".replace("%", " %")
    return [
        Line2D([], [], linewidth=2.6, label="first run better", **_marker(_FIRST, "o")),
        Line2D([], [], linewidth=2.6, label="second run better", **_marker(_SECOND, "s")),
        Line2D(
            *([], []),
            linewidth=2.6,
            label="no difference shown",
            **_marker(_NEITHER, "o", filled=False),
        ),
        Line2D([], [], linestyle="", marker=".", color=_NEITHER, alpha=0.45, label="a patient"),
        Line2D([], [], color="black", linewidth=2.6, label=interval),
    ]
