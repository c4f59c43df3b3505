"""The command line: parse, call one stage, print."""

from medseg.cli.entry import cli, main

__all__ = ["cli", "main"]
