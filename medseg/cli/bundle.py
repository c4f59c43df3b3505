"""``medseg bundle``: list, check and begin bundles."""

import json
from pathlib import Path
from typing import Any

import click

from medseg import resources
from medseg.cli import options
from medseg.cli.lazy import LazyGroup
from medseg.cli.options import State
from medseg.errors import Problem, UsageError


@click.group(cls=LazyGroup)
def bundle() -> None:
    """List, check and begin bundles."""


@bundle.command("list")
@options.verbosity
@options.as_json
@options.pass_state
def list_bundles(state: State) -> None:
    """List the bundles that are shipped with medseg."""
    rows = [_described(name) for name in resources.names("bundles")]
    if state.json:
        click.echo(json.dumps({"bundles": rows}))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']:{width}}  {row['title']}")


@bundle.command()
@click.argument("bundles", nargs=-1, metavar="[BUNDLE]...")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of scans for the checks that read some; default is a small phantom.",
)
@click.option("--demo", is_flag=True, help="Check with the demo's smaller network.")
@options.verbosity
@options.as_json
@options.pass_state
@click.pass_context
def check(context: click.Context, state: State, /, **asked: Any) -> None:  # noqa: ANN401
    """Tell whether bundles keep to what MONAI, its model zoo and medseg ask.

    BUNDLE is a folder, or the name of a shipped one; all of these by default. A bundle is code:
    check only what you trust. Ends with 2 when a check failed.
    """
    from medseg.cli.display import Quiet, display
    from medseg.stages.bundle_check import check_bundles

    with Quiet() if state.json or state.verbosity < 0 else display(quiet=False) as shown_on:
        done = check_bundles(asked["bundles"], shown_on, data=asked["data"], demo=asked["demo"])
    failed = [(each.bundle.name, outcome) for each in done for outcome in each.failed]
    if state.json:
        click.echo(json.dumps({"bundles": [each.as_dict() for each in done]}))
    elif state.verbosity < 0:
        for name, outcome in failed:
            click.echo(f"{name}  {outcome}")
    else:
        states = [outcome.state for each in done for outcome in each.outcomes]
        plural = "s" * (len(done) != 1)
        counts = [f"{states.count(kind)} {kind}" for kind in dict.fromkeys(states)]
        click.echo(f"{len(done)} bundle{plural}: {', '.join(counts)}")
    if failed:
        context.exit(UsageError.exit_code)


def _described(name: str) -> dict[str, str]:
    """Return what a list tells of a bundle: its name, title, version and folder."""
    folder = resources.shipped("bundles", name)
    file = folder / "configs" / "metadata.json"
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = f"cannot be read: {error}"
        raise UsageError(Problem("E-METADATA", str(file), found, "a JSON object")) from error
    return {
        "name": name,
        "title": str(metadata.get("name", "")),
        "version": str(metadata.get("version", "")),
        "folder": str(folder),
    }
