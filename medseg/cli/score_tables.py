"""Scores on a terminal: the tables of `medseg.report.score_tables` in the organs' colours."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.style import Style
from rich.table import Table as Drawn
from rich.text import Text

from medseg.labels import LabelSet
from medseg.metrics.scores import OrganScore
from medseg.metrics.summary import Summary
from medseg.report.score_tables import Table, legend, tables, worst_lines

# Counts of scans that went wrong; all others are as they should be.
_WRONG = {"missed", "false positive"}


def print_scores(
    console: Console, scores: Sequence[OrganScore], summary: Summary, labels: LabelSet
) -> None:
    """Print both tables, the legend and the worst scans.

    Args:
        console: Where to; it decides on width and colours.
        scores: The scores.
        summary: Of the scores.
        labels: The organs' colours; another organ has none.
    """
    styles = {organ.name: Style(color=_hex(organ.colour), bold=True) for organ in labels.organs}
    console.print(f"{summary.n_scans} scans", highlight=False)
    for table in tables(summary):
        console.print(_drawn(table, styles))
    for line in legend(scores):
        console.print(Text(line, style="dim"))
    if lines := worst_lines(scores):
        console.print("\nWorst scans, by Dice (HD95)", style="bold", highlight=False)
    for organ, line in lines.items():
        console.print(Text.assemble(("  ", ""), (organ, styles.get(organ, "bold")), f": {line}"))


def _drawn(table: Table, styles: dict[str, Style]) -> Drawn:
    drawn = Drawn(
        box=box.SIMPLE_HEAD, title=table.title, title_justify="left", pad_edge=False, padding=(0, 1)
    )
    for index, name in enumerate(table.header):
        drawn.add_column(name, justify="right" if index else "left", no_wrap=not index)
    before = ""
    for row in table.rows:
        # An organ is named once, above all rows that are about it.
        organ = Text("" if row[0] == before else row[0], style=styles.get(row[0], "bold"))
        drawn.add_row(organ, *map(_cell, table.header[1:], row[1:]))
        before = row[0]
    return drawn


def _cell(column: str, value: str) -> Text:
    return Text(value, style="bold red" if column in _WRONG and value != "0" else "")


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
