"""Training loops side by side, small: what is counted, and what is compared."""

from types import SimpleNamespace

import pytest

from medseg.bench import stock
from medseg.bench.training import works


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The works, with MONAI's loop in this process, and what that was told."""
    told = []

    def call(**message):
        told.append(message)
        return stock.train(**message)

    peers = {"MONAI": SimpleNamespace(call=call)}
    folder = tmp_path_factory.mktemp("training")
    return works(folder, peers=peers, steps=2, batch_size=4, side_px=64), told


@pytest.fixture(scope="module")
def timed(made):
    """Both sides of the first work, run once."""
    first = made[0][0]
    return first, first.ours(), first.theirs()


def test_each_peer_is_met_in_float32_and_as_shipped_and_the_share_comes_last(made):
    found = [(work.name.split("on cpu")[1], work.against, work.reach) for work in made[0]]
    assert found == [
        (", float32", "MONAI", 1.6),
        (", as shipped", "MONAI", 2.5),
        (": share that is the network", "the bare network on one batch", 0.95),
    ]


def test_both_sides_train_on_as_many_samples_from_the_same_weights(timed):
    work, own, other = timed
    assert own.output["samples"] == other.output["samples"] == 8
    assert work.same(own.output, other.output).startswith("8 samples on both sides")
    assert 0 < own.wall_s < 600
    assert 0 < other.wall_s < 600


def test_the_peer_changes_slices_as_much_as_the_bundle_does(made, timed):
    (message,) = made[1]
    assert message["limits"]["rotate_deg"] == 15
    assert message["lr"] == pytest.approx(3e-4)


def test_losses_or_samples_that_differ_are_noticed(timed):
    work, own, _ = timed
    with pytest.raises(AssertionError, match="mean losses are"):
        work.same(own.output, own.output | {"loss": 2 * own.output["loss"]})
    with pytest.raises(AssertionError, match="8 and 7 samples"):
        work.same(own.output, own.output | {"samples": 7})


def test_the_share_compares_as_many_steps(made):
    share = made[0][-1]
    assert share.same(share.ours().output, share.theirs().output) == "8 samples on both sides"
