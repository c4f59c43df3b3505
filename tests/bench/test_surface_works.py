"""The works on surfaces compare equal things, and notice when they are not."""

import pytest

from medseg.bench.surface import works

NAMES = ("overlapping", "far apart", "beside MedPy")


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory):
    """The works on a scan of twelve slices."""
    return works(tmp_path_factory.mktemp("surfaces"), slices=12)


@pytest.mark.parametrize("index", [pytest.param(n, id=name) for n, name in enumerate(NAMES)])
def test_both_sides_return_the_same(surfaces, index):
    work = surfaces[index]
    assert work.reach == 6
    assert work.same(work.ours(), work.theirs())
    with pytest.raises(AssertionError, match=r"1\.0e-03 apart"):
        work.same(work.ours() + 1e-3, work.theirs())


def test_pairs_overlap_well_or_lie_far_apart(surfaces):
    near, far = (surfaces[index].ours() for index in (0, 1))  # HD95, NSD and ASSD of each organ
    assert (near[:, 1] > 0.4).all()
    assert (far[:, 2] > near[:, 2] + 10).all()


def test_medpy_is_left_out_where_it_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("medseg.bench.surface.find_spec", lambda _: None)
    assert [work.against for work in works(tmp_path, slices=2)] == ["MONAI", "MONAI"]
