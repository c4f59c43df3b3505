"""Starting up, beside ``python -m monai.bundle --help``: whole processes by the clock.

Beside the comparisons it tells how long a second ``medseg run --stage prepare`` takes, which
imports MONAI and transformers and finds everything prepared.

    python benchmarks/startup.py [--rounds 5] [--write]
"""

import tempfile
from pathlib import Path

import click

from medseg.bench import compare, record, table, write_record
from medseg.bench.startup import process, works

RESULT = Path(__file__).with_suffix(".json")
BUNDLE = "uwmgi_segformer"


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(rounds: int, *, write: bool) -> None:
    """Run both sides in turns and tell how much faster medseg is there."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(work, rounds=rounds) for work in works(Path(folder))]
        second_s = prepared_twice(Path(folder))
    click.echo(table(rows))
    click.echo(f"medseg run {BUNDLE} --stage prepare, the second time: {second_s:.1f} s")
    if write:
        write_record(RESULT, record(rows, second_prepare_s=round(second_s, 2)))


def prepared_twice(folder: Path) -> float:
    """Return the seconds of the second of two equal preparations of a small phantom."""
    phantom = ("data", "phantom", "phantom", "--patients", "5", "--days", "1")
    prepare = ("run", BUNDLE, "--data", "phantom", "--demo", "--stage", "prepare")
    for words in (phantom, prepare, prepare):
        last = process("-m", "medseg", *words, folder=folder)
    return last.wall_s


if __name__ == "__main__":
    main()
