"""The competition's variants: volumes worked out by hand, where they disagree, and two oracles.

Volumes are 4 x 3 x 2 voxels of 1.5 x 1.5 x 3 mm. A row of a case gives for each variant the sum and
number of its Dice terms, then of its Hausdorff terms.

MLE-bench reads pixel 4 j + i of a slice into column p // 3 and row p % 3: the first row of a slice,
(0, 0) (1, 0) (2, 0) (3, 0), comes out as (0, 0) (0, 1) (0, 2) (1, 0).
"""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import directed_hausdorff

from medseg.errors import GeometryError
from medseg.metrics.competition import (
    VARIANTS,
    ScanTerms,
    Terms,
    competition_scores,
    measure_scan,
)
from medseg.metrics.hausdorff import farthest, of_corners_mm, of_voxels_in_unit_cube
from medseg.metrics.surface import surface_distances

SHAPE = (4, 3, 2)
SPACING_MM = (1.5, 1.5, 3.0)
NAMES = tuple(variant.name for variant in VARIANTS)
MASKS = arrays(bool, (2, 3, *SHAPE))
ROOT_3 = math.sqrt(3)
DIAGONAL_VOX = math.sqrt(4**2 + 3**2 + 2**2)
DIAGONAL_MM = math.sqrt(6**2 + 4.5**2 + 6**2)


def volume(*organs):
    """Return masks (C, I, J, K) that hold the voxels listed of each organ."""
    masks = np.zeros((len(organs), *SHAPE), bool)
    for mask, voxels in zip(masks, organs, strict=True):
        for voxel in voxels:
            mask[voxel] = True
    return masks


def terms(pred, ref):
    return measure_scan(pred, ref, scan_id="s", spacing_mm=SPACING_MM).terms


A, FAR = (0, 0, 0), (2, 0, 0)
BAR = [(i, 0, 0) for i in range(4)]
SLAB = [(i, j, 0) for i in range(4) for j in range(3)]

CASES = [
    # Two steps along I: 2 / 4 of the cube, 2 voxels, 3 mm. The second slice is empty on both sides.
    pytest.param(
        [[A]], [[FAR]],
        {
            "official": (0, 1, 0.5 / ROOT_3, 1),
            "official_text": (0, 2, 0.5 / ROOT_3, 1),
            "mle_bench": (0, 1, 2 / 3 / ROOT_3, 1),
            "participants": (0, 1, 2 / DIAGONAL_VOX, 1),
            "organisers": (0, 1, 3.0, 1),
        },
        id="shifted",
    ),
    pytest.param(
        [[A]], [[A]],
        {
            "official": (1, 1, 0, 1),
            "official_text": (1, 2, 0, 1),
            "mle_bench": (1, 1, 0, 1),
            "participants": (1, 1, 0, 1),
            "organisers": (1, 1, 0, 1),
        },
        id="the same",
    ),
    pytest.param(
        [[]], [[]],
        {
            "official": (0, 0, 0, 0),
            "official_text": (0, 2, 0, 0),
            "mle_bench": (0, 0, 0, 0),
            "participants": (0, 0, 0, 1),  # distance 0, which scores 1
            "organisers": (0, 0, 0, 0),
        },
        id="both empty",
    ),
    pytest.param(
        [[]], [[A]],
        {
            "official": (0, 1, 1, 1),
            "official_text": (0, 2, 1, 1),
            "mle_bench": (0, 1, 1, 1),
            "participants": (0, 1, 1, 1),
            "organisers": (0, 1, DIAGONAL_MM, 1),
        },
        id="missed",
    ),
    pytest.param(
        [[A]], [[]],
        {
            "official": (0, 1, 1, 1),
            "official_text": (0, 2, 1, 1),
            "mle_bench": (0, 1, 1, 1),
            "participants": (0, 0, 1, 1),  # no Dice where the reference shows nothing
            "organisers": (0, 0, 0, 0),
        },
        id="false positive",
    ),
    # One voxel of twelve: Dice 2 / 13. The farthest voxel is three steps along I and two along J.
    pytest.param(
        [SLAB], [[A]],
        {
            "official": (2 / 13, 1, math.hypot(3 / 4, 2 / 3) / ROOT_3, 1),
            "official_text": (2 / 13, 2, math.hypot(3 / 4, 2 / 3) / ROOT_3, 1),
            "mle_bench": (2 / 13, 1, 1, 1),
            "participants": (2 / 13, 1, math.sqrt(13) / DIAGONAL_VOX, 1),
            "organisers": (2 / 13, 1, math.hypot(4.5, 3.0), 1),
        },
        id="twelve times too much",
    ),
    pytest.param(
        [SLAB[:10]], [[A]],  # ends with (3, 0), so (2, 2) is farthest
        {
            "official": (2 / 11, 1, math.hypot(2 / 4, 2 / 3) / ROOT_3, 1),
            "mle_bench": (2 / 11, 1, math.hypot(2 / 4, 2 / 3) / ROOT_3, 1),
        },
        id="ten times too much, which is still measured",
    ),
    # The reference goes on for three voxels; from the prediction nothing is far.
    pytest.param(
        [[A]], [BAR],
        {
            "official": (2 / 5, 1, 0.75 / ROOT_3, 1),
            "official_text": (2 / 5, 2, 0.75 / ROOT_3, 1),
            "mle_bench": (2 / 5, 1, 2 / 3 / ROOT_3, 1),
            "participants": (2 / 5, 1, 0, 1),
            "organisers": (2 / 5, 1, 4.5, 1),
        },
        id="a part of it",
    ),
    pytest.param(
        [[A], [FAR]], [[FAR], [A]],
        {
            "official": (0, 2, 1 / ROOT_3, 2),
            "official_text": (0, 4, 1 / ROOT_3, 2),
            "mle_bench": (0, 2, 0, 1),  # together they are what they should be
            "participants": (0, 1, 4 / DIAGONAL_VOX, 2),
            "organisers": (0, 2, 6.0, 2),
        },
        id="organs swapped",
    ),
    pytest.param(
        [[A], []], [[A], [A]],
        {
            "official": (1, 2, 1, 2),
            "official_text": (1, 4, 1, 2),
            "mle_bench": (1, 2, 0, 1),
            "participants": (0.5, 1, 1, 2),
            "organisers": (1, 2, DIAGONAL_MM, 2),
        },
        id="one of two organs that overlap",
    ),
    # Rows: 1, 0, 1 over three. By slice: the mean of 1 and 0, then 1, over two.
    pytest.param(
        [[A, (0, 0, 1)], [A]], [[A, (0, 0, 1)], [FAR]],
        {
            "official": (2, 3, 0.5 / ROOT_3, 2),
            "official_text": (2, 4, 0.5 / ROOT_3, 2),
            "mle_bench": (2, 3, 2 / 3 / ROOT_3, 1),
            "participants": (1.5, 2, 2 / DIAGONAL_VOX, 2),
            "organisers": (1, 2, 3.0, 2),
        },
        id="rows and slices weigh differently",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("pred", "ref", "expected"), CASES)
def test_each_variant_has_the_terms_worked_out_by_hand(pred, ref, expected):
    found = terms(volume(*pred), volume(*ref))
    assert tuple(found) == NAMES
    for name, numbers in expected.items():
        assert found[name] == pytest.approx(numbers), name


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(GeometryError, match=r"E-GRID.*\(4, 3, 2\).*\(3, 4, 2\)"):
        terms(volume([A]), volume([A]).transpose(0, 2, 1, 3))


def test_a_number_of_organs_that_differs_is_refused():
    with pytest.raises(ValueError, match="zip"):
        terms(volume([A]), volume([A], [A]))


# --- Over scans -------------------------------------------------------------------------------


def scan(scan_id, dice, n_dice, hausdorff, n_hausdorff):
    """Return a scan that adds the same to every variant."""
    return ScanTerms(scan_id, dict.fromkeys(NAMES, Terms(dice, n_dice, hausdorff, n_hausdorff)))


def test_a_score_is_over_the_terms_of_all_scans_not_over_their_scores():
    scores = competition_scores([scan("a", 3.0, 4, 0.5, 3), scan("b", 0.0, 1, 1.0, 1)])
    assert list(scores) == list(NAMES)
    for name in NAMES[:-1]:
        # Dice 3 / 5, distance 1.5 / 4: 0.4 x 0.6 + 0.6 x 0.625
        assert scores[name] == pytest.approx((0.615, 0.6, 0.375, 5, 4))
    assert scores["organisers"] == pytest.approx((math.nan, 0.6, 0.375, 5, 4), nan_ok=True)


def test_the_black_list_is_the_organisers_alone():
    scores = competition_scores(
        [scan("a", 1.0, 1, 0.0, 1), scan("b", 0.0, 1, 9.0, 1)], black_list=["b"]
    )
    assert scores["organisers"].hausdorff == 0.0
    assert scores["organisers"].n_dice == 1
    assert {scores[name].n_dice for name in NAMES[:-1]} == {2}


def test_no_scans_have_no_score():
    for score in competition_scores([]).values():
        assert score == pytest.approx((math.nan, math.nan, math.nan, 0, 0), nan_ok=True)


@given(MASKS)
def test_a_scan_left_out_is_never_better_than_any_prediction_of_it(masks):
    pred, ref = masks
    given = competition_scores([measure_scan(pred, ref, scan_id="s", spacing_mm=SPACING_MM)])
    lost = competition_scores([measure_scan(None, ref, scan_id="s", spacing_mm=SPACING_MM)])
    others = scan("t", 1.5, 3, 0.5, 3)
    for name in NAMES:
        assert not lost[name].dice > given[name].dice
        assert not lost[name].hausdorff < given[name].hausdorff
    both = [
        competition_scores([others, measure_scan(p, ref, scan_id="s", spacing_mm=SPACING_MM)])
        for p in (pred, None)
    ]
    assert all(both[1][name].score <= both[0][name].score + 1e-12 for name in NAMES[:-1])


def test_a_scan_left_out_is_worst_even_where_there_is_nothing_to_see():
    empty = volume([], [], [])
    found = measure_scan(None, empty, scan_id="s", spacing_mm=SPACING_MM).terms
    assert found["official"] == found["official_text"] == (0, 6, 3, 3)
    assert found["mle_bench"] == (0, 6, 1, 1)
    assert found["participants"] == (0, 0, 3, 3)


# --- Distances: independent implementations -----------------------------------------------------


def by_scipy(pred, ref):
    """The symmetric distance of all voxels, positions divided by the shape, over sqrt 3."""
    points = [np.argwhere(mask) / mask.shape for mask in (pred, ref)]
    return max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0]) / ROOT_3


@given(arrays(bool, (2, 5, 4, 6)))
def test_scipy_measures_the_same_between_all_voxels(masks):
    masks[0, 0, 0, 0] = masks[1, 4, 3, 5] = True
    assert of_voxels_in_unit_cube(*masks) == pytest.approx(by_scipy(*masks), abs=1e-12)


def by_column(mask):
    """Write a mask (I, J, K) as run-length rows and read those column by column."""
    width, height, _ = mask.shape
    rows = [mask[:, :, k].T.ravel() for k in range(mask.shape[2])]
    return np.stack([row.reshape(width, height) for row in rows], axis=-1)


@given(MASKS)
def test_mle_bench_is_what_its_rules_say_of_the_union(masks):
    found = terms(*masks)["mle_bench"]
    pred, ref = (by_column(mask) for mask in masks.any(axis=1))
    if not (pred.any() or ref.any()):
        expected = (0, 0)
    elif not (pred.any() and ref.any()) or pred.sum() > 10 * ref.sum():
        expected = (1, 1)
    else:
        expected = (by_scipy(pred, ref), 1)
    assert found[2:] == pytest.approx(expected, abs=1e-12)


@given(arrays(bool, (2, 5, 5, 3)))
def test_square_slices_are_read_right_by_mle_bench(masks):
    masks[:, 0, 0, 0] = masks[:, 1, :, 1] = masks[:, 2, :2, 1] = True  # 75 is not above 80
    ours = measure_scan(masks[:1], masks[1:], scan_id="s", spacing_mm=SPACING_MM).terms
    assert ours["mle_bench"].hausdorff == pytest.approx(ours["official"].hausdorff)


def test_the_farthest_voxel_may_lie_deep_inside():
    """From a full block to its own shell: the centre is farthest, and no voxel of the outline."""
    block = np.ones((7, 7, 7), bool)
    shell = block.copy()
    shell[1:-1, 1:-1, 1:-1] = False
    assert farthest(block, shell, (1.0, 1.0, 1.0)) == 3.0
    assert of_voxels_in_unit_cube(block, shell) == pytest.approx(3 / 7 / ROOT_3)
    assert of_voxels_in_unit_cube(shell, block) == of_voxels_in_unit_cube(block, shell)


def test_nothing_is_far_from_nothing():
    empty = np.zeros(SHAPE, bool)
    assert farthest(empty, volume(BAR)[0], (1.0, 1.0, 1.0)) == 0.0


@given(MASKS, st.integers(0, 3))
def test_cropping_and_place_do_not_matter_but_the_size_of_the_cube_does(masks, by):
    pred, ref = masks[:, 0]
    pred[0, 0, 0] = ref[0, 0, 1] = True
    around = [np.pad(mask, ((0, 4), (by, 3 - by), (2, 0))) for mask in (pred, ref)]
    # Each axis is twice as long, so the same voxels are half as far apart.
    assert of_voxels_in_unit_cube(*around) == pytest.approx(of_voxels_in_unit_cube(pred, ref) / 2)


@pytest.fixture(scope="module")
def monai_masks():
    """MONAI's functions for outlines and the distances between them."""
    from monai.metrics import utils

    return utils


def random_pairs(n):
    rng = np.random.default_rng(5)
    return [tuple(rng.random((2, 6, 7, 5)) < p) for p in np.linspace(0.05, 0.9, n)]


def test_monai_finds_the_same_distance_from_one_outline_to_the_other(monai_masks):
    for pred, ref in random_pairs(12):
        edges = monai_masks.get_mask_edges(pred, ref)
        theirs = monai_masks.get_surface_distance(*edges).max()
        ours = measure_scan([pred], [ref], scan_id="s", spacing_mm=SPACING_MM)
        assert ours.terms["participants"].hausdorff == pytest.approx(
            theirs / math.sqrt(6**2 + 7**2 + 5**2), abs=1e-6
        )


def test_monai_gives_participants_their_dice(monai_masks):
    import torch
    from monai.metrics import DiceMetric

    rng = np.random.default_rng(7)
    shown = rng.random((2, 3, 1, 1, 40)) < 0.6  # some organs on some slices only
    pred, ref = (rng.random((2, 3, 6, 5, 40)) < 0.5) & shown
    assert set(ref.any(axis=(1, 2)).sum(axis=0)) == {0, 1, 2, 3}  # organs of a slice
    metric = DiceMetric(reduction="mean")
    metric(*(torch.from_numpy(np.moveaxis(m, 3, 0)).float() for m in (pred, ref)))
    ours = competition_scores([measure_scan(pred, ref, scan_id="s", spacing_mm=SPACING_MM)])
    assert ours["participants"].dice == pytest.approx(metric.aggregate().item(), abs=1e-6)


def test_monai_draws_deepminds_surface_where_organisers_do(monai_masks):
    """With a spacing, MONAI takes the corners of voxels, as DeepMind's surface-distance does."""
    for pred, ref in random_pairs(12):
        ours, theirs, *_ = monai_masks.get_mask_edges(pred, ref, spacing=SPACING_MM)
        both = [
            monai_masks.get_surface_distance(*pair, spacing=SPACING_MM).max()
            for pair in ((ours, theirs), (theirs, ours))
        ]
        assert of_corners_mm(pred, ref, SPACING_MM) == pytest.approx(max(both), abs=1e-5)


def test_corners_are_not_the_centres_of_boundary_voxels():
    """A hole in the prediction: its corners lie deeper than the centres of voxels around it."""
    ref = np.ones((5, 5, 5), bool)
    pred = ref.copy()
    pred[2, 2, 2] = False
    # The hole's eight corners (2..3) lie two steps inside the outer ones (0 and 5) along each axis.
    assert of_corners_mm(pred, ref, (1.0, 1.0, 1.0)) == 2.0
    assert surface_distances(pred, ref, spacing_mm=(1.0, 1.0, 1.0)).hausdorff_mm() == 1.0


def test_the_example_in_the_guide_prints_what_the_guide_says(repository):
    guide = (repository / "docs" / "competition.md").read_text(encoding="utf-8")
    code, told = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", guide, re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == told
    assert len(told.splitlines()) == 6
