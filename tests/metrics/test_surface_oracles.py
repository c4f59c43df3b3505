"""Surface distances beside brute force and five other programs, each known deviation explained."""

import math
import re
import runpy
import shutil
import warnings
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.metrics.surface import surface_distances

PAIRS = ("shifted box", "at the border", "one voxel each", "hollow", "spike")
each_pair = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PAIRS])
needs_plastimatch = pytest.mark.skipif(
    shutil.which("plastimatch") is None, reason="plastimatch is not installed"
)


@pytest.fixture(scope="module")
def agreement(repository):
    """The script that draws five pairs and measures them with every program."""
    names = runpy.run_path(str(repository / "benchmarks" / "agreement.py"))
    return SimpleNamespace(**names, drawn=names["pairs"]())


@pytest.fixture(scope="module")
def noise():
    """Pairs that no hand would draw: voxels at random, the same in every run."""
    rng = np.random.default_rng(5)
    pairs = []
    for shares in rng.uniform(0.02, 0.6, (6, 2, 1, 1, 1)):
        framed = np.zeros((2, 12, 12, 12), bool)
        framed[:, 2:10, 2:11, 2:9] = rng.random((2, 8, 9, 7)) < shares
        pairs.append(tuple(framed))
    return pairs


def measured(agreement, pair):
    return surface_distances(*pair, spacing_mm=agreement.SPACING_MM)


# --- Brute force ------------------------------------------------------------------------------


def boundary_mm(mask, spacing_mm):
    """Return where the boundary's voxels lie: those of whose six neighbours one is outside."""
    places = []
    for place in np.argwhere(mask):
        for axis, step in product(range(3), (-1, 1)):
            beside = place.copy()
            beside[axis] += step
            inside = 0 <= beside[axis] < mask.shape[axis] and mask[tuple(beside)]
            if not inside:
                places.append(place)
                break
    return np.array(places, float) * spacing_mm


def brute_force(pred, ref, spacing_mm):
    """Return both lists, sorted, from the distances between all pairs of boundary voxels."""
    ours, theirs = (boundary_mm(mask, spacing_mm) for mask in (pred, ref))
    apart_mm = np.sqrt(((ours[:, None] - theirs) ** 2).sum(axis=2))
    return np.sort(apart_mm.min(axis=1)), np.sort(apart_mm.min(axis=0))


def percentile(values, percent):
    """Interpolate between the two nearest of sorted values."""
    place = percent / 100 * (len(values) - 1)
    low, part = math.floor(place), place % 1
    return values[low] + part * (values[min(low + 1, len(values) - 1)] - values[low])


@st.composite
def pairs_of_one_shape(draw):
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    dense = arrays(bool, shape)
    places = st.lists(st.tuples(*(st.integers(0, n - 1) for n in shape)), min_size=1, max_size=4)

    def few(voxels):
        mask = np.zeros(shape, bool)
        mask[tuple(np.transpose(voxels))] = True
        return mask

    return draw(st.tuples(*[st.one_of(dense, dense.map(np.invert), places.map(few))] * 2))


LENGTHS_MM = st.one_of(st.integers(1, 9), st.floats(0.05, 20, allow_subnormal=False))


@settings(max_examples=300)
@given(pairs_of_one_shape(), st.tuples(*[LENGTHS_MM] * 3))
def test_brute_force_finds_the_same_distances(pair, spacing_mm):
    assume(all(mask.any() for mask in pair))
    found = surface_distances(*pair, spacing_mm=spacing_mm)
    for ours, theirs in zip(found, brute_force(*pair, spacing_mm), strict=True):
        assert np.sort(ours) == pytest.approx(theirs, rel=1e-12)


@given(pairs_of_one_shape(), st.tuples(*[LENGTHS_MM] * 3), st.floats(0, 100))
def test_brute_force_finds_the_same_metrics(pair, spacing_mm, percent):
    assume(all(mask.any() for mask in pair))
    found = surface_distances(*pair, spacing_mm=spacing_mm)
    lists = brute_force(*pair, spacing_mm)
    both = [*lists[0], *lists[1]]
    assert found.hausdorff_mm() == pytest.approx(max(both))
    expected = max(percentile(values, percent) for values in lists)
    assert found.hausdorff_mm(percent) == pytest.approx(expected)
    assert found.average_mm() == pytest.approx(math.fsum(both) / len(both))
    tolerance_mm = percentile(sorted(both), percent) + 1e-9
    within = sum(value <= tolerance_mm for value in both)
    assert found.surface_dice(tolerance_mm) == pytest.approx(within / len(both))


@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"seed {seed}") for seed in range(4)])
def test_brute_force_agrees_far_apart_in_a_longer_array(seed):
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, 40, 9, 30), bool)
    for mask in masks:
        for _ in range(3):
            low = rng.integers(0, (38, 7, 28))
            mask[
                tuple(slice(a, a + n) for a, n in zip(low, rng.integers(1, 6, 3), strict=True))
            ] = 1
    spacing_mm = tuple(rng.uniform(0.3, 5, 3))
    found = surface_distances(*masks, spacing_mm=spacing_mm)
    for ours, theirs in zip(found, brute_force(*masks, spacing_mm), strict=True):
        assert np.sort(ours) == pytest.approx(theirs, rel=1e-12)


# --- Other programs ---------------------------------------------------------------------------


@each_pair
def test_monai_agrees_in_every_metric(agreement, name):
    theirs = agreement.monai(*agreement.drawn[name])
    assert agreement.medseg(*agreement.drawn[name]) == pytest.approx(theirs, abs=1e-5)


def test_monai_agrees_on_noise(agreement, noise):
    for pair in noise:
        assert agreement.medseg(*pair) == pytest.approx(agreement.monai(*pair), abs=1e-4)


@each_pair
def test_metrics_reloaded_agrees_in_every_metric(agreement, name):
    golden = agreement.METRICS_RELOADED[name]
    assert agreement.medseg(*agreement.drawn[name]) == pytest.approx(golden, abs=1e-6)


def test_medpy_agrees_but_for_its_percentile_over_both_directions(agreement, noise):
    differ = 0
    for pair in [*agreement.drawn.values(), *noise]:
        ours, theirs = agreement.medseg(*pair), agreement.medpy(*pair)
        assert ours.hd_mm == pytest.approx(theirs.hd_mm)
        assert ours.assd_mm == pytest.approx(theirs.assd_mm)
        pooled_mm = np.percentile(np.concatenate(measured(agreement, pair)), 95)
        assert pooled_mm == pytest.approx(theirs.hd95_mm)
        differ += ours.hd95_mm != pytest.approx(theirs.hd95_mm)
    assert differ >= 3
    spike = agreement.drawn["spike"]
    assert (agreement.medseg(*spike).hd95_mm, agreement.medpy(*spike).hd95_mm) == (4.5, 1.5)


@st.composite
def boxes(draw):
    mask = np.zeros((7, 8, 9), bool)
    sides = [sorted(draw(st.tuples(*[st.integers(0, n - 1)] * 2))) for n in mask.shape]
    mask[tuple(slice(low, high + 1) for low, high in sides)] = True
    return mask


@given(boxes(), boxes())
def test_simpleitk_agrees_on_convex_solids(agreement, pred, ref):
    assert agreement.medseg(pred, ref).hd_mm == pytest.approx(agreement.simpleitk(pred, ref).hd_mm)


def test_simpleitk_measures_all_voxels_not_the_boundary(agreement):
    for name, pair in agreement.drawn.items():
        voxels_mm = [np.argwhere(mask) * agreement.SPACING_MM for mask in pair]
        apart_mm = np.linalg.norm(voxels_mm[0][:, None] - voxels_mm[1], axis=2)
        directed = apart_mm.min(axis=1), apart_mm.min(axis=0)
        theirs = agreement.simpleitk(*pair)
        assert theirs.hd_mm == pytest.approx(max(map(max, directed))), name
        assert theirs.assd_mm == pytest.approx(np.mean([each.mean() for each in directed])), name
    hollow = agreement.drawn["hollow"]
    assert (agreement.medseg(*hollow).hd_mm, agreement.simpleitk(*hollow).hd_mm) == (3.0, 4.5)


@pytest.fixture(scope="module")
def surface_elements(agreement):
    """A function: distances between the surface elements of both masks, and their areas.

    The elements lie between eight voxels, half a voxel beside their centres; MONAI finds them by
    DeepMind's tables.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics.utils import get_edge_surface_distance

    def measure(pair):
        masks = [torch.from_numpy(mask) for mask in pair]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            edges, distances, areas = get_edge_surface_distance(
                *masks, spacing=agreement.SPACING_MM, use_subvoxels=True, symmetric=True
            )
        weights = [area[edge].numpy() for area, edge in zip(areas, edges, strict=True)]
        return [each.numpy() for each in distances], weights

    return measure


@each_pair
def test_deepmind_weighs_surface_elements_by_area(agreement, surface_elements, name):
    golden = agreement.DEEPMIND[name]
    distances, areas = surface_elements(agreement.drawn[name])
    percentiles_mm = []
    for mm, area in zip(distances, areas, strict=True):
        order = np.argsort(mm)
        share = np.cumsum(area[order]) / area.sum()
        at = min(np.searchsorted(share, 0.95), len(mm) - 1)
        percentiles_mm.append(mm[order][at])
    assert max(percentiles_mm) == pytest.approx(golden.hd95_mm, abs=1e-6)
    assert max(map(max, distances)) == pytest.approx(golden.hd_mm, abs=1e-6)
    mm, area = np.concatenate(distances), np.concatenate(areas)
    share = area[mm <= agreement.TOLERANCE_MM].sum() / area.sum()
    assert share == pytest.approx(golden.nsd, abs=1e-5)
    ours = agreement.medseg(*agreement.drawn[name])
    assert ours.nsd != pytest.approx(golden.nsd, abs=1e-3)
    # The surfaces of a wall two voxels thick lie two voxels apart; the voxels of its boundary, both
    # in the wall, one. Where surfaces face the same way both rules have the same maximum.
    assert (ours.hd_mm == pytest.approx(golden.hd_mm, abs=1e-6)) == (name != "hollow")


def test_deepmind_sees_two_voxels_as_cubes_of_eight_elements():
    # Published as test_on_2_pixels_2mm_away: of the elements of two voxels that lie 2 mm apart
    # half are 1 mm from the other, half 2 mm: an average of 1.5 mm. Between centres it is 2 mm.
    pred, ref = np.zeros((2, 3, 3, 5), bool)
    ref[1, 1, 1] = pred[1, 1, 3] = True
    found = surface_distances(pred, ref, spacing_mm=(3, 2, 1))
    assert (found.average_mm(), found.hausdorff_mm(), found.surface_dice(1)) == (2, 2, 0)


def test_deepmind_and_medseg_on_a_shifted_face():
    # Published as test_two_cubes_shifted_by_one_pixel, with 100 voxels a side and the same numbers:
    # Hausdorff distance and HD95 2 mm, surface Dice 0.836 at 1 mm. Ours, by counting voxels: of
    # the 50 x 100 x 100 box all but 48 x 98 x 98 are boundary, of the taller one 49 x 98 x 98.
    pred, ref = np.zeros((2, 100, 100, 100), bool)
    ref[:50], pred[:51] = True, True
    found = surface_distances(pred, ref, spacing_mm=(2, 1, 1))
    assert (found.hausdorff_mm(), found.hausdorff_mm(95)) == (2, 2)
    n_ref, n_pred = 50 * 100**2 - 48 * 98**2, 51 * 100**2 - 49 * 98**2
    assert (found.ref_to_pred_mm.size, found.pred_to_ref_mm.size) == (n_ref, n_pred)
    # Beyond 1 mm: the prediction's whole top face, 2 mm above the other, and of the reference's
    # top face all that lies more than 1 mm from the sides, where the taller box has boundary too.
    far = 100**2 + 96**2
    assert found.surface_dice(1) == pytest.approx(1 - far / (n_ref + n_pred))


@needs_plastimatch
@each_pair
def test_plastimatch_takes_the_mean_of_both_directions(agreement, name):
    theirs = agreement.plastimatch(*agreement.drawn[name])
    directions = [np.sort(each) for each in measured(agreement, agreement.drawn[name])]
    ours = agreement.medseg(*agreement.drawn[name])
    assert theirs.hd_mm == pytest.approx(ours.hd_mm, abs=1e-5)
    means = [each.mean() for each in directions]
    assert theirs.assd_mm == pytest.approx(np.mean(means), abs=1e-5)
    if name == "one voxel each":
        # Its place in a list of one is floor(0.95 - 1), before the first.
        assert theirs.hd95_mm == 0
    else:
        places = [math.floor(0.95 * each.size - 1) for each in directions]
        taken = [each[place] for each, place in zip(directions, places, strict=True)]
        assert theirs.hd95_mm == pytest.approx(np.mean(taken), abs=1e-5)


@needs_plastimatch
def test_plastimatch_finds_the_same_maximum_and_percentile_in_noise(agreement, noise):
    for pair in noise:
        theirs = agreement.plastimatch(*pair)
        directions = [np.sort(each) for each in measured(agreement, pair)]
        taken = [each[math.floor(0.95 * each.size - 1)] for each in directions]
        assert theirs.hd_mm == pytest.approx(max(each[-1] for each in directions), abs=1e-5)
        assert theirs.hd95_mm == pytest.approx(np.mean(taken), abs=1e-5)


# --- The table --------------------------------------------------------------------------------


def test_the_documented_table_is_what_the_programs_say(agreement, repository):
    text = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = [line for line in text.splitlines() if re.match(rf"\| ({'|'.join(PAIRS)}) ", line)]
    printed = agreement.table()[2:]
    assert len(documented) == len(printed) == 20
    for line, shown in zip(documented, printed, strict=True):
        cells = zip(line.split("|"), shown.split("|"), strict=True)
        assert [(a, b) for a, b in cells if a != b and b.strip() != "not installed"] == []


def test_a_program_that_is_not_installed_has_no_figures(agreement, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert agreement.measured("plastimatch") is None
