"""Draw how long cohorts take, and what limits them, from the costs that `growth.py` measured.

python benchmarks/growth_figure.py [-o docs/images/growth.png]
"""

from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medseg.bench.growth import STAGES, Costs, Site, estimate, measured
from medseg.report.figures import save

FIGURE = Path(__file__).parents[1] / "docs" / "images" / "growth.png"
ROWS = {
    "devices are cores": Site(),
    "devices 100 times a core (assumed), 8 cores each": Site(device_speed=100, cores=8),
}
DEVICES = (1, 8, 512)
SCANS = np.logspace(1, 7, 25).astype(int)
COLOURS = dict(zip(STAGES, ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True))
MARKERS = {
    "processors": "o",
    "devices": "s",
    "all-reduce": "X",
    "storage": "v",
    "one process": "D",
    "start-up": "|",
}
TIMES = {1: "1 s", 60: "1 min", 3600: "1 h", 86400: "1 d", 86400 * 30: "30 d", 86400 * 365: "1 y"}


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=FIGURE)
def main(output: Path) -> None:
    """Draw a row a kind of device, a column a number of them."""
    costs = measured()
    figure = Figure(figsize=(10.5, 7), layout="constrained")
    axes = figure.subplots(len(ROWS), len(DEVICES), sharex=True, sharey=True)
    for line, (name, site) in zip(axes, ROWS.items(), strict=True):
        for axis, devices in zip(line, DEVICES, strict=True):
            draw(axis, costs, Site(**{**vars(site), "devices": devices}))
            axis.set_title(f"{devices}: {name}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("scans")
    shown = [Line2D([], [], color=COLOURS[stage], label=stage) for stage in STAGES]
    shown += [
        Line2D([], [], color="0.3", ls="", marker=mark, label=f"limited by {name}")
        for name, mark in MARKERS.items()
    ]
    figure.legend(handles=shown, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    save(figure, output, dpi=110)
    click.echo(output)


def draw(axis, costs: Costs, site: Site) -> None:  # noqa: ANN001
    """Draw a line a stage; a mark says what limits it there."""
    for stage in STAGES:
        found = [estimate(stage, int(scans), costs, site) for scans in SCANS]
        seconds = [each.seconds for each in found]
        axis.plot(SCANS, seconds, color=COLOURS[stage], lw=1)
        for limit, mark in MARKERS.items():
            at = [n for n, each in enumerate(found) if each.limit == limit and n % 2 == 0]
            axis.plot(
                SCANS[at], [seconds[n] for n in at], mark, color=COLOURS[stage], ms=5, mew=1.2
            )
    axis.set(xscale="log", yscale="log", ylim=(0.5, 4e9))
    axis.set_yticks(list(TIMES), list(TIMES.values()), fontsize=8)
    axis.minorticks_off()
    axis.grid(color="0.9")


if __name__ == "__main__":
    main()
