"""Slices a second and core that `Store.prepare` decodes, rebuilds, normalises, crops and stores.

Writes scans of 266 x 266 pixels with tissue-like noise and organs, or takes those of a data folder,
and prepares them twice on one thread: from nothing, and from the store. Beside it ``prepare.json``
keeps the last result.

    python benchmarks/prepare.py [--data DIR] [--scans 12] [--slices 144]
"""

import json
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
import torch

from medseg.bench.scans import ORGANS, write_scan
from medseg.data import Store, item_of, read_manifest, read_scans
from medseg.transforms import preprocessing

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="A UW-Madison folder.")
@click.option("--scans", default=12, show_default=True, help="Scans to write without --data.")
@click.option("--slices", default=144, show_default=True, help="Slices of each.")
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(data: Path | None, scans: int, slices: int, *, write: bool) -> None:
    """Prepare scans from nothing and again, on one thread, and tell how fast it went."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = (
            read_scans(data, read_manifest("uwmgi"))
            if data
            else [write_scan(Path(folder), number=number, slices=slices) for number in range(scans)]
        )
        items = [item_of(scan) for scan in found]
        chain = preprocessing(organs=ORGANS)
        # The first scan pays for what is set up once: imports, buffers, the page cache.
        Store(Path(folder) / "warm").prepare(items[:1], chain)
        store = Store(Path(folder) / "store")
        first_s, cpu_s = timed(lambda: store.prepare(items, chain))
        second_s, _ = timed(lambda: store.prepare(items, chain))
    count = sum(len(scan.slice_files) for scan in found)
    result = {
        "scans": len(found),
        "slices": count,
        "first_run_s": round(first_s, 2),
        "slices_per_s": round(count / first_s),
        "slices_per_cpu_s": round(count / cpu_s),
        "second_run_s": round(second_s, 4),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    click.echo(json.dumps(result, indent=1))
    if write:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


def timed(work) -> tuple[float, float]:  # noqa: ANN001
    """Return the wall and CPU seconds that `work` takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
