"""The works of reading compare equal things, and notice when they are not."""

import numpy as np
import pytest

from medseg.bench.reading import works
from medseg.transforms import grid_of, moved


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """The works of reading a scan of eight slices."""
    return works(tmp_path_factory.mktemp("reading"), slices=8)


def test_works_aim_at_what_is_asked(reading):
    assert [work.reach for work in reading] == [1.3, 8, 6]
    assert "PNG" in reading[0].name
    assert "24 rows" in reading[1].name


@pytest.mark.parametrize("index", [pytest.param(n, id=f"work {n}") for n in range(3)])
def test_both_sides_return_the_same(reading, index):
    work = reading[index]
    assert work.same(work.ours(), work.theirs())


def test_organs_show(reading):
    assert reading[1].ours().any((1, 2, 3)).all()
    assert reading[2].ours()["label"].any()


def changed_pixels(slices):
    return [slices[0] + np.uint16(1), *slices[1:]]


def changed_masks(masks):
    return ~masks


def changed_image(item):
    image = item["image"].clone()
    image[0, 100, 100, 3] += 0.25
    return {**item, "image": image}


def changed_label(item):
    return {**item, "label": 1 - item["label"]}


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        pytest.param(0, changed_pixels, "not equal", id="a slice"),
        pytest.param(1, changed_masks, "not equal", id="masks"),
        pytest.param(2, changed_image, "images are 0.2.* apart", id="a voxel"),
        pytest.param(2, changed_label, "of the labels differ", id="labels"),
    ],
)
def test_a_difference_is_noticed(reading, index, change, message):
    work = reading[index]
    with pytest.raises(AssertionError, match=message):
        work.same(change(work.ours()), work.theirs())


@pytest.mark.parametrize(
    "start", [pytest.param((0, 0, 0), id="the same box"), pytest.param((1, -2, 0), id="another")]
)
def test_items_are_compared_where_they_show_the_same_place(reading, start):
    ours = reading[2].ours()
    target = grid_of(ours["image"]).boxed(start, ours["image"].shape[1:])
    theirs = {key: moved(ours[key], target, mode="nearest") for key in ("image", "label")}
    assert "within 0.0e+00" in reading[2].same(ours, theirs)
