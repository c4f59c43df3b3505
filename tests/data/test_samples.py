"""Seeds and windows follow from seed, epoch and number alone, and are spread evenly."""

import numpy as np
import pytest

from medseg.data.samples import Samples, corners, seeds

MASK = (1 << 64) - 1


def mixed(x):
    """SplitMix64's mixer as its paper prints it, on Python's own integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def seed_of(seed, epoch, number):
    state = mixed(seed & MASK)
    for part in (epoch, number):
        state = mixed((state + (part + 1) * 0x9E3779B97F4A7C15) & MASK)
    return state >> 1


def numbers(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("seed", [pytest.param(s, id=str(s)) for s in (0, 5, -1, 2**64 - 3)])
def test_seeds_are_worked_out_number_by_number(seed):
    epochs, where = numbers(0, 0, 3, 1000), numbers(0, 1, 77, 38495)
    expected = [seed_of(seed, e, n) for e, n in zip(epochs.tolist(), where.tolist(), strict=True)]
    assert seeds(seed, epochs, where).tolist() == expected


def test_the_mixer_is_splitmix64s():
    # The first three numbers of the generator from state 1234567, as in its published tests.
    first = [mixed((1234567 + n * 0x9E3779B97F4A7C15) & MASK) for n in (1, 2, 3)]
    assert first == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_no_two_samples_share_a_seed():
    epochs, where = (each.ravel() for each in np.mgrid[:20, :2000])
    drawn = seeds(3, epochs, where)
    assert len(np.unique(drawn)) == 40000
    assert drawn.min() >= 0


def test_seeds_have_no_pattern():
    epochs, where = (each.ravel() for each in np.mgrid[:8, :4096])
    bits = (seeds(0, epochs, where)[:, None] >> np.arange(63)) & 1
    # Each bit is set every other time: five standard deviations of 32768 tosses.
    assert np.abs(bits.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(bits))
    # Neighbouring samples agree in half of their bits.
    assert abs((bits[1:] == bits[:-1]).mean() - 0.5) < 0.005


def test_windows_are_spread_evenly_and_apart_from_each_other():
    draws = seeds(0, np.zeros(30000, np.int64), np.arange(30000))
    top, left = corners(draws, np.tile(numbers(3, 5), (30000, 1)))
    counts = np.histogram2d(top, left, [3, 5], [[0, 3], [0, 5]])[0]
    # 2000 in each of 15 places, within five standard deviations.
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)


def test_a_window_without_a_choice_begins_at_the_corner():
    draws = seeds(0, numbers(0, 1), numbers(4, 9))
    top, left = corners(draws, numbers(1, 1, 1, 2).reshape(2, 2))
    assert top.tolist() == [0, 0]
    assert left[0] == 0
    assert left[1] in (0, 1)


def test_the_middle_channel_is_the_slice_itself():
    found = Samples(numbers(0), numbers(3, 4, 5).reshape(1, 3), *[numbers(0)] * 3)
    assert found.k.tolist() == [4]
