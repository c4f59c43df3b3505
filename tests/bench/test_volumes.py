"""The works on volumes compare equal things, and notice when they are not."""

import numpy as np
import pytest
import torch

from medseg.bench.volumes import LABELS, draw, sync_s, works
from medseg.geometry import lpi_grid
from medseg.io.nifti import write_label_map
from medseg.transforms import grid_of, on_grid

RESAMPLE, RESAMPLE_DEFAULT, MASKS, WRITE_LABELS, WRITE_IMAGE, READ_LABELS = range(6)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """The works on a scan of six slices."""
    return works(tmp_path_factory.mktemp("volumes"), slices=6)


def test_works_aim_at_what_is_asked(volumes):
    assert [work.reach for work in volumes] == [25, 25, 25, 3, 1, 1]
    assert len({(work.name, work.against) for work in volumes}) == 6


@pytest.mark.parametrize("index", [pytest.param(n, id=f"work {n}") for n in range(6)])
def test_both_sides_return_the_same(volumes, index):
    work = volumes[index]
    assert work.same(work.ours(), work.theirs())


def test_every_organ_shows(volumes):
    assert np.unique(volumes[READ_LABELS].ours()).tolist() == [0, 1, 2, 3]


def brighter(volume):
    changed = volume.clone()
    changed[0, 100, 100, 3] += 0.01
    return changed


def turned(volume):
    return on_grid(1 - volume, grid_of(volume))


def beside(volume):
    return on_grid(volume.as_subclass(torch.Tensor), grid_of(volume).boxed((1, 0, 0), (1, 1, 1)))


def other_labels(file):
    labels = 3 * np.ones((266, 266, 6), np.uint8)
    write_label_map(file, labels, lpi_grid(labels.shape, (1.5, 1.5, 3.0)), LABELS)
    return file


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        pytest.param(RESAMPLE, brighter, "of their range apart", id="a voxel"),
        pytest.param(RESAMPLE, beside, r"grids are 1\.\d+ mm apart", id="the grid"),
        pytest.param(RESAMPLE, lambda volume: volume[..., 1:], "shapes are", id="a slice"),
        pytest.param(MASKS, turned, "masks differ", id="masks"),
        pytest.param(WRITE_LABELS, other_labels, "not equal", id="a file"),
        pytest.param(READ_LABELS, lambda labels: labels + 1, "not equal", id="labels"),
    ],
)
def test_a_difference_is_noticed(volumes, index, change, message):
    work = volumes[index]
    with pytest.raises(AssertionError, match=message):
        work.same(change(work.ours()), work.theirs())


def test_a_phantom_lies_slice_after_slice_between_0_and_1():
    image, masks = draw(2)
    assert image.shape == (266, 266, 2)
    assert masks.shape == (3, 266, 266, 2)
    assert image.flags.f_contiguous
    assert (image.min(), image.max()) == (0, 1)


def test_waiting_for_the_disk_takes_time(tmp_path):
    assert sync_s(tmp_path, n_bytes=1000, rounds=2) > 0
