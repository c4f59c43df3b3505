"""What a stage tells whoever watches: the command line draws it, a test records it."""

from typing import Protocol


class Display(Protocol):
    """A place to show how far the work is."""

    def begin(self, stage: str, total: int) -> None:
        """Begin a stage of `total` steps."""

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Tell that `done` of `total` steps of the stage are done."""

    def say(self, line: str) -> None:
        """Tell one line that stays."""


class Silent:
    """Shows nothing."""

    def begin(self, stage: str, total: int) -> None:
        """Show nothing."""

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""
