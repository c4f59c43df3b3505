"""One process of `growth.py`: does a stage for a number of scans when told to, and says how long.

Its words are a folder and the slices of a scan. Lines ``STAGE SCANS WORKERS`` come on stdin; a line
of JSON answers each, with ``seconds``.
"""

import csv
import json
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
import torch.distributed

from medseg.bench.scans import ORGANS, write_scan
from medseg.data import Store, item_of, read_manifest, read_scans
from medseg.engine.checkpoints import write_checkpoint
from medseg.io.nifti import write_label_map
from medseg.io.png import read_slice
from medseg.io.rle import decode
from medseg.models import segformer_b0
from medseg.resources import shipped
from medseg.runs import inference_config
from medseg.stages.display import Silent
from medseg.stages.engines import machines_of
from medseg.stages.evaluate import evaluate
from medseg.stages.evaluation import Options
from medseg.stages.predict import predict_items
from medseg.transforms import preprocessing

FOLDER, SLICES = Path(sys.argv[1]), int(sys.argv[2])
SIDE_PX = 266
FIRST_CASE = 1001  # beyond the patients of the data set
PAIRS = 3
MANIFEST = read_manifest("uwmgi")


def make(scans: int, _: int) -> dict[str, float]:
    """Write scans, a model that finds a bit of everything, and label maps; return their sizes."""
    data, model = FOLDER / "data", FOLDER / "model"
    made = [
        write_scan(data / "train", number=FIRST_CASE + n, slices=SLICES, size_px=(SIDE_PX, SIDE_PX))
        for n in range(scans)
    ]
    with (data / "train.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "class", "segmentation"))
        for scan in made:
            for organ, rows in scan.rle.items():
                names = (f"{scan.scan_id}_slice_{k:04d}" for k in scan.slice_numbers)
                table.writerows(zip(names, [organ] * len(rows), rows, strict=True))
    shutil.copytree(shipped("bundles", "uwmgi_segformer"), model)
    (model / "models").mkdir(exist_ok=True)
    torch.manual_seed(0)
    network = segformer_b0(in_channels=1, out_channels=1 + len(ORGANS))
    with torch.no_grad():
        list(network.parameters())[-1].sub_(network(torch.rand(1, 1, 128, 128)).mean((0, 2, 3)))
    write_checkpoint(model / "models" / "model.pt", network.state_dict())
    for scan in made[:PAIRS]:
        for side, shift in (("ref", 0), ("pred", 2)):
            path = FOLDER / "pairs" / side / f"{scan.scan_id}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            moved = np.roll(label_map_of(scan), shift, axis=0)
            write_label_map(path, moved, scan.grid, MANIFEST.labels)
    size = sum(file.stat().st_size for file in made[0].slice_files)
    parameters = sum(weights.numel() for weights in network.parameters())
    return {"slices": SLICES, "raw_bytes": size, "gradient_bytes": 4.0 * parameters}


def label_map_of(scan):  # noqa: ANN001, ANN201
    """Return the scan's own label map ``(I, J, K)``."""
    shape = scan.size_px[::-1]
    masks = [np.stack([decode(row, shape) for row in rows]) for rows in scan.rle.values()]
    return MANIFEST.labels.label_map(np.stack(masks).transpose(0, 3, 2, 1))


@cache
def scans_there() -> list:
    """Return the scans that were made."""
    return read_scans(FOLDER / "data", MANIFEST)


def parts(_: int, __: int) -> dict[str, float]:
    """Return what reading a scan and writing its label map take, and what is left on the disk."""
    scan = scans_there()[0]

    def read() -> None:
        for file in scan.slice_files:
            read_slice(file)
        for rows in scan.rle.values():
            for row in rows:
                decode(row, scan.size_px[::-1])

    store, result = Store(FOLDER / "sized"), FOLDER / "sized.nii.gz"
    store.prepare([item_of(scan)], preprocessing(organs=ORGANS))
    decoding = min(taken(read) for _ in range(3))
    drawn = label_map_of(scan)
    writing = min(
        taken(lambda: write_label_map(result, drawn, scan.grid, MANIFEST.labels)) for _ in range(3)
    )
    stored = sum(file.stat().st_size for file in (FOLDER / "sized").rglob("*") if file.is_file())
    return {
        "decode_s": decoding,
        "write_s": writing,
        "store_bytes": stored,
        "result_bytes": result.stat().st_size,
    }


def prepare(scans: int, workers: int, *, spread=None) -> dict[str, float]:  # noqa: ANN001
    """Prepare scans into a store of their own, and again, which only finds them."""
    own = FOLDER / f"store-{uuid4().hex}"
    chosen = [item_of(scan) for scan in scans_there()[:scans]]
    store, chain = Store(own), preprocessing(organs=ORGANS)
    first_s = taken(lambda: store.prepare(chosen, chain, workers=workers, spread=spread))
    again_s = taken(lambda: store.prepare(chosen, chain, workers=workers))
    shutil.rmtree(own)
    return {"seconds": first_s, "again_s": again_s}


def predict(scans: int, _: int) -> dict[str, float]:
    """Predict scans into a folder of their own."""
    own = FOLDER / f"out-{uuid4().hex}"
    config = inference_config(
        FOLDER / "model",
        {
            "output_dir": str(own),
            "device": "cpu",
            "network_def::_target_": "medseg.models.segformer_b0",
        },
    )
    items = [item_of(replace(scan, rle=None)) for scan in scans_there()[:scans]]
    return {"seconds": taken(lambda: predict_items(config, items, Silent()))}


def score(scans: int, workers: int, *, others=None) -> dict[str, float]:  # noqa: ANN001
    """Score label maps under so many names."""
    own = FOLDER / f"pairs-{uuid4().hex}"
    for side in ("ref", "pred"):
        (own / side).mkdir(parents=True)
        files = sorted((FOLDER / "pairs" / side).iterdir())
        for number in range(scans):
            name = own / side / f"case{FIRST_CASE + number}_day0.nii.gz"
            name.symlink_to(files[number % len(files)])
    options = Options(workers=workers, machines=others)
    return {
        "seconds": taken(lambda: evaluate(own / "pred", own / "ref", MANIFEST, options=options))
    }


KEPT = ExitStack()


@cache
def machines():  # noqa: ANN201
    """Return a Ray cluster of this machine, begun once: its own start does not count."""
    return KEPT.enter_context(machines_of("ray"))


def on_ray(stage: str, scans: int, workers: int) -> dict[str, float]:
    """Do a stage on a Ray cluster."""
    if stage == "prepare":
        return prepare(scans, workers, spread=machines().spread)
    return score(scans, workers, others=machines())


def reduce(size_bytes: int, rank: int) -> dict[str, float]:
    """Sum so many bytes with another such process, and tell how long that takes."""
    place = f"file://{FOLDER}/meet-{size_bytes}"
    torch.distributed.init_process_group("gloo", place, rank=rank, world_size=2)
    numbers = torch.zeros(size_bytes // 4)
    seconds = [taken(lambda: torch.distributed.all_reduce(numbers)) for _ in range(20)]
    torch.distributed.destroy_process_group()
    return {"seconds": sorted(seconds)[len(seconds) // 2]}


def taken(work) -> float:  # noqa: ANN001
    """Return the seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


WORKS = {
    "make": make,
    "parts": parts,
    "reduce": reduce,
    "prepare": prepare,
    "predict": predict,
    "evaluate": score,
    "prepare_ray": partial(on_ray, "prepare"),
    "evaluate_ray": partial(on_ray, "evaluate"),
}


def main() -> None:
    """Answer line by line, until there are no more."""
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr
    with KEPT:
        for line in sys.stdin:
            name, scans, workers = line.split()
            print(json.dumps(WORKS[name](int(scans), int(workers))), file=answers, flush=True)
