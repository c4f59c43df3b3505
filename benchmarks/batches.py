"""A 2.5D training batch, augmented and ready on the device, beside MONAI's cached data loader.

    python benchmarks/batches.py [--device cpu] [--rounds 5] [--write]

Both sides may use the whole machine; ``OMP_NUM_THREADS=1`` compares one thread with one.
"""

import tempfile
from pathlib import Path

import click
import torch

from medseg.bench import compare, record, table, write_record
from medseg.bench.batches import works

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--device", default="cpu", show_default=True, help="Where the batches are to be.")
@click.option("--batches", default=8, show_default=True, help="Batches made at a time.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(device: str, batches: int, rounds: int, *, write: bool) -> None:
    """Make batches of three and of five channels in turns, and tell how much faster medseg is."""
    rows = []
    for neighbours in (3, 5):
        with tempfile.TemporaryDirectory() as folder:
            found = works(Path(folder), neighbours=neighbours, batches=batches, device=device)
            rows += [compare(work, rounds=rounds) for work in found]
    click.echo(table(rows))
    if write:
        write_record(RESULT, record(rows, device=device, threads=torch.get_num_threads()))


if __name__ == "__main__":
    main()
