"""Mask DINO as a whole: its counts, what it says in training, and that chance follows torch."""

import pytest
import torch
from small_networks import maskdino
from torch import nn

from medseg.errors import UsageError
from medseg.losses import mask_dino
from medseg.models import maskdino_r18, maskdino_r50
from medseg.models.mask_dino import MaskDINO, Sizes

INSTANCES = {"two_stage": True, "queries": 300, "encoder_ffn": 2048}


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def frozen(network):
    """Return what the authors freeze: the weights of the backbone's normalisation."""
    return count(*(part for part in network.modules() if isinstance(part, nn.BatchNorm2d)))


@pytest.mark.parametrize(
    ("settings", "classes", "pixels", "decoder"),
    [
        # The decoder of a published count looks at 3 levels; at a fourth, 24 672 more a layer.
        pytest.param(INSTANCES, 80, 9_187_776, 14_325_620, id="80 classes, 300 queries"),
        pytest.param(
            INSTANCES | {"levels": 4}, 80, 14_055_424, 14_325_620 + 9 * 24_672, id="4 levels"
        ),
        pytest.param({"two_stage": True}, 4, 6_035_904, 14_286_632, id="4 classes, two stages"),
        pytest.param({}, 4, 6_035_904, 14_246_585, id="4 classes, learnt queries"),
    ],
)
def test_the_parts_have_the_published_counts(settings, classes, pixels, decoder):
    with torch.device("meta"):
        network = maskdino_r50(out_channels=classes, **settings)
    assert count(network.pixels) == pixels
    assert count(network.decoder, network.start, network.labels) == decoder
    assert count(network.embedder, network.stages) - frozen(network) == 23_454_912


def test_the_published_network_has_52_million():
    with torch.device("meta"):
        network = maskdino_r50(out_channels=80, levels=4, **INSTANCES)
    assert count(network) - frozen(network) == 52_058_004
    assert frozen(network) == 53_120


def test_levels_are_three_or_four():
    with (
        torch.device("meta"),
        pytest.raises(UsageError, match=r"levels of Mask DINO: is 5 \(expected 3 or 4\)"),
    ):
        maskdino_r18(out_channels=2, levels=5)


def test_settings_reach_the_network():
    with torch.device("meta"):
        network = maskdino_r18(
            in_channels=1, out_channels=2, queries=7, two_stage=True, boxes_from_masks=True
        )
        learnt = maskdino_r18(out_channels=2)
    assert network.start.count == 7
    assert network.start.from_masks
    assert network.decoder.classes.out_features == 2
    assert learnt.decoder.classes.out_features == 3


@pytest.mark.parametrize("two_stage", [pytest.param(False, id="one"), pytest.param(True, id="two")])
def test_what_it_says_in_training(two_stage):
    torch.manual_seed(0)
    network = maskdino(1, 3, overlapping=False, two_stage=two_stage)
    masks = torch.zeros(2, 2, 40, 70, dtype=torch.uint8)
    masks[0, 1, 8:24, 12:48] = 1
    said = network(torch.randn(2, 1, 40, 70), masks)
    classes = 3 if two_stage else 4
    assert len(said.layers) == 3
    for layer in said.layers:
        assert layer.class_logits.shape == (2, 10, classes)
        assert layer.mask_logits.shape == (2, 10, 16, 24)  # a quarter of 64 x 96
        assert layer.boxes.shape == (2, 10, 4)
    assert (said.selected is not None) == two_stage
    # Six groups of two: background and the second organ, of which the second image has no more
    # than background.
    assert said.denoising.classes.tolist() == [[0, 2] * 6, [0, -1] * 6]
    # Learnt queries have not seen the image before the first layer.
    assert len(said.denoising.layers) == (3 if two_stage else 2)
    assert said.denoising.layers[0].boxes.shape == (2, 12, 4)
    with torch.no_grad():
        assert network.eval()(torch.randn(2, 1, 40, 70), masks).denoising is None


@pytest.mark.parametrize("two_stage", [pytest.param(False, id="one"), pytest.param(True, id="two")])
@pytest.mark.parametrize(
    "overlapping", [pytest.param(False, id="exclusive"), pytest.param(True, id="overlapping")]
)
def test_empty_slices_teach_too(two_stage, overlapping):
    torch.manual_seed(1)
    network = maskdino(1, 3, overlapping=overlapping, two_stage=two_stage)
    masks = torch.zeros(2, 3 if overlapping else 2, 32, 32, dtype=torch.uint8)
    said = network(torch.randn(2, 1, 32, 32), masks)
    assert (said.denoising is None) == overlapping  # background is a segment, nothing is none
    loss = mask_dino(overlapping=overlapping, points=50)(said, masks)
    loss.backward()
    assert loss.isfinite()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert network.decoder.classes.weight.grad.any()


def test_training_without_denoising():
    network = maskdino(1, 2, two_stage=True)
    network.denoising = 0
    masks = torch.ones(2, 2, 32, 32, dtype=torch.uint8)
    assert network(torch.randn(2, 1, 32, 32), masks).denoising is None


def test_chance_is_that_of_torch():
    network, images = maskdino(1, 2, overlapping=True), torch.randn(2, 1, 32, 32)
    masks = (torch.rand(2, 2, 32, 32) < 0.3).byte()
    loss = mask_dino(overlapping=True, points=50)

    def value(seed):
        torch.manual_seed(seed)
        return loss(network(images, masks), masks).item()

    assert value(3) == value(3) != value(4)


def test_boxes_may_begin_around_masks():
    torch.manual_seed(2)
    network = maskdino(1, 2, two_stage=True, boxes_from_masks=True).eval()
    with torch.no_grad():
        said = network(torch.randn(1, 1, 64, 64), torch.zeros(1, 2, 64, 64))
    mask, box = said.selected.mask_logits[0, 0] > 0, said.layers[0].boxes[0, 0]
    rows, columns = (mask.any(side).nonzero().flatten() for side in (1, 0))
    assert 0 < mask.sum() < mask.numel()
    left, right = columns[0] / 16, (columns[-1] + 1) / 16
    top, bottom = rows[0] / 16, (rows[-1] + 1) / 16
    expected = torch.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top))
    assert torch.allclose(box, expected, atol=2e-5)  # as near to 0 and 1 as a logit can be


def test_a_trace_chooses_as_many_queries_as_an_image_has_tokens():
    torch.manual_seed(3)
    parts = maskdino(1, 2, two_stage=True)
    parts.start.count = 200  # between the 86 tokens of 64 x 64 px and the 340 of 128 x 128
    network = parts.eval()
    script = torch.jit.script(network)
    for size_px in ((32, 32), (64, 64), (128, 128)):
        images = torch.randn(1, 1, *size_px)
        with torch.inference_mode():
            assert torch.allclose(script(images), network(images), atol=1e-5)


# Found by this code, to notice its changes: class and mask logits and boxes of the last layer.
GOLDEN = {
    False: [
        *(0.6797222, 0.7030277, 0.9280106),
        *(62.81094, 62.70803, 62.741),
        *(0.9420952, 0.8668478, 0.7562369, 0.7385618),
    ],
    True: [
        *(0.02671576, -0.9520262),
        *(71.55271, 71.5821, 71.597),
        *(0.9991296, 0.9855627, 0.3366744, 0.2066387),
    ],
}


@pytest.mark.parametrize("two_stage", [pytest.param(False, id="one"), pytest.param(True, id="two")])
def test_queries_are_those_of_the_day_it_was_written(two_stage):
    network = maskdino(1, 2, overlapping=True, two_stage=two_stage).eval()
    for number, parameter in enumerate(network.parameters()):
        wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + number)
        share = 0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        parameter.data = (wave * share + (parameter.ndim == 1)).reshape(parameter.shape).float()
    images = torch.cos(torch.arange(40 * 56, dtype=torch.float32) * 0.13).reshape(1, 1, 40, 56)
    with torch.inference_mode():
        last = network(images, torch.zeros(1, 2, 40, 56)).layers[-1]
    found = [
        *last.class_logits[0, 3].tolist(),
        *last.mask_logits[0, 3, 2:9:3, 5].tolist(),
        *last.boxes[0, 3].tolist(),
    ]
    assert found == pytest.approx(GOLDEN[two_stage], rel=1e-5, abs=1e-5)


def test_sizes_are_those_of_the_authors():
    assert Sizes() == (256, 3, 100, 6, 1024, 9, 2048)
    assert MaskDINO.takes_masks
