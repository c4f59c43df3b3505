"""The picture of a pipeline: what each of the compared scored, and what its source says.

Whoever does not tell the colours apart has the shapes: a disc with its interval is ours by scan, a
hollow square ours counted as the source counts, a diamond the source's own figure, a dot a run.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.report.pipeline_results import EntryResult, Results

_OURS, _THEIRS, _PALE = "#0072B2", "#D55E00", "#57606a"
_WIDE_INCH, _ROW_INCH, _FOOT_INCH = 8.5, 0.62, 1.7


def outcome_figure(results: Results) -> Figure:
    """Return a row an entry: Dice on one scale from 0 to 1; an entry without a run has no marks."""
    tall = _FOOT_INCH + _ROW_INCH * len(results.entries)
    figure = Figure(figsize=(_WIDE_INCH, tall), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for place, entry in enumerate(results.entries):
        _draw(axes, entry, place)
    axes.set_yticks(range(len(results.entries)), [entry.name for entry in results.entries])
    axes.set_ylim(len(results.entries) - 0.5, -0.5)
    axes.set(xlim=(-0.01, 1.01), xlabel="Dice, mean over organs")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    figure.legend(handles=_key(results), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw(axes: Axes, entry: EntryResult, place: int) -> None:
    whole = entry.whole("dice")
    dots = [run.dice for run in entry.done]
    axes.plot(dots, np.full(len(dots), place + 0.2), ".", color=_PALE, alpha=0.6)
    if whole:
        low, high = whole.counted.low, whole.counted.high
        axes.plot((low, high), (place, place), color=_OURS, linewidth=2.6, solid_capstyle="butt")
        axes.plot(whole.counted.mean, place, **_mark("o", _OURS))
    axes.plot(entry.spread("dice").mean, place - 0.22, **_mark("s", _OURS, filled=False))
    if "dice" in entry.source:
        axes.plot(entry.source["dice"], place - 0.22, **_mark("D", _THEIRS))


def _mark(shape: str, colour: str, *, filled: bool = True) -> dict[str, Any]:
    return {
        "color": colour,
        "marker": shape,
        "markerfacecolor": colour if filled else "white",
        "markersize": 8.0 if shape != "D" else 7.0,
        "markeredgewidth": 1.8,
        "linestyle": "",
    }


def _key(results: Results) -> list[Line2D]:
    how = {"slices": "slice by slice", "batches": "batch by batch"}[results.counted]
    ours = {**_mark("o", _OURS), "linestyle": "-", "linewidth": 2.6}
    key = [
        Line2D([], [], label="ours by scan, 95 % interval", **ours),
        Line2D([], [], label=f"ours, {how}", **_mark("s", _OURS, filled=False)),
        Line2D([], [], label="a run", linestyle="", marker=".", color=_PALE, alpha=0.6),
    ]
    if any("dice" in entry.source for entry in results.entries):
        key.append(Line2D([], [], label=f"the source, {how}", **_mark("D", _THEIRS)))
    return key
