"""Rules for masks, each worked by hand, and the laws they keep."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from medseg.geometry import Grid, lpi_grid
from medseg.transforms import Cleaning, on_grid, regrid
from medseg.transforms.cleaning import box_of, cleaned

SPACING_MM = (1.5, 1.5, 3.0)
ORIENTATIONS = [
    tuple(pair[sign] for pair, sign in zip(axes, signs, strict=True))
    for axes in permutations(("LR", "PA", "IS"))
    for signs in product((0, 1), repeat=3)
]
EVERY = {
    "smooth_mm": 1.5,
    "bridge_mm": 6,
    "fill_holes": True,
    "largest": 2,
    "min_ml": 0.03,
    "contiguous": True,
}


def mask_of(*slices):
    """Return a mask (I, J, K) drawn as text, slice by slice, rows from the front to the back."""
    drawn = [[[c == "#" for c in row] for row in each.split()] for each in slices]
    return np.array(drawn, np.uint8).transpose(2, 1, 0)


def clean(mask, spacing_mm=SPACING_MM, others=(), **rules):
    """Return one organ's mask cleaned, as bool."""
    masks = np.stack([mask, *others]).astype(np.uint8)
    grid = lpi_grid(masks.shape[1:], spacing_mm)
    return cleaned(masks, 0, rules=rules, grid=grid).astype(bool)


def same(found, expected):
    np.testing.assert_array_equal(found.astype(int), expected.astype(int))


# Parts


def test_the_largest_part_stays():
    mask = mask_of("##.. .... ...#", "##.. .... ....", ".... .... ##..")
    same(clean(mask, largest=1), mask_of("##.. .... ....", "##.. .... ....", ".... .... ...."))


def test_parts_touch_at_a_corner():
    mask = mask_of("#... .... .... ....", ".... .#.. .... ....")
    same(clean(mask, largest=1), mask)


def test_parts_do_not_touch_across_a_voxel():
    mask = mask_of("#.## ....")
    same(clean(mask, largest=1), mask_of("..## ...."))


def test_so_many_parts_stay_as_are_asked_for():
    mask = mask_of("###.# ..... ##... ..... #....")
    same(clean(mask, largest=2), mask_of("###.. ..... ##... ..... ....."))


def test_of_equal_parts_none_is_left_out():
    mask = mask_of("##.## ..... #....")
    same(clean(mask, largest=1), mask_of("##.## ..... ....."))


def test_fewer_parts_than_asked_for_all_stay():
    mask = mask_of("##.## ..... #....")
    same(clean(mask, largest=9), mask)


@pytest.mark.parametrize(
    ("spacing_mm", "kept"),
    [
        # Two voxels of 1.5 x 1.5 x 3 mm are 0.0135 ml.
        pytest.param((1.5, 1.5, 3.0), True, id="as large as the least"),
        pytest.param((1.5, 1.5, 2.9), False, id="smaller slices"),
        pytest.param((3.0, 3.0, 3.0), True, id="larger pixels"),
    ],
)
def test_a_volume_is_in_millilitres(spacing_mm, kept):
    mask = mask_of("##.. .... ....")
    assert clean(mask, spacing_mm, min_ml=0.0135).any() == kept


def test_small_parts_go_and_large_ones_stay():
    mask = mask_of("###.# ..... ##... ..... #....")
    same(clean(mask, (10, 10, 10), min_ml=2), mask_of("###.. ..... ##... ..... ....."))


# Slices


def test_the_heaviest_run_of_slices_stays():
    mask = mask_of("#..", "...", "##.", ".#.", "...", "###", "...")
    expected = mask_of("...", "...", "##.", ".#.", "...", "...", "...")
    assert mask[:, :, 2:4].sum() == mask[:, :, 5].sum()  # equal: that nearest to the head
    same(clean(mask, contiguous=True), expected)
    mask[0, 0, 6] = True
    same(clean(mask, contiguous=True), mask_of("...", "...", "...", "...", "...", "###", "#.."))


def test_one_run_is_left_alone_whatever_its_parts():
    mask = mask_of("#..", "..#", "#.#")
    same(clean(mask, contiguous=True), mask)


@pytest.mark.parametrize(
    ("bridge_mm", "closed"),
    [pytest.param(3.0, True, id="as thick as allowed"), pytest.param(2.9, False, id="too thick")],
)
def test_a_gap_is_bridged_up_to_a_thickness(bridge_mm, closed):
    square = "..... .###. .###. .###. ....."
    mask = mask_of(square, ". ".replace(".", ".....") * 5, square)
    expected = mask_of(square, square, square) if closed else mask
    same(clean(mask, bridge_mm=bridge_mm), expected)


def test_a_bridge_lies_between_both_sides():
    nothing = " ".join(["......."] * 3)
    mask = mask_of("####... ####... ####...", nothing, "..##### ..##### ..#####")
    # Left outline: 0 and 2, the mean is 1; right: 4 and 7, at pixels' outer faces.
    found = clean(mask, bridge_mm=3)[:, 1, 1]
    assert found.tolist() == [False, True, True, True, True, False, False]


def test_sides_with_nothing_in_common_are_not_bridged():
    mask = mask_of("##......", "........", "......##")
    same(clean(mask, bridge_mm=30), mask)


# Holes


RING = "..... .###. .#.#. .###. ....."


def test_a_hole_within_its_slice_is_filled():
    # Above and below the hole there is nothing: in three dimensions it is open.
    nothing = " ".join(["....."] * 5)
    full = "..... .###. .###. .###. ....."
    same(clean(mask_of(nothing, RING, nothing), fill_holes=True), mask_of(nothing, full, nothing))


def test_what_a_path_joins_to_the_border_is_no_hole():
    mask = mask_of("#### #..# #.## #.##")
    same(clean(mask, fill_holes=True), mask)


def test_a_path_does_not_go_by_a_corner():
    mask = mask_of("..... .###. .#.#. .##.. .....")
    same(clean(mask, fill_holes=True), mask_of("..... .###. .###. .##.. ....."))


def test_a_bay_at_the_border_of_the_scan_is_no_hole():
    mask = mask_of("#.# #.# ###")
    same(clean(mask, fill_holes=True), mask)


def test_another_organ_in_a_hole_stays_what_it_is():
    other = mask_of("..... ..... ..#.. ..... .....")
    same(clean(mask_of(RING), others=[other], fill_holes=True), mask_of(RING))


# Smoothing


def ball(radius_mm, shape=(40, 40, 20), spacing_mm=SPACING_MM):
    axes = [(np.arange(n) - n / 2 + 0.5) * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    return (i**2 + j**2 + k**2 <= radius_mm**2).astype(np.uint8)


def test_smoothing_takes_a_thread_and_keeps_a_body():
    mask = ball(15)
    mask[20, 20, :] = True
    found = clean(mask, smooth_mm=2)
    assert not found[20, 20, [0, 1, -1]].any()
    both = np.count_nonzero(found & ball(15).astype(bool))
    assert 2 * both / (np.count_nonzero(found) + np.count_nonzero(ball(15))) > 0.98


def test_smoothing_is_in_millimetres():
    # A plate of 3 mm between empty slices holds one half of a Gaussian of 2.22 mm: erf^-1.
    plate = np.zeros((9, 9, 31), np.uint8)
    plate[:, :, 14:17] = 1
    assert clean(plate, (1, 1, 1), smooth_mm=1.5)[4, 4, 15]
    assert not clean(plate, (1, 1, 1), smooth_mm=3.0)[4, 4, 15]
    assert clean(plate, (1, 1, 2), smooth_mm=3.0)[4, 4, 15]


def test_a_body_cut_off_by_the_border_of_the_scan_is_not_rounded_there():
    mask = np.zeros((12, 12, 6), np.uint8)
    mask[:6] = 1
    same(clean(mask, smooth_mm=4), mask)


def test_smoothing_in_a_box_is_smoothing_of_the_whole():
    mask = (np.random.default_rng(0).random((30, 30, 16)) < 0.4).astype(np.uint8)
    mask[:9] = mask[-9:] = mask[:, :9] = mask[:, -9:] = 0
    sigma = np.divide(2.0, SPACING_MM)
    whole = ndimage.gaussian_filter(mask.astype(float), sigma, mode="nearest", truncate=3)
    same(clean(mask, smooth_mm=2.0), whole > 0.5)


# The order


def test_a_hole_is_filled_before_parts_are_measured():
    ring = mask_of("......... .###.###. .#.#.###. .###..... .........")
    found = clean(ring, fill_holes=True, largest=1)
    same(found, mask_of("......... .###..... .###..... .###..... ........."))


def test_a_gap_is_bridged_before_parts_are_counted():
    square, nothing = "..... .###. .###. .###. .....", " ".join(["....."] * 5)
    mask = mask_of(square, nothing, square, square)
    found = clean(mask, bridge_mm=3, largest=1, contiguous=True)
    same(found, mask_of(*[square] * 4))


# Laws

MASKS = arrays.arrays(np.uint8, (2, 7, 6, 5), elements=st.integers(0, 1))
SPARSE = st.builds(
    lambda mask, seed: mask & (np.random.default_rng(seed).random(mask.shape) < 0.5),
    MASKS,
    st.integers(0, 99),
)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"largest": 1}, id="largest"),
        pytest.param({"min_ml": 0.02}, id="volume"),
        pytest.param({"contiguous": True}, id="contiguous"),
        pytest.param({"largest": 3, "min_ml": 0.02, "contiguous": True}, id="together"),
    ],
)
@given(masks=SPARSE)
def test_rules_of_parts_and_slices_take_away_only_and_once(rules, masks):
    once = clean(masks[0], others=masks[1:], **rules)
    assert not (once & ~masks[0].astype(bool)).any()
    same(clean(once, others=masks[1:], **rules), once)


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"fill_holes": True}, id="holes"),
        pytest.param({"bridge_mm": 6}, id="bridge"),
    ],
)
@given(masks=SPARSE)
def test_filling_adds_only_and_nothing_of_another_organ(rules, masks):
    once = clean(masks[0], others=masks[1:], **rules)
    assert not (masks[0].astype(bool) & ~once).any()
    assert not (once & (1 - masks[0]) & masks[1]).any()


@given(masks=SPARSE)
def test_holes_are_filled_once(masks):
    once = clean(masks[0], others=masks[1:], fill_holes=True)
    same(clean(once, others=masks[1:], fill_holes=True), once)


@given(masks=SPARSE)
def test_one_run_of_slices_is_left(masks):
    held = clean(masks[0], contiguous=True).any(axis=(0, 1))
    assert np.count_nonzero(np.diff(np.flatnonzero(held)) > 1) == 0


@given(masks=SPARSE, factor=st.sampled_from([0.5, 2.0, 4.0]))
def test_a_scan_twice_as_large_is_cleaned_by_rules_twice_as_large(masks, factor):
    larger = {
        name: value * {"smooth_mm": factor, "bridge_mm": factor, "min_ml": factor**3}[name]
        for name, value in EVERY.items()
        if name.endswith(("_mm", "_ml"))
    }
    spacing_mm = tuple(factor * mm for mm in SPACING_MM)
    expected = clean(masks[0], others=masks[1:], **EVERY)
    same(clean(masks[0], spacing_mm, others=masks[1:], **(EVERY | larger)), expected)


BLOB = ndimage.gaussian_filter(
    np.random.default_rng(3).standard_normal((2, 20, 18, 16)), (0, 2.0, 2.0, 1.0)
)


@pytest.mark.parametrize("codes", [pytest.param(c, id="".join(c)) for c in ORIENTATIONS])
def test_a_turned_scan_is_cleaned_as_it_was(codes):
    masks = torch.from_numpy((BLOB > 0.02).astype(np.uint8))
    grid = lpi_grid((20, 18, 16), SPACING_MM)
    masks[0, :, :, 9] = 0
    cleaning = Cleaning(["a", "b"], rules={"a": EVERY, "b": {"largest": 1, "smooth_mm": 2}})
    target = grid.reoriented(codes)
    before = cleaning(masks, grid)
    assert not torch.equal(before, masks)
    turned = cleaning(regrid(masks, grid, target, mode="nearest"), target)
    assert torch.equal(turned, regrid(before, grid, target, mode="nearest"))


# The whole


def test_without_rules_masks_are_the_same_object():
    masks = torch.ones(2, 3, 3, 3, dtype=torch.uint8)
    for rules in ({}, {"a": {}}, {"a": {"threshold": 0.4, "fill_holes": False, "largest": None}}):
        assert Cleaning(["a", "b"], rules=rules)(masks, lpi_grid((3, 3, 3), (1, 1, 1))) is masks


def test_each_organ_has_its_own_rules():
    mask = mask_of("#.## ....")
    masks = torch.from_numpy(np.stack([mask] * 3))
    grid = lpi_grid(mask.shape, (1, 1, 1))
    rules = {"c": {"largest": 1}, "a": {"min_ml": 1}}
    found = Cleaning(["a", "b", "c"], rules=rules)(masks, grid)
    assert found.dtype == torch.uint8
    assert not found[0].any()
    same(found[1].numpy(), mask)
    same(found[2].numpy(), mask_of("..## ...."))
    same(masks[0].numpy(), mask)


def test_organs_are_cleaned_by_what_the_others_were():
    inside = mask_of("..... ..... ..#.. ..... .....")
    masks = torch.from_numpy(np.stack([inside, mask_of(RING)]))
    grid = lpi_grid(inside.shape, (1, 1, 1))
    rules = {"a": {"min_ml": 1}, "b": {"fill_holes": True}}
    found = Cleaning(["a", "b"], rules=rules)(masks, grid)
    assert not found[0].any()
    same(found[1].numpy(), mask_of(RING))


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in EVERY])
def test_an_empty_mask_stays_empty(name):
    assert not clean(np.zeros((4, 4, 3), np.uint8), **{name: EVERY[name]}).any()


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in EVERY])
def test_a_full_mask_stays_full(name):
    assert clean(np.ones((4, 4, 3), np.uint8), **{name: EVERY[name]}).all()


def test_an_oblique_grid_has_its_slices_along_the_nearest_axis():
    c, s = np.cos(0.4), np.sin(0.4)
    tilted = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag([-1.5, -1.5, -3.0])
    affine = np.eye(4)
    affine[:3, :3] = tilted
    mask = mask_of("#..", "...", "##.")
    found = cleaned(mask[None], 0, rules={"contiguous": True}, grid=Grid(mask.shape, affine))
    same(found, mask_of("...", "...", "##."))


def test_a_box_lies_close_and_its_margin_ends_at_the_border():
    mask = np.zeros((9, 8, 7), bool)
    mask[3:5, 0, 6] = True
    assert box_of(mask) == (slice(3, 5), slice(0, 1), slice(6, 7))
    assert box_of(mask, (1, 2, 3)) == (slice(2, 6), slice(0, 3), slice(3, 7))
    assert box_of(np.zeros((2, 2, 2), bool)) is None


def test_a_tensor_with_its_grid_is_cleaned_too():
    grid = lpi_grid((4, 2, 1), (1, 1, 1))
    masks = on_grid(torch.from_numpy(mask_of("#.## ....")[None]), grid)
    found = Cleaning(["a"], rules={"a": {"largest": 1}})(masks, grid)
    same(np.asarray(found[0]), mask_of("..## ...."))
