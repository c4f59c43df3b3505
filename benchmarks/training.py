"""Whole training loops of SegFormer-b0: medseg's bundle, a stock MONAI bundle, Hugging Face's.

    python benchmarks/training.py [--device cpu] [--steps 8] [--rounds 5] [--write]

Each side computes on one thread, unless ``OMP_NUM_THREADS`` says otherwise. The last row is the
share of medseg's loop that is the network: the time of the same steps on one batch, without a loop
around them, divided by the time of the loop.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from medseg.bench import compare, record, table, write_record
from medseg.bench.training import Peers, works

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--device", default="cpu", show_default=True)
@click.option("--steps", default=8, show_default=True, help="Of each loop.")
@click.option("--batch-size", default=8, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--hugging-face/--no-hugging-face", default=True, help="Whether to compare with it.")
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(
    device: str, steps: int, batch_size: int, rounds: int, *, hugging_face: bool, write: bool
) -> None:
    """Run the loops in turns and tell how much faster medseg is."""
    with tempfile.TemporaryDirectory() as folder, Peers(hugging_face=hugging_face) as peers:
        made = works(
            Path(folder), peers=peers.by_name, steps=steps, batch_size=batch_size, device=device
        )
        rows = [compare(work, rounds=rounds) for work in made]
    click.echo(table(rows))
    if write:
        write_record(RESULT, record(rows, device=device, threads=torch.get_num_threads()))


if __name__ == "__main__":
    main()
