"""End to end, beside a stock MONAI bundle: scan folders in; NIfTI, RLE and Dice on disk.

The same scans, windows and weights on both sides; see `benchmarks/peers/monai_bundle`. The scans
are shorter than real ones (80 or 144 slices), so that a run takes minutes.

    python benchmarks/end_to_end.py [--scans 10] [--slices 48] [--rounds 3] [--write]
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from medseg.bench import compare, record, table, write_record
from medseg.bench.end_to_end import works

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--scans", default=10, show_default=True, help="How many; one is resampled.")
@click.option("--slices", default=48, show_default=True, help="Slices of each.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(scans: int, slices: int, rounds: int, *, write: bool) -> None:
    """Run both sides in turns, on one thread, and tell how much faster medseg is."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = works(Path(folder), scans=scans, slices=slices)
        rows = [compare(work, rounds=rounds) for work in found]
    click.echo(table(rows))
    for row in rows:
        click.echo(f"{row.work}: {row.same}")
    if write:
        write_record(RESULT, record(rows, scans=scans, slices=slices, threads=1))


if __name__ == "__main__":
    main()
