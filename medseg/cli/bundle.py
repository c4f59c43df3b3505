"""``medseg bundle``: list, check and begin bundles."""

import json
from pathlib import Path
from typing import Any, ClassVar

import click

from medseg import resources
from medseg.cli import options
from medseg.cli.lazy import Entry, LazyGroup
from medseg.cli.options import State
from medseg.errors import UsageError


class _Bundle(LazyGroup):
    entries: ClassVar[dict[str, Entry]] = {
        "trust": Entry(
            "medseg.cli.bundle_trust:trust", "Let a bundle from elsewhere run its code."
        ),
    }


@click.group(cls=_Bundle)
def bundle() -> None:
    """List, check, begin and trust bundles."""


@bundle.command("list")
@options.verbosity
@options.as_json
@options.pass_state
def list_bundles(state: State) -> None:
    """List the bundles that are shipped with medseg, with size and cost.

    Cost is in thousand millions of multiplications with their additions, GMACs, for one window.
    """
    from medseg.bundle.listing import described

    rows = [described(name) for name in resources.names("bundles")]
    if state.json:
        click.echo(json.dumps({"bundles": rows}))
    elif rows:
        click.echo(_table(rows))


@bundle.command()
@click.argument("bundles", nargs=-1, metavar="[BUNDLE]...")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of scans for the checks that read some; default is a small phantom.",
)
@click.option("--demo", is_flag=True, help="Check with the demo's smaller network.")
@options.trust_bundle
@options.verbosity
@options.as_json
@options.pass_state
@click.pass_context
def check(context: click.Context, state: State, /, **asked: Any) -> None:  # noqa: ANN401
    """Tell whether bundles keep to what MONAI, its model zoo and medseg ask.

    BUNDLE is a folder, or the name of a shipped one; all of these by default. Ends with 2 when a
    check failed, with 5 when a bundle from elsewhere has code of its own and is not trusted.
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


@bundle.command()
@click.argument("dataset")
@click.argument("network")
@click.option(
    "-o",
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write; default is DATASET_NETWORK here.",
)
@click.option("--like", metavar="BUNDLE", help="Bundle to take values from before all others.")
@click.option("--overwrite", is_flag=True, help="Replace the files of a bundle that is there.")
@options.trust_bundle
@options.verbosity
@options.as_json
@options.pass_state
def new(state: State, /, **asked: Any) -> None:  # noqa: ANN401
    """Write a bundle for a network on a data set.

    DATASET is the name of a data set that medseg knows, or a manifest's file; NETWORK is one of
    medseg.models. Values come from the shipped bundles of the data set and of the network.
    """
    from medseg.stages.bundle_new import new_bundle

    begun = new_bundle(
        asked["dataset"],
        asked["network"],
        out=asked["out"],
        like=asked["like"],
        overwrite=asked["overwrite"],
    )
    homes = begun.recipe.homes
    made = {
        "folder": str(begun.bundle.root),
        "data_from": homes.data.name if homes.data else None,
        "network_from": homes.network.name if homes.network else None,
        **begun.measured._asdict(),
    }
    if state.json:
        click.echo(json.dumps(made))
    elif state.verbosity >= 0:
        click.echo(_told(made))


def _told(made: dict[str, Any]) -> str:
    """Return where the values of a new bundle come from, and what to do next."""
    data = made["data_from"] or "the manifest, by rule: see to spacing_mm and roi_px"
    network = made["network_from"] or "the template: see to optimizer, lr_scheduler and epochs"
    return "\n".join(
        [
            f"{made['folder']}: {made['parameters']:,} parameters, {made['gmacs']} GMACs",
            f"values of the data set: from {data}",
            f"values of the network: from {network}",
            f"next: medseg bundle check {made['folder']}",
        ]
    )


def _table(rows: list[dict[str, Any]]) -> str:
    """Return bundles as lines, what the network costs to the right of its name."""
    head = ("bundle", "data set", "network", "labels", "parameters", "GMACs", "task")
    lines = [head] + [
        (
            *(row["name"], row["dataset"], row["network"], row["label_mode"]),
            _number(row["parameters"], 1e6, " M"),
            _number(row["gmacs"], 1, ""),
            row["task"],
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in ("parameters", "GMACs") else cell.ljust(width)
            for cell, width, name in zip(line, widths, head, strict=True)
        ).rstrip()
        for line in lines
    )


def _number(value: float | None, unit: float, suffix: str) -> str:
    return "–" if value is None else f"{value / unit:.1f}{suffix}"
