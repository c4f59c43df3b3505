"""SegFormer-b0 and b2, forward and training step, beside transformers' own with the same weights.

    python benchmarks/networks.py [--device cpu] [--batch 4] [--rounds 5] [--write]

One thread computes, unless ``OMP_NUM_THREADS`` says otherwise.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from medseg.bench import compare, record, table, write_record
from medseg.bench.networks import works

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--sizes", default="b0,b2", show_default=True)
@click.option("--batch", default=4, show_default=True, help="Images at once.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(device: str, sizes: str, batch: int, rounds: int, *, write: bool) -> None:
    """Run both sides in turns and tell how much faster medseg is."""
    with tempfile.TemporaryDirectory() as folder:
        made = works(Path(folder), sizes=sizes.split(","), batch=batch, device=device)
        rows = [compare(work, rounds=rounds) for work in made]
    click.echo(table(rows))
    if write:
        write_record(RESULT, record(rows, device=device, threads=torch.get_num_threads()))


if __name__ == "__main__":
    main()
