"""Progress on the command line: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

EVERY_S = 10.0


class Bars:
    """A bar a stage, with the time it took and the time it will take still."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            Remaining(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str, total: int) -> None:
        """Begin the bar of a stage."""
        self._task = self._progress.add_task(stage, total=max(total, 1), note="")

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Move the bar of the present stage."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, note=note)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, highlight=False, markup=False)


class Lines:
    """A line at the beginning and the end of a stage, and every ten seconds between."""

    def __init__(self) -> None:
        self._stage, self._began_s, self._told_s = "", 0.0, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave; nothing is pending."""

    def begin(self, stage: str, total: int) -> None:
        """Name the stage."""
        self._stage, self._began_s = stage, time.monotonic()
        self._told_s = self._began_s
        click.echo(f"{stage}: {total} steps")

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Tell how far the stage is, at most every ten seconds and at its end."""
        now = time.monotonic()
        if done < total and now - self._told_s < EVERY_S:
            return
        self._told_s = now
        took = now - self._began_s
        left = f", {took / max(done, 1) * (total - done):.0f} s left" if done < total else ""
        click.echo(f"{self._stage}: {done}/{total}, {took:.0f} s{left}{f', {note}' * bool(note)}")

    def say(self, line: str) -> None:
        """Print the line."""
        click.echo(line)


class Quiet(Lines):
    """Nothing: for ``-q`` and ``--json``."""

    def begin(self, stage: str, total: int) -> None:
        """Print nothing."""

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Print nothing."""

    def say(self, line: str) -> None:
        """Print nothing."""


def display(*, quiet: bool) -> Bars | Lines:
    """Return the display for this terminal or pipe."""
    if quiet:
        return Quiet()
    console = Console()
    return Bars(console) if console.is_terminal else Lines()
