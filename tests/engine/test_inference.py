"""A scan through a 2D network: every voxel once, in its place, neighbours and windows right."""

import weakref

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from monai.inferers import sliding_window_inference
from monai.networks.utils import eval_mode
from torch import nn

from medseg.engine import VolumeInferer, scan_step
from medseg.errors import DivergedError, UsageError
from medseg.geometry import Grid, lpi_grid
from medseg.transforms import Cleaning, on_grid


class Channels(nn.Module):
    """Returns its input channels as logits, so that a logit tells which slice was seen."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape))
        return image + self.anchor


def volume(i, j, k):
    """Voxel (i, j, k) holds 100 i + 10 j + k / 10: any mix-up of axes shows."""
    return (
        100 * torch.arange(i).view(i, 1, 1)
        + 10 * torch.arange(j).view(j, 1)
        + (torch.arange(k) / 10)
    )


def inferer(roi_px=(6, 4), **more):
    return VolumeInferer(roi_px, **({"label_mode": "overlapping", "amp": False} | more))


def logits(image, network, given=None):
    """Return the logits of all voxels (classes, I, J, K)."""
    slabs = (given or inferer()).logits(image.permute(2, 1, 0)[:, None], network)
    return torch.cat(list(slabs)).permute(1, 3, 2, 0)


def scan(image):
    return on_grid(image[None], lpi_grid(tuple(image.shape), (1.5, 1.5, 3.0)))


# Slices


def test_a_network_sees_all_channels_of_a_neighbour_together():
    image = torch.stack([volume(4, 6, 5), -volume(4, 6, 5)])
    network = Channels()
    slabs = inferer(neighbours=3).logits(image.permute(3, 0, 2, 1), network)
    of_slice = torch.cat(list(slabs))[2]
    expected = [image[c, :, :, k].T for k in (1, 2, 3) for c in (0, 1)]
    torch.testing.assert_close(of_slice, torch.stack(expected))


def test_every_voxel_comes_back_in_its_place():
    image = volume(4, 6, 5)
    assert torch.equal(logits(image, Channels(), inferer(batch=2))[0], image)


def test_neighbours_are_channels_with_clamped_edges():
    image = volume(4, 4, 4)
    found = logits(image, Channels(), inferer((4, 4), neighbours=3, stride=2))
    planes = (found[:, 0, 0] * 10).round().int().tolist()
    assert planes == [[0, 0, 0, 1], [0, 1, 2, 3], [2, 3, 3, 3]]


def test_slices_come_in_batches_and_the_last_is_what_is_left():
    network = Channels()
    logits(volume(4, 6, 5), network, inferer(batch=2))
    assert [shape[0] for shape in network.seen] == [2, 2, 1]


def test_a_cpu_takes_few_slices_at_once():
    network = Channels()
    logits(volume(4, 6, 10), network, inferer(batch=64))
    assert [shape[0] for shape in network.seen] == [4, 4, 2]


def test_stored_half_precision_is_widened_batch_by_batch():
    network = Channels()
    image = volume(4, 6, 5)
    assert torch.equal(logits((image / 512).half(), network)[0], (image / 512).half().float())


# Windows


def test_slices_smaller_than_the_window_are_padded_and_cropped_back():
    network = Channels()
    image = volume(5, 3, 2)
    assert torch.allclose(logits(image, network, inferer((8, 8)))[0], image)
    assert network.seen == [(2, 1, 8, 8)]


def test_slices_larger_than_the_window_are_covered_by_windows_of_many_slices():
    network = Channels()
    image = volume(20, 13, 3)
    found = logits(image, network, inferer((8, 8), overlap=0.5, batch=4))
    assert torch.allclose(found[0], image, atol=1e-3)
    # 4 x 3 windows a slice; three slices are nine full batches.
    assert network.seen == [(4, 1, 8, 8)] * 9


@pytest.mark.parametrize("batch", [pytest.param(1, id="one slice"), pytest.param(64, id="all")])
def test_the_batch_size_changes_nothing(batch):
    image = volume(7, 6, 9)
    assert torch.allclose(
        logits(image, Channels(), inferer((4, 4), batch=batch))[0], image, atol=1e-3
    )


# Flips


class Ramp(nn.Module):
    """Multiplies by the place in the slice: no flip of the input is a flip of the output."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, image):
        self.seen.append(len(image))
        rows, columns = (torch.arange(n).float() + 1 for n in image.shape[-2:])
        return image * rows[:, None] * columns + self.anchor


def test_flipped_copies_are_averaged_in_the_same_forward_pass():
    # One slice [[1, 2], [3, 4]], rows times columns [[1, 2], [2, 4]]. By hand, place by place, for
    # the slice itself and mirrored along x, y and both:
    # 1 * (1 + 2 + 2 + 4), 2 * (2 + 1 + 4 + 2), 3 * (2 + 4 + 1 + 2), 4 * (4 + 2 + 2 + 1).
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T[..., None]  # (I, J, 1)
    network = Ramp()
    found = logits(image, network, inferer((2, 2), flips=["x", "y", "xy"]))
    assert found[0, :, :, 0].T.tolist() == [[9 / 4, 18 / 4], [27 / 4, 36 / 4]]
    assert network.seen == [4]


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        pytest.param("x", [[1.5, 3.0], [9.0, 12.0]], id="columns"),
        pytest.param("y", [[1.5, 6.0], [4.5, 12.0]], id="rows"),
        pytest.param("xy", [[2.5, 4.0], [6.0, 10.0]], id="both"),
    ],
)
def test_one_flip_worked_by_hand(flip, expected):
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T[..., None]
    found = logits(image, Ramp(), inferer((2, 2), flips=[flip]))
    assert found[0, :, :, 0].T.tolist() == expected


def test_a_network_that_flips_with_its_input_gives_the_same_masks():
    image = torch.randn(8, 6, 5, generator=torch.Generator().manual_seed(0))
    plain, flipped = (
        inferer((6, 8), flips=flips)(scan(image), Channels()) for flips in ((), ("x", "y", "xy"))
    )
    assert torch.equal(plain.masks, flipped.masks)


def test_flipped_copies_count_into_the_batch():
    network = Ramp()
    logits(torch.rand(4, 6, 5), network, inferer(batch=4, flips=["x"]))
    assert network.seen == [4, 4, 2]


def test_more_flipped_copies_than_the_batch_come_together_all_the_same():
    network = Ramp()
    logits(torch.rand(4, 6, 2), network, inferer(batch=2, flips=["x", "y", "xy"]))
    assert network.seen == [4, 4]


def test_windows_are_flipped_one_by_one():
    # A window's place in the slice must not matter: nnU-Net too mirrors within each window.
    image = torch.rand(12, 4, 1, generator=torch.Generator().manual_seed(0))
    given = inferer((4, 6), overlap=0.5, flips=["x"])
    ramp = Ramp()

    def averaged(window):
        return (ramp(window) + ramp(window.flip(-1)).flip(-1)) / 2

    expected = sliding_window_inference(
        image.permute(2, 1, 0)[None], (4, 6), 4, averaged, overlap=0.5, mode="gaussian"
    )
    found = logits(image, Ramp(), given)
    assert torch.allclose(found[:, :, :, 0], expected[0].transpose(1, 2))


def test_an_unknown_flip_is_refused():
    with pytest.raises(UsageError, match=r"flips: \['z'\] \(expected any of \['x', 'y', 'xy'\]"):
        inferer(flips=["x", "z"])


# Numbers


def test_logits_are_float32_whatever_the_network_computes_in():
    found = logits(volume(4, 4, 2), nn.Conv2d(1, 3, 1).bfloat16(), Half((4, 4)))
    assert found.shape == (3, 4, 4, 2)
    assert found.dtype == torch.float32


class Half(VolumeInferer):
    """Gives the network its slices in bfloat16."""

    def __init__(self, roi_px):
        super().__init__(roi_px, label_mode="overlapping", amp=False)

    def _forward(self, images, network):
        return super()._forward(images.bfloat16(), network)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [pytest.param(0, id="first slab"), pytest.param(4, id="last")])
def test_logits_that_are_not_finite_are_refused(value, at):
    image = volume(4, 6, 5)
    image[1, 1, at] = value
    with pytest.raises(DivergedError, match=r"E-NONFINITE.*NaN or infinity"):
        inferer(batch=1)(scan(image), Channels())


# Masks


def test_masks_lie_on_the_grid_of_the_image_or_on_the_one_asked_for():
    image = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    prepared = scan(image)
    native = lpi_grid((5, 6, 5), (1.5, 1.5, 3.0))
    own = inferer()(prepared, Channels())
    assert own.probs is None
    assert own.masks.dtype == torch.uint8
    assert torch.equal(own.masks[0], (image > 0).byte())
    masks, probs = inferer(probabilities=True)(prepared, Channels(), native=native)
    assert torch.equal(masks[0, :4], (image > 0).byte())
    assert not masks[0, 4].any()
    np.testing.assert_allclose(probs[0, :4], image.sigmoid())


def test_masks_are_cleaned_on_the_grid_asked_for():
    image = torch.full((4, 6, 5), -1.0)
    image[0, 0, 0] = image[3, 5, 2:4] = 1.0
    # Along its first axis the grid asked for has twice as many voxels.
    native = scan(image).affine.numpy() @ np.diag([0.5, 1, 1, 1])
    wide = Grid((8, 6, 5), native)
    # One voxel there is 0.75 x 1.5 x 3 mm, 0.003375 ml.
    rules = {"a": {"min_ml": 0.0055}}
    given = inferer(cleaning=Cleaning(["a"], rules=rules))
    assert inferer()(scan(image), Channels(), native=wide).masks[0, 0, 0, 0] == 1
    assert given(scan(image), Channels(), native=wide).masks[0].nonzero()[
        :, 2
    ].unique().tolist() == [2, 3]
    assert given(scan(image), Channels()).masks[0, 0, 0, 0] == 1


@pytest.mark.parametrize(
    "rules", [pytest.param({}, id="none"), pytest.param({"a": {}}, id="empty")]
)
def test_without_rules_no_bit_changes(rules):
    image = scan(torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)))
    given = inferer(probabilities=True, cleaning=Cleaning(["a"], rules=rules))
    plain, found = inferer(probabilities=True)(image, Channels()), given(image, Channels())
    assert torch.equal(found.masks, plain.masks)
    assert torch.equal(found.probs, plain.probs)


def test_a_threshold_is_applied_to_the_probabilities_and_leaves_them_alone():
    image = scan(torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)))
    cleaning = Cleaning(["a"], rules={"a": {"threshold": 0.2}})
    masks, probs = inferer(probabilities=True, cleaning=cleaning)(image, Channels())
    assert torch.equal(masks, (probs > 0.2).byte())
    assert torch.equal(probs, inferer(probabilities=True)(image, Channels()).probs)
    assert not torch.equal(masks, (probs > 0.5).byte())


def test_logits_of_a_whole_scan_never_exist():
    kept, living = [], []

    class Watched(Channels):
        def forward(self, image):
            living.append(sum(each() is not None for each in kept))
            # A tensor made of it, and every view of that, keeps the array alive.
            array = super().forward(image).numpy().copy()
            kept.append(weakref.ref(array))
            return torch.from_numpy(array)

    inferer(batch=1)(scan(volume(4, 6, 40)), Watched())
    assert len(living) == 40
    assert max(living) <= 2


# MONAI's engines


@pytest.mark.parametrize("labelled", [pytest.param(b, id="label" if b else "none") for b in (0, 1)])
def test_a_scan_is_segmented_on_the_grid_of_its_label_or_else_on_its_own(labelled):
    image = scan(torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)))
    item = {"image": image, "native": lpi_grid((5, 6, 5), (1.5, 1.5, 3.0))}
    item |= {"label": torch.zeros(1, 4, 6, 5)} if labelled else {}
    engine = Engine(scan_step)
    engine.register_events(*IterationEvents)
    engine.network, engine.mode = Channels(), eval_mode
    engine.inferer = inferer(probabilities=not labelled)
    seen = []
    engine.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda engine: seen.append(engine.state.output)
    )
    engine.run([item])
    [output] = seen
    assert output["pred"].shape == (1, 4 if labelled else 5, 6, 5)
    assert torch.equal(output["pred"][0, :4], (image.as_tensor()[0] > 0).byte())
    assert ("label" in output, "probs" in output) == (bool(labelled), not labelled)
    assert engine.network.training
