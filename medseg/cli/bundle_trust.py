"""``medseg bundle trust``: what may run code of its own, by its content."""

import json
from pathlib import Path
from typing import Any

import click

from medseg.cli import options
from medseg.cli.options import State
from medseg.errors import Problem, UsageError


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--list", "listing", is_flag=True, help="List what is trusted.")
@click.option("--remove", metavar="PATH_OR_HASH", help="End a trust.")
@options.verbosity
@options.as_json
@options.pass_state
def trust(state: State, /, path: Path | None, *, listing: bool, remove: str | None) -> None:
    """Let a bundle, a run or a pipeline from elsewhere run its own code.

    PATH is a folder or a file. What it would run is listed: read it, and its scripts. The trust is
    in its present content, and ends with any change of a configuration or script.
    """
    from medseg.bundle import trusted
    from medseg.bundle.trust import told
    from medseg.bundle.trust import trust as trust_in

    if (path is not None) + listing + (remove is not None) != 1:
        raise click.UsageError("Give PATH, --list or --remove.")
    answer: dict[str, Any]
    if path is not None:
        rows = [f"{row.file}: {row.found}" for row in told(path.resolve())]
        answer = {"trusted": str(path.resolve()), "hash": trust_in(path), "runs": rows}
        lines = [*rows, f"trusted: {answer['trusted']} ({answer['hash'][:12]})"]
    elif remove is not None:
        gone = trusted.remove(remove)
        if not gone:
            problem = Problem("E-TRUST", remove, "is not trusted", fix="see --list")
            raise UsageError(problem)
        answer, lines = {"removed": gone}, [f"no longer trusted: {path}" for path in gone]
    else:
        found = trusted.listed()
        answer = {"trusted": [{"hash": digest, **row} for digest, row in found.items()]}
        lines = [f"{key[:12]}  {row['since']}  {row['path']}" for key, row in found.items()]
    if state.json:
        click.echo(json.dumps(answer))
    elif state.verbosity >= 0:
        for line in lines:
            click.echo(line)
