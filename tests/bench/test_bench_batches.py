"""Both sides of the work on batches make the same ones, as far as chance allows."""

import pytest

from medseg.bench.batches import works


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two batches of four slices with three channels."""
    work, _ = works(tmp_path_factory.mktemp("batches"), neighbours=3, batch_size=4, batches=2)
    return work


def test_both_sides_make_the_same_where_nothing_is_random(work):
    assert work.reach == 10
    ours, theirs = work.ours(), work.theirs()
    assert theirs.cpu_s > 0
    assert [part.shape for part in ours] == [(4, 3, 288, 288)] * 2
    assert "equal within 1e-6" in work.same(ours, theirs.output)


def test_shapes_that_differ_are_noticed(work):
    image, masks = work.ours()
    with pytest.raises(AssertionError, match="other shapes"):
        work.same((image[:, :1], masks), (image, masks))
