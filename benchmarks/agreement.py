"""Surface metrics of five drawn pairs of masks, by medseg and by other programs, as a table.

python benchmarks/agreement.py

Deviations are bold; docs/metrics.md explains them. A program that is not installed has no figures.
Those of DeepMind and Metrics Reloaded, which no package index has in a state that works, were
computed once from their repositories.
"""

import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from medseg.metrics import surface_distances

SPACING_MM = (3.0, 1.5, 1.5)
TOLERANCE_MM = 1.5

Mask = NDArray[np.bool_]


class Figures(NamedTuple):
    """The metrics of one pair; None where a program has no such metric."""

    hd_mm: float | None = None
    hd95_mm: float | None = None
    assd_mm: float | None = None
    nsd: float | None = None


def box(*sides: tuple[int, int]) -> Mask:
    """Return a mask of 14 x 20 x 20 voxels that is true within a box."""
    mask = np.zeros((14, 20, 20), bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def pairs() -> dict[str, tuple[Mask, Mask]]:
    """Return prediction and reference of each pair by name; `SPACING_MM` apart."""
    organ = box((4, 10), (5, 13), (5, 13))
    block = box((3, 10), (4, 15), (4, 15))
    return {
        "shifted box": (box((5, 11), (7, 15), (5, 13)), organ),
        "at the border": (box((0, 6), (0, 8), (0, 10)), box((0, 5), (0, 8), (0, 8))),
        "one voxel each": (box((6, 7), (9, 10), (9, 10)), box((5, 6), (8, 9), (9, 10))),
        "hollow": (block & ~box((5, 8), (7, 12), (7, 12)), block),
        "spike": (organ | box((6, 8), (8, 10), (13, 19)), organ),
    }


def medseg(pred: Mask, ref: Mask) -> Figures:
    """Measure with medseg."""
    found = surface_distances(pred, ref, spacing_mm=SPACING_MM)
    hd95_mm, nsd = found.hausdorff_mm(95), found.surface_dice(TOLERANCE_MM)
    return Figures(found.hausdorff_mm(), hd95_mm, found.average_mm(), nsd)


def monai(pred: Mask, ref: Mask) -> Figures:
    """Measure with MONAI."""
    import torch

    with warnings.catch_warnings():
        # MONAI warns while it is imported, and of an argument that it gives itself.
        warnings.simplefilter("ignore")
        from monai import metrics

        masks = [torch.from_numpy(mask)[None, None] for mask in (pred, ref)]
        given: dict[str, Any] = {"include_background": True, "spacing": SPACING_MM}
        found = (
            metrics.compute_hausdorff_distance(*masks, **given),
            metrics.compute_hausdorff_distance(*masks, percentile=95, **given),
            metrics.compute_average_surface_distance(*masks, symmetric=True, **given),
            metrics.compute_surface_dice(*masks, class_thresholds=[TOLERANCE_MM], **given),
        )
    return Figures(*(metric.item() for metric in found))


def medpy(pred: Mask, ref: Mask) -> Figures:
    """Measure with MedPy."""
    from medpy.metric import binary

    metrics = (binary.hd, binary.hd95, binary.assd)
    return Figures(*(float(metric(pred, ref, voxelspacing=SPACING_MM)) for metric in metrics))


def simpleitk(pred: Mask, ref: Mask) -> Figures:
    """Measure with SimpleITK's filter of that name."""
    import SimpleITK

    images = [_image(mask) for mask in (pred, ref)]
    found = SimpleITK.HausdorffDistanceImageFilter()
    found.Execute(*images)
    distances_mm = found.GetHausdorffDistance(), found.GetAverageHausdorffDistance()
    return Figures(hd_mm=distances_mm[0], assd_mm=distances_mm[1])


def plastimatch(pred: Mask, ref: Mask) -> Figures:
    """Measure with plastimatch, by its figures that are called ``(boundary)``."""
    import SimpleITK

    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{side}.nii.gz" for side in ("ref", "pred")]
        for file, mask in zip(files, (ref, pred), strict=True):
            SimpleITK.WriteImage(_image(mask), str(file))
        words = ["plastimatch", "dice", "--hausdorff", *map(str, files)]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    shown = dict(re.findall(r"^(.+) \(boundary\) = (\S+)$", said, flags=re.MULTILINE))
    metrics = ("Hausdorff distance", "Percent (0.95) Hausdorff distance")
    return Figures(
        *(float(shown[metric]) for metric in metrics),
        float(shown["Avg average Hausdorff distance"]),
    )


# https://github.com/google-deepmind/surface-distance at 1f805ce
DEEPMIND = {
    "shifted box": Figures(4.242641, 3.0, nsd=0.491171),
    "at the border": Figures(4.242641, 3.0, nsd=0.719954),
    "one voxel each": Figures(3.354102, 3.354102, nsd=0.5),
    "hollow": Figures(6.0, 4.5, nsd=0.916940),
    "spike": Figures(9.0, 6.0, nsd=0.949561),
}
# https://github.com/csudre/MetricsReloaded at ca3d352
METRICS_RELOADED = {
    "shifted box": Figures(4.242641, 3.354102, 1.928225, 0.45),
    "at the border": Figures(4.242641, 3.354102, 1.081548, 0.688),
    "one voxel each": Figures(3.354102, 3.354102, 3.354102, 0.0),
    "hollow": Figures(3.0, 3.0, 0.331992, 0.889336),
    "spike": Figures(9.0, 4.5, 0.264, 0.96),
}
PROGRAMS: dict[str, Callable[[Mask, Mask], Figures]] = {
    "medseg": medseg,
    "MONAI": monai,
    "MedPy": medpy,
    "SimpleITK": simpleitk,
    "plastimatch": plastimatch,
}


def measured(program: str) -> dict[str, Figures] | None:
    """Return a program's figures by pair, or None where it is not installed."""
    golden = {"DeepMind": DEEPMIND, "Metrics Reloaded": METRICS_RELOADED}
    if program in golden:
        return golden[program]
    if not _installed(program):
        return None
    return {name: PROGRAMS[program](*pair) for name, pair in pairs().items()}


def table() -> list[str]:
    """Return the lines of the table in Markdown."""
    found = {program: measured(program) for program in (*PROGRAMS, "DeepMind", "Metrics Reloaded")}
    lines = [f"| pair | metric | {' | '.join(found)} |", "|---|---|" + "---|" * len(found)]
    for name, ours in (found["medseg"] or {}).items():
        for metric, reference in ours._asdict().items():
            cells = [
                _cell(getattr(figures[name], metric), reference) if figures else "not installed"
                for figures in found.values()
            ]
            lines.append(f"| {name} | `{metric}` | {' | '.join(cells)} |")
    return lines


def _cell(value: float | None, ours: float) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value - ours) < 1e-5 else f"**{value:.3f}**"


def _image(mask: Mask) -> Any:  # noqa: ANN401
    import SimpleITK

    image = SimpleITK.GetImageFromArray(mask.T.astype(np.uint8))
    image.SetSpacing(SPACING_MM)
    return image


def _installed(program: str) -> bool:
    if program == "plastimatch":
        return shutil.which(program) is not None
    try:
        return bool(version(program))
    except PackageNotFoundError:
        return False


@click.command()
def main() -> None:
    """Print the table."""
    click.echo("\n".join(table()))


if __name__ == "__main__":
    main()
