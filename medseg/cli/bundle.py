"""``medseg bundle``: the bundles at hand."""

import json

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
