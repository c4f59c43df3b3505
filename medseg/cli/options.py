"""Options that commands share, each a decorator.

``--json``, ``-v`` and ``-q`` are kept in the `State` that a command asks for with `pass_state`;
the others arrive as arguments of the command::

    @click.command()
    @options.output
    @options.device
    @options.verbosity
    @options.as_json
    @options.pass_state
    def train(state: State, output: Path, device: str) -> None: ...

A command with ``--json`` prints one JSON object and nothing else on stdout. A `MedsegError` that
leaves the command is printed by `medseg.cli.main`, as JSON too.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class State:
    """What every command of one invocation knows.

    Attributes:
        json: Whether stdout carries one JSON object in place of text.
        verbosity: -1 quiet, 0 as usual, 1 tells more, 2 tells everything, with tracebacks.
        words: The command line after ``medseg``.
    """

    json: bool = False
    verbosity: int = 0
    words: Sequence[str] = ()

    def tell(self, more: int) -> None:
        """Raise the verbosity by `more`, negative for less, and the log's level with it."""
        self.verbosity += more
        level = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
        logging.getLogger("medseg").setLevel(level[min(max(self.verbosity, -1), 2) + 1])


pass_state = click.make_pass_decorator(State, ensure=True)


class Place(click.Path):
    """A path, or the address of an object store, such as ``s3://bucket/folder``.

    The command gets a path all the same: of a copy of what lies there.

    Args:
        results: Where the command writes: ``runs``, of which it fetches what it goes on with, or
            ``predictions``, which it fetches. Empty for what it reads.
        options: Of `click.Path`.
    """

    def __init__(self, *, results: str = "", **options: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(path_type=Path, **options)
        self.results = results

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ANN401 - click's
        """Return the path that a word of the command line stands for."""
        from medseg.io.remote import is_remote

        if not (isinstance(value, str) and is_remote(value)):
            return super().convert(value, param, ctx)
        from medseg.io.remote_work import local_copy, working_folder

        if self.results:
            return working_folder(value, fetched=self.results == "predictions")
        return local_copy(value)


def model(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Return a model's name or path; one in an object store is fetched."""
    from medseg.io.remote import PACKAGES, is_remote

    if is_remote(value) and value.partition(":")[0] in PACKAGES:
        from medseg.io.remote_work import local_copy

        return str(local_copy(value))
    return value


def as_json(command: Command) -> Command:
    """Add ``--json``, kept in the state."""
    return click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_keep_json,
        help="Print one JSON object.",
    )(command)


def verbosity(command: Command) -> Command:
    """Add ``-v`` and ``-q``, kept in the state."""
    verbose = click.option(
        "-v",
        "--verbose",
        count=True,
        is_eager=True,
        expose_value=False,
        callback=_keep_verbose,
        help="Tell more; -vv tells everything, with tracebacks.",
    )
    quiet = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_keep_quiet,
        help="Tell errors only.",
    )
    return verbose(quiet(command))


def device(command: Command) -> Command:
    """Add ``--device``, an argument `device: str`; whether it exists is found out on use."""
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda[:N]",
        callback=_device,
        help="Where to compute.",
    )(command)


def engine(command: Command) -> Command:
    """Add ``--engine`` and ``--address``, arguments `engine: str` and `address: str | None`."""
    where = click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Do the work here, or on the machines of a Ray cluster.",
    )
    which = click.option(
        "--address",
        metavar="auto|HOST:PORT",
        help="A Ray cluster that runs; without, one begins on this machine.",
    )
    return where(which(command))


def output(command: Command) -> Command:
    """Add ``--output``, an argument `output: Path`."""
    return click.option(
        "--output",
        type=Place(results="runs", file_okay=False),
        default=Path("runs"),
        show_default=True,
        help="Folder of runs and prepared volumes, or its address.",
    )(command)


def seed(command: Command) -> Command:
    """Add ``--seed``, an argument `seed: int | None`: None leaves it to the configuration."""
    return click.option("--seed", type=click.IntRange(min=0), help="Seed of everything random.")(
        command
    )


def settings(command: Command) -> Command:
    """Add ``--set``, an argument `settings: dict[str, str]`; of one key twice the last counts."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_settings,
        help="Override a value of the configuration; may be repeated.",
    )(command)


def trust_bundle(command: Command) -> Command:
    """Add ``--trust-bundle``, which lets all that the command opens run code of its own."""
    return click.option(
        "--trust-bundle",
        is_flag=True,
        expose_value=False,
        callback=_trust,
        help="Let bundles and runs from elsewhere run their own code, this once.",
    )(command)


def _trust(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from medseg.bundle.trust import trusting

        ctx.with_resource(trusting())


def _device(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:0, cuda:1 …")
    return value


def _settings(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{value!r} is not KEY=VALUE")
        pairs[key.strip()] = text
    return pairs


def _keep_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(State).json |= value


def _keep_verbose(ctx: click.Context, _param: click.Parameter, value: int) -> None:
    ctx.ensure_object(State).tell(value)


def _keep_quiet(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(State).tell(-int(value))
