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

from medseg.data import Store, item_of, read_manifest, read_scans
from medseg.io.png import write_slice
from medseg.io.rle import encode
from medseg.scan import Scan
from medseg.transforms import preprocessing

ORGANS = ("large_bowel", "small_bowel", "stomach")
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
            else [write_scan(Path(folder), number, slices) for number in range(scans)]
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


def write_scan(root: Path, number: int, count: int) -> Scan:
    """Write a scan: an elliptic body with Rician noise, as hard to compress as a real slice."""
    rng = np.random.default_rng(number)
    j, i = np.mgrid[:266, :266] / 133 - 1
    body = ((i / 0.9) ** 2 + (j / 0.65) ** 2 < 1).astype(np.float32)
    organs = [((i - x) ** 2 + (j - 0.1) ** 2 < 0.06) for x in (-0.4, 0.0, 0.4)]
    folder = root / f"case{number}_day0"
    folder.mkdir()
    files = []
    for k in range(count):
        tissue = body * (220 + 60 * np.sin(7 * i + k / 9) * np.cos(5 * j)) + 90 * sum(organs)
        noise = rng.normal(0, 6, (2, 266, 266))
        files.append(folder / f"slice_{k + 1:04d}_266_266_1.50_1.50.png")
        write_slice(files[-1], np.hypot(tissue + noise[0], noise[1]).astype(np.uint16))
    rows = {
        name: tuple(encode(mask) if count // 4 < k < count // 2 else "" for k in range(count))
        for name, mask in zip(ORGANS, organs, strict=True)
    }
    return Scan(
        case_id=f"case{number}",
        day=0,
        slice_files=tuple(files),
        slice_numbers=tuple(range(1, count + 1)),
        size_px=(266, 266),
        spacing_mm=(1.5, 1.5, 3.0),
        rle=rows,
    )


if __name__ == "__main__":
    main()
