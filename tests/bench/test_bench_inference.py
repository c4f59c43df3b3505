"""The works on whole-scan inference compare equal labels, and notice when they are not."""

import numpy as np
import pytest
import torch

from medseg.bench.inference import works
from medseg.bench.measure import Timed
from medseg.models import segformer_b0


class OwnPeer:
    """Stands for nnU-Net: runs the network slice by slice, on what was written for it."""

    def __init__(self):
        self.asked = []

    def call(self, *, weights, volume, result, **settings):
        self.asked.append(settings)
        network = segformer_b0(in_channels=1, out_channels=4).eval()
        network.load_state_dict(torch.load(weights, weights_only=True))
        slices = torch.from_numpy(np.load(volume))
        with torch.no_grad():
            labels = torch.cat([network(each[None, None]).argmax(1) for each in slices])
        np.save(result, labels.byte().numpy())
        return Timed(result, 2.0, 1.0)


@pytest.fixture(scope="module")
def peer():
    return OwnPeer()


@pytest.fixture(scope="module")
def scan(tmp_path_factory, peer):
    """The works on a scan of three slices, by a network that tells all classes apart."""
    return works(tmp_path_factory.mktemp("scan"), slices=3, steps=5, nnunet=peer)


def test_works_aim_at_what_is_asked(scan):
    assert [work.reach for work in scan] == [0.98, 2, 2, 0.98, 5, 5]
    assert len({(work.name, work.against) for work in scan}) == 6


@pytest.mark.parametrize("index", [pytest.param(n, id=f"work {n}") for n in range(6)])
def test_both_sides_find_the_same_organs(scan, index):
    theirs = scan[index].theirs()
    labels = theirs.output if isinstance(theirs, Timed) else theirs
    assert np.unique(labels).tolist() == [0, 1, 2, 3]
    assert "of the voxels agree" in scan[index].same(scan[index].ours(), labels)


def test_a_peer_is_timed_by_itself(scan, peer):
    assert scan[3].theirs()[1:] == (2.0, 1.0)
    assert peer.asked[-1] == {"patch_px": 288, "shipped": False, "device": "cpu"}
    scan[5].theirs()
    assert peer.asked[-1] == {"patch_px": 256, "shipped": True, "device": "cpu"}


def test_other_labels_are_not_timed(scan):
    other = scan[0].theirs().copy()
    other[1, :, :20] = 3
    with pytest.raises(AssertionError, match=r"9\d\.\d+% of the voxels agree"):
        scan[0].same(scan[0].ours(), other)


def test_without_nnunet_there_is_monai(tmp_path):
    assert [work.against[:5] for work in works(tmp_path, slices=2, steps=0)] == ["MONAI"] * 3
