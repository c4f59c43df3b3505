"""Hashes are those of the reference, and what is drawn from them has the stated distribution."""

import numpy as np
import pytest
import torch
from scipy import stats

from medseg.data.samples import seeds
from medseg.transforms import BatchAugment
from medseg.transforms.augment import draw
from medseg.transforms.draws import still, uniforms, words

COUNT = 6000
EPOCH = seeds(0, np.zeros(COUNT, np.int64), np.arange(COUNT))
NEXT_EPOCH = seeds(0, np.ones(COUNT, np.int64), np.arange(COUNT))
LIMITS = BatchAugment(
    rotate_deg=15,
    translate=0.06,
    scale=0.15,
    brightness=0.1,
    contrast=0.2,
    elastic_px=10,
    gamma=0.4,
    bias=0.3,
    low_resolution=0.5,
    noise=0.1,
    chance=0.4,
)
# From, to, and what is drawn for samples that a rare change does not come to.
COLUMNS = {
    "rotation_deg": (-15, 15, None),
    "scale": (0.85, 1.15, None),
    "shift_x": (-0.06, 0.06, None),
    "shift_y": (-0.06, 0.06, None),
    "contrast": (0.8, 1.2, None),
    "brightness": (-0.1, 0.1, None),
    "elastic_px": (0, 10, 0),
    "gamma": (0.6, 1.4, 1),
    "bias": (0, 0.3, 0),
    "resolution": (0.5, 1, 1),
    "noise": (0, 0.1, 0),
}
RARE = [name for name, (_, _, neutral) in COLUMNS.items() if neutral is not None]


def test_words_are_those_of_the_reference():
    # The first five of splitmix64 with the seed 1234567.
    assert words(np.array([1234567], np.uint64), 5).tolist() == [
        [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ]
    ]


def test_uniforms_lie_in_the_unit_interval():
    drawn = uniforms(np.arange(200_000, dtype=np.uint64), 1)
    assert 0 <= drawn.min() < 1e-4
    assert 1 - 1e-4 < drawn.max() < 1


def test_still_draws_move_nothing():
    assert not still(3).moves.any()
    moving = still(5)._replace(
        rotation_deg=np.array([1, 0, 0, 0, 0]),
        shift_y=np.array([0, 1, 0, 0, 0]),
        scale=np.array([1, 1, 2, 1, 1]),
        elastic_px=np.array([0, 0, 0, 1, 0]),
        flip_x=np.array([0, 0, 0, 0, 1], bool),
    )
    assert moving.moves.tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in COLUMNS])
def test_a_parameter_is_drawn_evenly(name):
    low, high, neutral = COLUMNS[name]
    values = getattr(draw(EPOCH, LIMITS), name)
    if neutral is not None:
        values = values[values != neutral]
    assert low <= values.min()
    assert values.max() <= high
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.001
    # And as a generator for each sample draws it.
    others = [np.random.default_rng(seed).uniform(low, high) for seed in range(3000)]
    assert stats.ks_2samp(values, others).pvalue > 0.001


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in ("flip_x", "flip_y")])
def test_flips_come_every_other_time(name):
    flipped = getattr(draw(EPOCH, LIMITS), name).sum()
    assert stats.chisquare([flipped, COUNT - flipped]).pvalue > 0.001


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in RARE])
def test_a_rare_change_comes_to_its_share(name):
    affected = (getattr(draw(EPOCH, LIMITS), name) != COLUMNS[name][2]).sum()
    expected = [0.4 * COUNT, 0.6 * COUNT]
    assert stats.chisquare([affected, COUNT - affected], expected).pvalue > 0.001


def table(drawn_for):
    """Return all that is drawn as numbers, ``(columns, B)``: whether a rare change comes, too."""
    draws = draw(drawn_for, LIMITS)
    rows = [getattr(draws, name) for name in COLUMNS] + [draws.flip_x, draws.flip_y]
    rows += [getattr(draws, name) != COLUMNS[name][2] for name in RARE]
    return np.array(rows, float)


def test_no_parameter_tells_about_another():
    found = np.corrcoef(table(EPOCH))
    strengths, chances = [list(COLUMNS).index(name) for name in RARE], range(13, 13 + len(RARE))
    found[strengths, chances] = found[chances, strengths] = 0  # of course
    np.fill_diagonal(found, 0)
    assert np.abs(found).max() < 5 / np.sqrt(COUNT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(EPOCH[:-1], EPOCH[1:], id="the next sample"),
        pytest.param(EPOCH, NEXT_EPOCH, id="the next epoch"),
        pytest.param(np.arange(COUNT), np.arange(1, COUNT + 1), id="the next seed"),
    ],
)
def test_no_sample_tells_about_the_next(one, other):
    rows = len(COLUMNS) + 2 + len(RARE)
    found = np.corrcoef(table(one), table(other))[:rows, rows:]
    assert np.abs(found).max() < 5 / np.sqrt(COUNT)


def test_a_sample_is_drawn_from_its_own_seed():
    whole = draw(EPOCH[:50], LIMITS)
    for b in (0, 17, 49):
        alone = draw(torch.from_numpy(EPOCH[b : b + 1]), LIMITS)
        assert all(one[b] == other[0] for one, other in zip(whole, alone, strict=True))


def test_a_limit_more_leaves_the_other_draws():
    plain, more = draw(EPOCH[:50], BatchAugment()), draw(EPOCH[:50], BatchAugment(noise=0.1))
    for name in plain._fields:
        assert np.array_equal(getattr(plain, name), getattr(more, name)) == (name != "noise")
