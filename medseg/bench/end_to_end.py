"""End to end: scan folders in; label maps, run-length rows and Dice on disk.

Medseg's side is its own stages. The other is a stock MONAI bundle with ``inference.json``, run by
MONAI's own engine: the same scans, the same windows, transformers' SegFormer-b0 with the same
weights, rows of runs in NumPy as notebooks write them.
"""

import csv
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medseg.bench.measure import Timed, Work, require
from medseg.bench.scans import ORGANS, write_scan
from medseg.data.label_files import find_label_files
from medseg.data.manifest import read_manifest
from medseg.data.studies import inference_items
from medseg.io.nifti import read_label_map
from medseg.io.rle import encode
from medseg.report.scores import write_csv
from medseg.resources import shipped
from medseg.runs import inference_config
from medseg.scan import Scan
from medseg.stages.display import Silent
from medseg.stages.evaluate import evaluate
from medseg.stages.predict import predict_items

if TYPE_CHECKING:
    from torch import nn

PEER = Path(__file__).parents[2] / "benchmarks" / "peers" / "monai_bundle"
BUNDLE = "uwmgi_segformer"
_COARSE_MM, _FINE_MM = 1.63, 1.5
# Of the voxels. In float32 both sides see the same numbers but for rounding; bfloat16 is what
# medseg computes in where the processor has it.
_AGREE_FLOAT32 = 0.999
_AGREE = 0.995
_DICE_TOLERANCE = 1e-4


class Written(NamedTuple):
    """What a side leaves: a folder of label maps by scan, its rows of runs, its Dice."""

    label_maps: Path
    rows: Path
    scores: Path


# Beyond the patients of the data set: some of its scans are known to be bad, and left out.
_FIRST_CASE = 1001


def works(
    folder: Path,
    *,
    scans: int = 10,
    slices: int = 48,
    size_px: tuple[int, int] = (266, 266),
    steps: int = 40,
    peer: Path = PEER,
) -> list[Work]:
    """Return the work as both sides are shipped, and with both in float32.

    Args:
        folder: Where scans, weights and results are written. One scan in ten, and one at least, is
            of 1.63 mm and has to be resampled; the others are of 1.5 mm.
        scans: How many scans.
        slices: Of each; a real scan has 80 or 144.
        size_px: Columns and rows of a slice.
        steps: How long the network is trained before.
        peer: The MONAI bundle.
    """
    data, bundle = folder / "data", folder / "bundle"
    written = [
        write_scan(
            data / "train",
            number=_FIRST_CASE + n,
            slices=slices,
            size_px=_coarser(size_px) if n % 10 == 0 else size_px,
            spacing_mm=_COARSE_MM if n % 10 == 0 else _FINE_MM,
        )
        for n in range(scans)
    ]
    _write_rows(data / "train.csv", _labels(written))
    shutil.copytree(shipped("bundles", BUNDLE), bundle, ignore=shutil.ignore_patterns("models"))
    (bundle / "models").mkdir()
    _write_weights(bundle / "models" / "model.pt", folder / "peer.pt", written[-1], steps=steps)

    def theirs() -> Timed:
        return _timed(lambda: _by_monai(peer, data, folder / "peer.pt", folder / "theirs"))

    def ours(*, amp: bool) -> Callable[[], Timed]:
        name = "ours_amp" if amp else "ours"
        return lambda: _timed(lambda: _by_medseg(bundle, data, folder / name, amp=amp))

    name = f"{scans} scans of {slices} slices to NIfTI, RLE and Dice"
    return [
        Work(
            name=f"{name}, as shipped",
            against="MONAI bundle inference.json",
            reach=3,
            ours=ours(amp=True),
            theirs=theirs,
            same=lambda own, other: _same(own, other, data, least=_AGREE),
        ),
        Work(
            name=f"{name}, float32",
            against="MONAI bundle inference.json",
            reach=1.6,
            ours=ours(amp=False),
            theirs=theirs,
            same=lambda own, other: _same(own, other, data, least=_AGREE_FLOAT32),
        ),
    ]


def _coarser(size_px: tuple[int, int]) -> tuple[int, int]:
    """Return the size that covers about the same millimetres with coarser pixels."""
    columns, rows = (round(size * _FINE_MM / _COARSE_MM) for size in size_px)
    return columns, rows


def _by_medseg(bundle: Path, data: Path, out: Path, *, amp: bool) -> Written:
    """Run medseg's stages."""
    shutil.rmtree(out, ignore_errors=True)
    manifest = read_manifest("uwmgi")
    settings = {
        "network_def::_target_": "medseg.models.segformer_b0",
        "output_dir": str(out),
        "amp": amp,
    }
    chosen = inference_items(data, manifest="uwmgi")
    predict_items(inference_config(bundle, settings), chosen, Silent())
    found = evaluate(out, data, manifest)
    write_csv(out / "scores.csv", found.scores)
    _write_rows(out / "submission.csv", _predicted(out))
    return Written(out, out / "submission.csv", out / "scores.csv")


def _by_monai(bundle: Path, data: Path, weights: Path, out: Path) -> Written:
    """Run the bundle's ``inference.json`` as ``python -m monai.bundle run`` would."""
    from monai.bundle import ConfigParser

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with _found_in(bundle), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / "inference.json"))
        for key, value in {
            "bundle_root": bundle,
            "dataset_dir": data,
            "output_dir": out,
            "checkpoint": weights,
        }.items():
            parser[key] = str(value)
        parser.parse()
        parser.get_parsed_content("initialize")
        parser.get_parsed_content("run")
    return Written(out, out / "submission.csv", out / "val_mean_dice_raw.csv")


@contextmanager
def _found_in(bundle: Path) -> Iterator[None]:
    """Let the bundle import its ``scripts``, as running it from its own folder does."""
    sys.path.insert(0, str(bundle))
    try:
        yield
    finally:
        sys.path.remove(str(bundle))
        for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
            del sys.modules[name]  # a name that other bundles have too


def _timed(run: Callable[[], Written]) -> Timed:
    """Time `run`, with the processor time of the processes that it started and ended."""
    before, began = os.times(), time.perf_counter()
    output = run()
    wall_s, after = time.perf_counter() - began, os.times()
    return Timed(output, wall_s, sum(after[:4]) - sum(before[:4]))


def _labels(scans: Sequence[Scan]) -> Iterator[tuple[str, str, str]]:
    for scan in scans:
        for organ, rows in (scan.rle or {}).items():
            for number, row in zip(scan.slice_numbers, rows, strict=True):
                yield f"{scan.scan_id}_slice_{number:04d}", organ, row


def _predicted(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of every label map in `folder`, slice by slice."""
    labels = read_manifest("uwmgi").labels
    for scan_id, files in find_label_files(folder, labels).items():
        label_map, _ = read_label_map(files.label_map or folder)
        for k, plane in enumerate(label_map.transpose(2, 1, 0)):
            for organ in labels.organs:
                yield f"{scan_id}_slice_{k + 1:04d}", organ.name, encode(plane == organ.code)


def _write_rows(path: Path, rows: Iterator[tuple[str, str, str]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("id", "class", "segmentation"))
        table.writerows(rows)


def _read_rows(path: Path) -> dict[tuple[str, str], str]:
    with path.open(newline="") as file:
        return {(row["id"], row["class"]): row["segmentation"] for row in csv.DictReader(file)}


def _same(ours: Written, theirs: Written, data: Path, *, least: float) -> str:
    """Compare label maps, and rows and Dice of each side with the other's code on its maps."""
    labels = read_manifest("uwmgi").labels
    own, other = (find_label_files(side.label_maps, labels) for side in (ours, theirs))
    require(own.keys() == other.keys(), f"{sorted(own)} and {sorted(other)}")
    agree = []
    for scan_id, files in own.items():
        mine = files.read(labels)
        masks = other[scan_id].read(labels).onto(mine.grid, subject=scan_id).masks
        agree.append(float((labels.label_map(mine.masks) == labels.label_map(masks)).mean()))
    require(min(agree) >= least, f"only {min(agree):.3%} of the voxels agree")
    _require_same_rows(theirs)
    apart = _dice_apart(theirs, data)
    require(apart <= _DICE_TOLERANCE, f"Dice of the same label maps are {apart} apart")
    mean = float(np.mean(agree))
    return f"{mean:.3%} of the voxels agree; rows and Dice of equal label maps are equal"


def _require_same_rows(theirs: Written) -> None:
    """Encode the other side's label maps with medseg and compare with the other side's rows."""
    labels = read_manifest("uwmgi").labels
    rows = _read_rows(theirs.rows)
    for scan_id, files in find_label_files(theirs.label_maps, labels).items():
        label_map, _ = read_label_map(files.label_map or theirs.label_maps)
        for k in range(label_map.shape[2]):  # (J, I, K), rows and columns as in the PNG
            for organ in labels.organs:
                row = encode(label_map[..., k] == organ.code)
                key = (f"{scan_id}_slice_{k + 1:04d}", organ.name)
                require(rows[key] == row, f"rows of {key} differ")


def _dice_apart(theirs: Written, data: Path) -> float:
    """Return how far the other side's Dice is from medseg's on the other side's label maps."""
    found = evaluate(theirs.label_maps, data, read_manifest("uwmgi"))
    with theirs.scores.open(newline="") as file:
        said = {row.pop("filename"): list(row.values()) for row in csv.DictReader(file)}
    return max(
        abs(score.dice - float(said[score.scan_id][ORGANS.index(score.organ)]))
        for score in found.scores
    )


def _write_weights(path: Path, path_of_peer: Path, scan: Scan, *, steps: int) -> None:
    """Write one SegFormer-b0 for either side, trained a little on one scan.

    That makes label maps of a few parts, as trained networks do. Of drawn weights alone come rows
    of runs and label maps that nobody has.
    """
    import torch

    from medseg.models import segformer_b0

    torch.manual_seed(0)
    network = segformer_b0(in_channels=1, out_channels=1 + len(ORGANS))
    _train(network, scan, steps=steps)
    state = network.state_dict()
    torch.save({"network": state}, path)
    torch.save({"model": {f"model.{name}": value for name, value in state.items()}}, path_of_peer)


def _train(network: "nn.Module", scan: Scan, *, steps: int) -> None:
    """Train for some steps on four slices each, two of which show organs."""
    import torch

    from medseg.transforms import preprocessing

    item = preprocessing(organs=ORGANS)({"image": scan, "label": scan})
    images = item["image"].as_tensor()[0].permute(2, 1, 0)[:, None]
    masks = item["label"].as_tensor().permute(3, 0, 2, 1).long()
    classes = (masks * torch.arange(1, 1 + len(ORGANS))[:, None, None]).amax(1)
    labelled = classes.flatten(1).any(1).nonzero()[:, 0]
    weight = torch.tensor([0.3, 1.0, 1.0, 1.0])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(steps):
        some = labelled[torch.randint(len(labelled), (2,))]
        chosen = torch.cat([torch.randint(len(images), (2,)), some])
        loss = torch.nn.functional.cross_entropy(network(images[chosen]), classes[chosen], weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
