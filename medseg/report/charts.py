"""Charts of scores: how good against how large, volumes side by side, and probabilities.

One chart an organ: on a narrow screen they stand below each other, at their own size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.labels import LabelSet, Organ
from medseg.metrics.agreement import Agreement
from medseg.metrics.calibration import BINS, Calibration
from medseg.metrics.scores import OrganScore
from medseg.report.epochs import MARKERS, History, draw_dice, draw_loss
from medseg.report.panels import colour_of, spoken

_SIZE_INCH = (3.9, 3.1)
_INK, _PALE = "#30363d", "#57606a"
_STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": _PALE,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#d0d7de",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def loss_chart(history: History) -> Figure:
    """Return the training loss over the epochs."""
    with rc_context(_STYLE):
        figure, axes = _blank(wide=True)
        draw_loss(axes, history)
    return figure


def dice_chart(history: History, labels: LabelSet) -> Figure:
    """Return the validation Dice of each organ over the epochs."""
    with rc_context(_STYLE):
        figure, axes = _blank(wide=True)
        draw_dice(axes, history, labels)
    return figure


def size_chart(scores: Sequence[OrganScore], labels: LabelSet, organ: str) -> Figure:
    """Return the Dice of each scan against the organ's volume in the reference.

    A missed organ lies at 0, with a cross; one drawn where there is none has no size, and one that
    is in neither no Dice: both are left out.
    """
    rows = [row for row in scores if row.organ == organ and row.volume_ref_ml > 0]
    with rc_context(_STYLE):
        figure, axes = _blank(spoken(organ))
        ok = [row for row in rows if row.status == "ok"]
        axes.plot([r.volume_ref_ml for r in ok], [r.dice for r in ok], **_look(labels, organ))
        missed = [r.volume_ref_ml for r in rows if r.status == "missed"]
        axes.plot(missed, [0] * len(missed), "x", color=_INK, markersize=8, clip_on=False)
        axes.set(xlabel="volume in the reference, ml", ylabel="Dice", ylim=(0, 1))
        axes.set_xlim(0, 1.08 * max([r.volume_ref_ml for r in rows], default=1))
    return figure


def agreement_chart(
    pairs_ml: Sequence[tuple[float, float]], found: Agreement, labels: LabelSet, organ: str
) -> Figure:
    """Return Bland and Altman's chart of an organ's volumes: difference against mean.

    Args:
        pairs_ml: Volume of the prediction and of the reference, a pair a scan.
        found: Bias and limits of their differences.
        labels: The organs.
        organ: Which of them.
    """
    with rc_context(_STYLE):
        figure, axes = _blank(spoken(organ))
        pred, ref = np.array(pairs_ml, float).reshape(-1, 2).T
        axes.plot((pred + ref) / 2, pred - ref, **_look(labels, organ))
        axes.axhline(0, color=_PALE, linewidth=0.8)
        lines = ((found.bias, "bias", "-"), (found.low, "", "--"), (found.high, "", "--"))
        for level, name, dashes in lines:
            if np.isfinite(level):
                axes.axhline(level, color=_INK, linewidth=1.2, linestyle=dashes, label=name)
        reach = 1.25 * max([1e-3, *(abs(x) for x in (*(pred - ref), *found[:3]) if np.isfinite(x))])
        axes.set(xlabel="mean of both volumes, ml", ylim=(-reach, reach))
        axes.set_ylabel("prediction less reference, ml")
        axes.set_xlim(0, 1.08 * max([*((pred + ref) / 2), 1e-3]))
    return figure


def reliability_chart(counts: Calibration, labels: LabelSet, organ: str) -> Figure:
    """Return the share of organ among the voxels of each bin against their probability.

    The bars behind tell which share of the counted voxels each bin holds.
    """
    with rc_context(_STYLE):
        figure, axes = _blank(spoken(organ))
        axes.plot((0, 1), (0, 1), color=_PALE, linewidth=0.9, linestyle="--")
        whole = max(sum(counts.n), 1)
        middles = (np.arange(BINS) + 0.5) / BINS
        axes.bar(middles, np.divide(counts.n, whole), width=0.9 / BINS, color="#d0d7de")
        at, shares = [p.probability for p in counts.points], [p.share for p in counts.points]
        axes.plot(at, shares, **(_look(labels, organ) | {"linestyle": "-", "clip_on": False}))
        axes.set(xlabel="predicted probability", ylabel="share that is organ")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure


def _blank(title: str = "", *, wide: bool = False) -> tuple[Figure, Axes]:
    width_inch, height_inch = _SIZE_INCH
    size_inch = (width_inch * (1.35 if wide else 1), height_inch)
    figure = Figure(figsize=size_inch, layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _look(labels: LabelSet, organ: str) -> dict[str, Any]:
    """Return how an organ's points look: its colour, a dark rim, and a marker of its own."""
    channel = labels.channel(organ)
    chosen: Organ = labels.organs[channel]
    return {
        "linestyle": "",
        "marker": MARKERS[channel % len(MARKERS)],
        "markersize": 6.5,
        "color": colour_of(chosen.colour),
        "markeredgecolor": _INK,
        "markeredgewidth": 0.8,
    }
