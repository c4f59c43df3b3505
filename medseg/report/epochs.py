"""Curves of a training: loss, and the validation Dice of every organ, over the epochs.

A *history* has one row an epoch, as `medseg.engine.history.TrackingHandler` keeps them: ``epoch``,
``train/loss``, ``val/dice/<organ>``. What a row lacks is not drawn.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medseg.labels import LabelSet
from medseg.report.panels import colour_of, spoken

History = Sequence[Mapping[str, float]]
Colour = str | tuple[float, float, float] | None

# Organs differ by their marker too: not everybody tells the colours apart.
MARKERS = "os^Dv*PX"
_INK = "#30363d"


def curves(history: History, labels: LabelSet | None = None) -> Figure:
    """Return loss and Dice side by side.

    Args:
        history: See above; no rows give empty axes.
        labels: Gives the organs their colours; matplotlib's own without it.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained", facecolor="white")
    loss, dice = figure.subplots(1, 2)
    draw_loss(loss, history)
    draw_dice(dice, history, labels)
    return figure


def draw_loss(axes: Axes, history: History) -> None:
    """Draw the mean training loss of each epoch."""
    _curve(axes, history, "train/loss", colour=_INK, marker=".")
    axes.set(title="Training loss", xlabel="epoch", ylim=(0, None))
    _plain(axes)


def draw_dice(axes: Axes, history: History, labels: LabelSet | None = None) -> None:
    """Draw the validation Dice of each organ, and their mean."""
    colours = {o.name: colour_of(o.colour) for o in labels.organs} if labels else {}
    found = {key for row in history for key in row if key.startswith("val/dice/")}
    organs = sorted(key for key in found if not key.endswith("/mean"))
    for key, marker in zip(organs, cycle(MARKERS)):
        _curve(axes, history, key, colour=colours.get(key.rsplit("/")[-1]), marker=marker)
    _curve(axes, history, "val/dice/mean", colour="black", marker=".", thick=True)
    axes.set(title="Validation Dice", xlabel="epoch", ylim=(0, 1))
    if found:
        axes.legend(frameon=False, loc="lower right")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _curve(
    axes: Axes, history: History, key: str, *, colour: Colour, marker: str, thick: bool = False
) -> None:
    points = [(row["epoch"], row[key]) for row in history if key in row]
    if points:
        epochs, values = zip(*points, strict=True)
        axes.plot(
            epochs,
            values,
            color=colour,
            marker=marker,
            markersize=4.5,
            label=spoken(key.rsplit("/")[-1]),
            linewidth=2.2 if thick else 1.5,
        )
