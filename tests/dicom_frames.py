"""Multi-frame DICOM files for tests, made by highdicom from the slices of `dicom_series`."""

import dicom_series
from dicom_series import uid
from highdicom.legacy import LegacyConvertedEnhancedMRImage


def multi_frame(datasets=None, *, name="frames", **options):
    """Return one dataset that holds slices as frames, the last one first; change it at will.

    Args:
        datasets: Plain slices; those that `dicom_series.slices` makes of the options by default.
        name: Another name makes another series.
        **options: As of `dicom_series.slices`.
    """
    datasets = dicom_series.slices(**options) if datasets is None else datasets
    for dataset in datasets:  # highdicom carries a window over, and misses it
        dataset.WindowCenter, dataset.WindowWidth = 0, 1
    return LegacyConvertedEnhancedMRImage(
        datasets,
        series_instance_uid=uid(name),
        series_number=5,
        sop_instance_uid=uid(name, "instance"),
        instance_number=1,
    )


def reorder(dataset, order):
    """Put the frames of a dataset in another order, or leave some out, pixels and places alike."""
    n_bytes = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    pixels = dataset.PixelData
    dataset.PixelData = b"".join(pixels[f * n_bytes : (f + 1) * n_bytes] for f in order)
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.PerFrameFunctionalGroupsSequence = [groups[frame] for frame in order]
    dataset.NumberOfFrames = len(order)
