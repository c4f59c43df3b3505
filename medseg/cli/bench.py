"""``medseg bench``: how much faster medseg is than what people use instead, on this machine."""

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli import options
from medseg.cli.options import State
from medseg.errors import PartialError, Problem, UsageError, shown

if TYPE_CHECKING:
    from medseg.bench import Comparison


@click.command()
@click.argument("works", nargs=-1, metavar="[WORK]...")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Runs of each side, in turns.",
)
@click.option("--list", "only_list", is_flag=True, help="Name the works and measure none.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write everything to this JSON file.",
)
@options.device
@options.verbosity
@options.as_json
@options.pass_state
def bench(
    state: State,
    /,
    *,
    works: tuple[str, ...],
    rounds: int,
    only_list: bool,
    out: Path | None,
    device: str,
) -> None:
    """Measure medseg beside what people use instead.

    Runs the short form of WORKs, all of them by default, on one thread: the same work on both
    sides in turns, results compared first. A ratio below its reach is told and no error; results
    that differ end with 6.
    """
    if only_list:
        _list(as_json=state.json)
        return
    rows, problems = _measured(_chosen(works), device, rounds, quiet=_quiet(state))
    report = _report(rows, problems, rounds) if state.json or out else {}
    if out is not None:
        out.write_text(json.dumps(report, indent=1) + "\n")
    if state.json:
        click.echo(json.dumps(report))
    else:
        if rows:
            click.echo(_told(rows))
        if problems:
            click.echo(shown(problems), err=True)
    if problems:
        click.get_current_context().exit(PartialError.exit_code)


def _quiet(state: State) -> bool:
    return state.json or state.verbosity < 0


def _list(*, as_json: bool) -> None:
    from medseg.bench.short import SUBJECTS

    if as_json:
        click.echo(json.dumps({"works": {name: each.about for name, each in SUBJECTS.items()}}))
        return
    width = max(map(len, SUBJECTS))
    for name, subject in SUBJECTS.items():
        click.echo(f"{name:{width}}  {subject.about}")


def _chosen(asked: Sequence[str]) -> list[str]:
    """Return the subjects asked for, each once; all when none is."""
    from medseg.bench.short import SUBJECTS

    problems = []
    for name in asked:
        if name not in SUBJECTS:
            near = get_close_matches(name, SUBJECTS, n=1)
            fix = f"did you mean {near[0]}?" if near else "see medseg bench --list"
            problems.append(Problem("E-WORK", "medseg bench", f"has no work '{name}'", fix=fix))
    if problems:
        raise UsageError(*problems)
    return list(dict.fromkeys(asked)) or list(SUBJECTS)


def _measured(
    names: Sequence[str], device: str, rounds: int, *, quiet: bool
) -> tuple[list["Comparison"], list[Problem]]:
    from medseg.bench.short import measured, one_thread
    from medseg.cli.display import display

    rows: list[Comparison] = []
    problems: list[Problem] = []
    with one_thread(), display(quiet=quiet) as watched:
        from medseg.engine.device import device_of

        where = device_of(device)
        watched.begin("bench", len(names))
        for done, name in enumerate(names, 1):
            for found in measured(name, device=where, rounds=rounds):
                if isinstance(found, Problem):
                    problems.append(found)
                else:
                    rows.append(found)
            watched.advance(done, len(names), name)
    return rows, problems


def _report(
    rows: Sequence["Comparison"], problems: Iterable[Problem], rounds: int
) -> dict[str, Any]:
    from medseg.bench import record

    return {
        **record(rows, form="short", rounds=rounds, threads=1),
        "below_reach": [row.work for row in rows if not row.reached],
        "problems": [problem.as_dict() for problem in problems],
    }


def _told(rows: Sequence["Comparison"]) -> str:
    """Return the table, and beneath it how many ratios are below reach."""
    from medseg.bench import table

    below = sum(not row.reached for row in rows)
    count = f"{below} of {len(rows)}" if below else "none"
    return f"{table(rows)}\n{count} below reach"
