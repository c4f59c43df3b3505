"""HD95, surface Dice and ASSD of a scan's three organs, beside MONAI and MedPy.

python benchmarks/surface.py [--slices 144] [--rounds 5] [--write]
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from medseg.bench import compare, record, table, write_record
from medseg.bench.surface import works

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--slices", default=144, show_default=True, help="Slices of the scan.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(slices: int, rounds: int, *, write: bool) -> None:
    """Run both sides in turns, on one thread, and tell how much faster medseg is."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        rows = [compare(work, rounds=rounds) for work in works(Path(name), slices=slices)]
    click.echo(table(rows))
    if write:
        write_record(RESULT, record(rows, slices=slices, threads=1))


if __name__ == "__main__":
    main()
