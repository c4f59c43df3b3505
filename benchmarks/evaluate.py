"""Time and memory of ``medseg evaluate`` on as many scans as UW-Madison GI has, on all cores.

Writes label maps of three phantom patients at the real set's size, and predictions a voxel or two
beside them, then links them under 274 names. The memory is that of all processes together at its
peak, pages that they share counted in each. Beside it ``evaluate.json`` keeps the last result.

    python benchmarks/evaluate.py [--scans 274] [--workers N] [--write]
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil

from medseg.data.label_files import find_references, read_reference
from medseg.data.manifest import read_manifest
from medseg.data.phantom import write_phantom
from medseg.io.nifti import write_label_map
from medseg.stages.workers import cores

RESULT = Path(__file__).with_suffix(".json")
PATIENTS = 3
EVERY_S = 0.05


@click.command()
@click.option("--scans", default=274, show_default=True, help="Scans on either side.")
@click.option("--workers", type=int, default=cores, help="Processes; default is one a core.")
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(*, scans: int, workers: int, write: bool) -> None:
    """Evaluate scans of real size and tell what it took."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shapes = write_sides(root, scans)
        took_s, cpu_s, peak_bytes = evaluated(root, workers)
        told = json.loads((root / "out/summary.json").read_text())
    result = {
        "scans": told["n_scans"],
        "shapes": shapes,
        "workers": workers,
        "wall_s": round(took_s, 1),
        "cpu_s": round(cpu_s, 1),
        "scans_per_s": round(told["n_scans"] / took_s, 2),
        "peak_rss_mb": round(peak_bytes / 1e6),
        "dice": {organ["organ"]: round(organ["found"]["dice"], 3) for organ in told["organs"]},
        "load": round(psutil.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    click.echo(json.dumps(result, indent=1))
    if write:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


def write_sides(root: Path, scans: int) -> list[str]:
    """Write ``ref`` and ``pred``, and return the shapes of the scans behind the names."""
    manifest = read_manifest("uwmgi")
    write_phantom(root / "phantom", patients=PATIENTS, days=1)
    made, shapes = [], []
    for side in ("ref", "pred", "made"):
        (root / side).mkdir()
    for scan_id, source in find_references(root / "phantom", manifest).items():
        truth = read_reference(source, manifest.labels)
        label_map = manifest.labels.label_map(truth.masks)
        beside = np.roll(label_map, (2, 1), axis=(0, 1))
        pair = {side: root / "made" / f"{scan_id}_{side}.nii.gz" for side in ("ref", "pred")}
        for side, voxels in (("ref", label_map), ("pred", beside)):
            write_label_map(pair[side], voxels, truth.grid, manifest.labels)
        made.append(pair)
        shapes.append(" x ".join(map(str, truth.grid.shape)))
    for number in range(scans):
        for side, path in made[number % len(made)].items():
            (root / side / f"case{number}_day0.nii.gz").symlink_to(path)
    return shapes


def evaluated(root: Path, workers: int) -> tuple[float, float, int]:
    """Return wall and processor seconds, and the peak of memory of all processes together."""
    words = [sys.executable, "-m", "medseg", "evaluate", "pred", "ref", "-q", "--save", "out"]
    began, peak_bytes, cpu_s = time.monotonic(), 0, {}
    process = psutil.Popen([*words, "--workers", str(workers)], cwd=root, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        seen = [usage(each) for each in (process, *children_of(process))]
        peak_bytes = max(peak_bytes, sum(rss for _, rss, _ in seen))
        cpu_s |= {pid: used_s for pid, _, used_s in seen}
        time.sleep(EVERY_S)
    if process.returncode != 0:
        sys.exit(f"medseg evaluate ended with {process.returncode}")
    return time.monotonic() - began, sum(cpu_s.values()), peak_bytes


def children_of(process: psutil.Popen) -> list[psutil.Process]:
    """Return the processes that a process has begun; none once it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def usage(process: psutil.Process) -> tuple[int, int, float]:
    """Return id, resident bytes and processor seconds of a process; zeros once it has ended."""
    try:
        times = process.cpu_times()
        return process.pid, process.memory_info().rss, times.user + times.system
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0, 0, 0.0


if __name__ == "__main__":
    main()
