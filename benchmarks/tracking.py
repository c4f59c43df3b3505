"""A thousand logged steps of six metrics, beside MLflow's own calls, into SQLite stores.

python benchmarks/tracking.py [--steps 1000] [--rounds 5] [--write]
"""

import tempfile
from pathlib import Path

import click

from medseg.bench import compare, record, table, write_record
from medseg.bench.tracking import works

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--steps", default=1000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(steps: int, rounds: int, *, write: bool) -> None:
    """Log on both sides in turns and tell how much faster medseg is."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(work, rounds=rounds) for work in works(Path(folder), steps=steps)]
    click.echo(table(rows))
    if write:
        write_record(RESULT, record(rows))


if __name__ == "__main__":
    main()
