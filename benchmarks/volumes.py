"""Volumes resampled, written and read, beside MONAI.

python benchmarks/volumes.py [--slices 144] [--rounds 5] [--write]
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from medseg.bench import compare, record, table, write_record
from medseg.bench.volumes import sync_s, works

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--slices", default=144, show_default=True, help="Slices of the scan.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(slices: int, rounds: int, *, write: bool) -> None:
    """Run both sides in turns, on one thread, and tell how much faster medseg is."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [compare(work, rounds=rounds) for work in works(folder, slices=slices)]
        n_bytes = (folder / "labels.nii.gz").stat().st_size
        sync = sync_s(folder, n_bytes=n_bytes, rounds=rounds)
    click.echo(table(rows))
    ours_s = next(row.ours_s for row in rows if row.work == "NIfTI label write")
    click.echo(f"of {ours_s * 1e3:.1f} ms for labels, {sync * 1e3:.1f} ms wait for the disk")
    if write:
        facts = {"slices": slices, "threads": 1, "sync_s": sync, "label_bytes": n_bytes}
        write_record(RESULT, record(rows, **facts))


if __name__ == "__main__":
    main()
