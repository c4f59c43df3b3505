"""Checks of the self-test: where voxels lie in what is written, a prediction, and the metrics."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medseg.data import read_manifest
from medseg.engine.provenance import sha256_of
from medseg.geometry import Grid, lpi_grid
from medseg.io.dicom_pixels import read_series
from medseg.io.dicom_secondary import write_secondary
from medseg.io.dicom_seen import places_in_seg
from medseg.io.dicom_series import find_series
from medseg.io.itk import places_in_label_map
from medseg.metrics import count_overlap, surface_distances
from medseg.stages.display import Silent
from medseg.stages.segment import Segmentation, segment
from medseg.stages.self_test_ground import Ground, expect
from medseg.stages.self_test_training import WHOLE, run_of
from medseg.transforms import SaveMasks

SHAPE, SPACING_MM, MOVED_MM = (20, 24, 12), (0.8, 0.9, 3.0), (-13.5, 42.25, 7.125)
# Voxel (i, j, k) of each organ; no two are alike from any side.
LANDMARKS = ((3, 17, 2), (19, 1, 11), (7, 23, 5))
_BRIGHT = 1000
_OFF_MM = 1e-3

Place = tuple[float, ...]


def landmarks(ground: Ground) -> str:
    """Write one voxel an organ as NIfTI and DICOM SEG, and ask other libraries where it lies."""
    affine = lpi_grid(SHAPE, SPACING_MM).affine_ras_mm @ _turned()
    affine[:3, 3] += MOVED_MM
    meant = [tuple((affine @ (*ijk, 1.0))[:3]) for ijk in LANDMARKS]
    voxels = np.zeros(SHAPE, np.float32)
    for organ, ijk in enumerate(LANDMARKS, 1):
        voxels[ijk] = organ * _BRIGHT
    folder = ground.folder / "landmarks"
    write_secondary(folder / "series", voxels, Grid(SHAPE, affine))
    (series,) = find_series(folder / "series")
    read = read_series(series)
    masks = np.stack([_marked(read.voxels, organ) for organ in range(1, len(LANDMARKS) + 1)])
    labels = read_manifest("uwmgi").labels
    save = SaveMasks(folder, labels=labels, formats=("nifti", "seg"))
    save({"scan_id": "landmarks", "source": series, "native": read.grid, "pred": masks})
    codes = {organ.code: place for organ, place in zip(labels.organs, meant, strict=True)}
    numbers = dict(enumerate(meant, 1))
    _require_places(places_in_label_map(folder / "landmarks.nii.gz"), codes, "SimpleITK in NIfTI")
    _require_places(places_in_seg(folder / "landmarks_seg.dcm"), numbers, "pydicom in DICOM SEG")
    return f"{len(meant)} voxels, where SimpleITK and pydicom see them too, to {_OFF_MM} mm"


def prediction(ground: Ground) -> str:
    """Predict one DICOM series twice with the network that was trained."""
    series = ground.folder / "patient"
    image = np.random.default_rng(0).integers(0, 900, (48, 40, 20)).astype(np.float32)
    write_secondary(series, image, lpi_grid(image.shape, (4.0, 4.0, 3.0)))
    model = str(run_of(ground, WHOLE).folder)
    outs = [ground.folder / name for name in ("predicted", "predicted again")]
    for out in outs:
        settings = {"formats": ["nifti", "seg"], "output_dir": str(out), "device": "cpu"}
        (row,) = segment(Segmentation(model, settings, inputs=(series,)), Silent())
        expect(row["status"] in ("ok", "empty"), f"the study is {row['status']}")
    maps = [sha256_of(out / "patient.nii.gz") for out in outs]
    expect(maps[0] == maps[1], "the second label map has other bytes")
    places = [places_in_seg(out / "patient_seg.dcm") for out in outs]
    expect(places[0] == places[1], "the second DICOM SEG has other masks")
    found = f"{len(places[0])} of {len(LANDMARKS)} organs"
    return f"{found} in {image.shape[2]} slices, the same bytes twice, {maps[0][:12]}"


def metrics(_ground: Ground) -> str:
    """Measure two boxes whose numbers are worked out by hand."""
    pred, ref = np.zeros((2, 12, 8, 6), bool)
    ref[2:6, 2:6, 2:4] = True
    pred[4:8, 2:6, 2:4] = True  # moved by two voxels along the first axis, of 1.5 mm
    counts = count_overlap(pred, ref)
    distances = surface_distances(pred, ref, spacing_mm=(1.5, 2.0, 3.0))
    found = (counts.dice, counts.iou, distances.hausdorff_mm())
    expect(np.allclose(found, (1 / 2, 1 / 3, 3.0)), f"Dice, IoU and Hausdorff are {found}")
    missed = count_overlap(np.zeros_like(ref), ref)
    expect(missed.dice == 0, f"nothing found scores {missed.dice}")
    return "Dice 1/2, IoU 1/3, Hausdorff 3 mm, 0 for nothing found"


def _turned() -> NDArray[np.float64]:
    """Return a turn about the first axis of 3 in 5, whose sine and cosine are short numbers."""
    turn = np.eye(4)
    turn[:2, :2] = [
        [0.8, -0.6 * SPACING_MM[1] / SPACING_MM[0]],
        [0.6 * SPACING_MM[0] / SPACING_MM[1], 0.8],
    ]
    return turn


def _marked(voxels: NDArray[np.float32], organ: int) -> NDArray[np.bool_]:
    return np.asarray(np.rint(voxels / _BRIGHT) == organ)


def _require_places(found: Mapping[int, Place], meant: Mapping[int, Place], who: str) -> None:
    expect(sorted(found) == sorted(meant), f"{who} finds organs {sorted(found)}")
    for number, place in meant.items():
        told = f"organ {number} at {_rounded(found[number])} mm, and it is at {_rounded(place)}"
        expect(np.allclose(found[number], place, rtol=0, atol=_OFF_MM), f"{who} sees {told}")


def _rounded(place: Place) -> Place:
    return tuple(round(float(mm), 3) for mm in place)
