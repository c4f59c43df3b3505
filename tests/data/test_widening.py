"""float16 widened: every finite number there is."""

import numpy as np

from medseg.data.widening import widened


def test_every_finite_number_is_exact():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert len(finite) == 2 * 31 * 1024
    np.testing.assert_array_equal(
        widened(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32)
    )


def test_shape_and_order_are_kept_also_of_a_view():
    half = np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(2, 0, 1)
    np.testing.assert_array_equal(widened(half), half.astype(np.float32))


def test_more_than_a_part_and_nothing_at_all():
    many = np.linspace(0, 1, 200_000, dtype=np.float32).astype(np.float16)
    np.testing.assert_array_equal(widened(many), many.astype(np.float32))
    assert widened(np.empty((0, 3), np.float16)).shape == (0, 3)
