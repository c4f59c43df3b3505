"""Two hundred DICOM studies with one model: seconds a study, and memory from study to study.

python benchmarks/cohort.py [--studies 200] [--side 96] [--slices 24] [--engine ray] [--write]
"""

import json
import shutil
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil

from medseg.bench import record, write_record
from medseg.engine.checkpoints import write_checkpoint
from medseg.geometry import lpi_grid
from medseg.io.dicom_secondary import write_secondary
from medseg.models import segformer_b0
from medseg.resources import shipped
from medseg.stages.cohort import Asked
from medseg.stages.display import Silent
from medseg.stages.engines import ENGINES, machines_of
from medseg.stages.segment import Segmentation, segment

RESULT = Path(__file__).with_suffix(".json")
# Of the studies; what imports, kernels and caches take, they take once.
WARM_UP = 0.2
MOST_MIB_A_STUDY = 0.1
SPACING_MM = (2.5, 2.5, 3.0)


class Meter(Silent):
    """Notes the time and the memory of this process whenever a study is done."""

    def __init__(self) -> None:
        self.began_s, self.seconds, self.mib = time.perf_counter(), [], []

    def advance(self, *_: object) -> None:
        """Note where the process stands."""
        self.seconds.append(time.perf_counter() - self.began_s)
        self.mib.append(psutil.Process().memory_info().rss / (1 << 20))


@click.command()
@click.option("--studies", default=200, show_default=True)
@click.option("--side", default=96, show_default=True, help="Columns and rows of a slice.")
@click.option("--slices", default=24, show_default=True)
@click.option("--engine", type=click.Choice(ENGINES), default="local", show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}, of Ray beside it.")
def main(studies: int, side: int, slices: int, *, engine: str, write: bool) -> None:
    """Predict made-up studies into NIfTI, SEG and RTSTRUCT and tell what it took."""
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, machines_of(engine) as machines:
        ready_s = time.perf_counter() - began_s
        folder = Path(name)
        inputs = tuple(
            series(folder / f"study{n}", (side, side, slices), n) for n in range(studies)
        )
        meter = Meter()
        wanted = Segmentation(
            str(model(folder / "model")),
            {
                "output_dir": str(folder / "out"),
                "formats": ["nifti", "seg", "rtstruct"],
                "network_def::_target_": "medseg.models.segformer_b0",
                "spacing_mm": list(SPACING_MM),
                "roi_px": [side, side],
                "device": "cpu",
            },
            inputs,
            asked=Asked(machines=machines),
        )
        segment(wanted, meter)
        again = Meter()
        segment(wanted, again)
    warm = int(WARM_UP * studies)
    slope = float(np.polyfit(range(warm, studies), meter.mib[warm:], 1)[0])
    facts = {
        "studies": studies,
        "voxels": [side, side, slices],
        "engine": engine,
        "ready_s": round(ready_s, 1),
        "first_study_s": round(meter.seconds[0], 1),
        "seconds_a_study": round((meter.seconds[-1] - meter.seconds[0]) / (studies - 1), 3),
        "second_run_s": round(again.seconds[-1], 2),
        "mib_after": {str(n): round(meter.mib[n - 1]) for n in (1, warm, studies)},
        "mib_a_study": round(slope, 4),
    }
    click.echo(json.dumps(facts, indent=1))
    if write:
        result = RESULT if engine == "local" else RESULT.with_stem(f"{RESULT.stem}_{engine}")
        write_record(result, record([], **facts))
    if slope > MOST_MIB_A_STUDY:
        raise SystemExit(f"memory grows: {slope:.3f} MiB a study")


def series(folder: Path, shape: tuple[int, int, int], seed: int) -> Path:
    """Write a DICOM series of blobs in noise and return its folder."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    body = 300 * (i**2 + j**2 < 0.7) + 200 * ((i - 0.3) ** 2 + j**2 + k**2 < 0.1)
    voxels = np.hypot(body + rng.normal(0, 9, shape), 9).astype(np.int16)
    write_secondary(folder, voxels, lpi_grid(shape, SPACING_MM))
    return folder


def model(folder: Path) -> Path:
    """Write a bundle of random weights that finds a bit of everything, and return its folder."""
    import torch

    torch.manual_seed(0)
    shutil.copytree(shipped("bundles", "uwmgi_segformer"), folder)
    (folder / "models").mkdir(exist_ok=True)
    network = segformer_b0(in_channels=1, out_channels=4).eval()
    with torch.no_grad():
        mean = network(torch.rand(1, 1, 128, 128)).mean((0, 2, 3))
        list(network.parameters())[-1].sub_(mean)
    write_checkpoint(folder / "models" / "model.pt", network.state_dict())
    return folder


if __name__ == "__main__":
    main()
