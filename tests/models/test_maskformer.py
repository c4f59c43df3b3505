"""MaskFormer: what its layers propose, how that becomes logits, and that it trains in a bundle."""

import math

import pytest
import torch
from ignite.engine import Events
from small_networks import maskformer, maskformer_parts
from torch.nn import functional
from transformers.models.maskformer.modeling_maskformer import MaskFormerSinePositionEmbedding

from medseg import models
from medseg.bundle import Opened, find_bundle
from medseg.models.maskformer import sine_positions
from medseg.models.semantic import semantic_logits


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_parts_have_the_published_sizes():
    with torch.device("meta"):
        network = models.maskformer_r50(out_channels=4)
    assert [
        count(network.pixel_level_module.encoder),
        count(network.pixel_level_module.decoder),
        count(network.transformer_module),
        count(network.class_predictor) + count(network.mask_embedder),
    ] == [23_508_032, 7_540_480, 10_023_168, 198_661]


@pytest.mark.parametrize("backbone", [pytest.param(b, id=b) for b in ("resnet", "swin")])
def test_layers_propose_what_the_paper_says(backbone):
    """The last as in transformers; those before are its hidden states, normalised."""
    torch.manual_seed(0)
    theirs = maskformer_parts(3, 4, backbone=backbone).eval()
    with torch.no_grad():
        # Its end is where they differ: a norm that does nothing would hide a missing one.
        theirs.model.transformer_module.decoder.layernorm.weight.uniform_(0.5, 2)
    network = models.MaskFormer(theirs)
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        layers = network(images, torch.zeros(2, 3, 64, 96))
        out = theirs(images, output_hidden_states=True)
        pixels = out.pixel_decoder_last_hidden_state
        states = out.transformer_decoder_hidden_states
        norm = theirs.model.transformer_module.decoder.layernorm
        expected = [*(norm(state) for state in states[1:-1]), states[-1]]
        for layer, queries in zip(layers, expected, strict=True):
            classes = theirs.class_predictor(queries)
            masks = torch.einsum("bqe,behw->bqhw", theirs.mask_embedder(queries), pixels)
            assert torch.allclose(layer.class_logits, classes, atol=1e-5)
            assert torch.allclose(layer.mask_logits, masks, atol=1e-5)
        assert torch.allclose(layers[-1].mask_logits, out.masks_queries_logits, atol=1e-5)
        assert torch.allclose(layers[-1].class_logits, out.class_queries_logits, atol=1e-5)


def test_places_are_told_as_in_the_paper():
    maps = torch.zeros(2, 16, 3, 5, dtype=torch.bfloat16)
    theirs = MaskFormerSinePositionEmbedding(num_position_features=8, normalize=True)
    expected = theirs(maps.shape, maps.device, torch.float32)[:1].flatten(2).transpose(1, 2)
    found = sine_positions(maps)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("overlapping", [pytest.param(o, id=str(o)) for o in (False, True)])
def test_images_are_padded_and_what_comes_out_is_cropped(overlapping):
    torch.manual_seed(1)
    network = maskformer(2, 3, overlapping=overlapping).eval()
    images = torch.randn(2, 2, 37, 65)
    larger = functional.pad(images, (0, 96 - 65, 0, 64 - 37))
    with torch.inference_mode():
        cropped = network(images, torch.ones(2, 2, 37, 65))[-1]
        whole = network(larger, torch.ones(2, 2, 64, 96))[-1]
        assert cropped.mask_logits.shape == (2, 5, 10, 17)
        assert torch.allclose(cropped.mask_logits, whole.mask_logits[..., :10, :17], atol=1e-5)
        # Beyond two pixels from the new edge, enlarging sees the same masks.
        assert torch.allclose(
            network(images)[..., :36, :64], network(larger)[..., :36, :64], atol=1e-4
        )


def proposals():
    torch.manual_seed(2)
    return torch.randn(2, 6, 4).softmax(2)[..., :3], 4 * torch.randn(2, 6, 5, 7)


def test_softmax_gives_back_the_share_of_exclusive_classes():
    probs, masks = proposals()
    logits = semantic_logits(probs, masks, (18, 27), overlapping=False)
    larger = functional.interpolate(masks, (20, 28), mode="bilinear").sigmoid()[..., :18, :27]
    scores = (probs[..., None, None] * larger[:, :, None]).sum(1)
    assert torch.allclose(logits.softmax(1), scores / scores.sum(1, keepdim=True), atol=1e-6)


def test_sigmoid_gives_back_what_the_surest_query_says_of_overlapping_organs():
    probs, masks = proposals()
    logits = semantic_logits(probs, masks, (20, 28), overlapping=True)
    larger = functional.interpolate(masks, (20, 28), mode="bilinear").sigmoid()
    expected = (probs[..., None, None] * larger[:, :, None]).amax(1)
    assert torch.allclose(logits.sigmoid(), expected, atol=1e-6)


@pytest.mark.parametrize("overlapping", [pytest.param(o, id=str(o)) for o in (False, True)])
@pytest.mark.parametrize("mask", [pytest.param(m, id=str(m)) for m in (-1e4, 1e4)])
def test_logits_are_finite_where_scores_are_not_to_be_told_from_0_or_1(overlapping, mask):
    probs = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    masks = torch.full((1, 2, 4, 4), mask)
    with torch.autocast("cpu", torch.bfloat16):
        logits = semantic_logits(probs, masks.bfloat16(), (16, 16), overlapping=overlapping)
    assert logits.dtype == torch.float32
    assert logits.bfloat16().isfinite().all()
    expected = float(mask > 0) if overlapping else 0.5
    back = logits.sigmoid() if overlapping else logits.softmax(1)
    assert torch.allclose(back, torch.full_like(back, expected), atol=1e-6)


def drawn_without_chance(network):
    """Fill the network's parameters by a rule that no random generator has a part in."""
    for number, (name, parameter) in enumerate(network.named_parameters()):
        places = torch.arange(parameter.numel(), dtype=torch.float64)
        wave = torch.sin(0.7 * places**2 + number)
        share = 0.1 if parameter.ndim == 1 else (1 / parameter[0].numel()) ** 0.5
        offset = float(parameter.ndim == 1 and name.endswith("weight"))
        parameter.data = (share * wave + offset).reshape(parameter.shape).float()
    return network.eval()


# Two class logits and four mask logits of the first layer and of the last; found by this code, to
# notice its changes.
GOLDEN = [
    (
        "resnet",
        [-1.492705, -0.1595816, 0.06384867, 0.3565506, 0.06372104, 0.3566492],
        [-1.220272, -0.1038539, 0.2331, 0.6188519, 0.2328728, 0.6188685],
    ),
    (
        "swin",
        [-0.7756371, 0.2822546, -0.6094486, 0.1964434, -0.6081595, 0.180733],
        [-0.6336901, 0.5694427, -0.8426394, 0.2778628, -0.8472834, 0.2813008],
    ),
]


@pytest.mark.parametrize(
    ("backbone", "first", "last"), [pytest.param(*row, id=row[0]) for row in GOLDEN]
)
def test_proposals_are_those_of_the_day_it_was_written(backbone, first, last):
    network = drawn_without_chance(maskformer(2, 2, backbone=backbone))
    images = torch.cos(torch.arange(2 * 40 * 56, dtype=torch.float32) * 0.13).reshape(1, 2, 40, 56)
    with torch.inference_mode():
        layers = network(images, torch.ones(1, 2, 40, 56))
    for layer, expected in ((layers[0], first), (layers[-1], last)):
        masks = layer.mask_logits[0, 1:3, 3::5, 4].flatten().tolist()
        found = [*layer.class_logits[0, 3, :2].tolist(), *masks]
        assert found == pytest.approx(expected, abs=1e-5 * max(map(abs, expected)))


def test_validation_leaves_nothing_behind_that_training_cannot_use():
    network, images = maskformer(1, 2), torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        network(images)
    network(images, torch.ones(2, 1, 32, 32))[-1].class_logits.sum().backward()


def test_queries_begin_apart():
    torch.manual_seed(3)
    network = models.maskformer_r18(out_channels=2)
    queries = network.transformer_module.queries_embedder.weight
    assert queries.std().item() == pytest.approx(1, abs=0.05)
    # As in one matrix of 768 rows and 256 columns.
    keys = network.transformer_module.decoder.layers[0].encoder_attn.k_proj.weight
    assert keys.abs().max().item() == pytest.approx(math.sqrt(6 / (768 + 256)), rel=0.01)
    with torch.inference_mode():
        said = network(torch.randn(2, 3, 64, 64), torch.ones(2, 1, 64, 64))
    assert all(layer.mask_logits.std(1).mean() > 0.1 for layer in said)


def opened(data, folder, **settings):
    """Return the wiring that all bundles share, with this network and its loss."""
    exclusive = {"painting_order": "$@labels.painting_order"}
    common = {
        "network_def": {"_target_": "small_networks.maskformer", "channels": 1, "classes": 4}
        | {"overlapping": False},
        "loss": {"_target_": "medseg.losses.mask_classification", **exclusive},
        "dataset_dir": str(data),
        "output_dir": str(folder),
        **{"device": "cpu", "roi_px": [64, 64], "batch_size": 2, "epoch_length": 2},
    }
    return Opened(find_bundle("uwmgi_segformer").config("train", settings=common | settings))


def weights(parts):
    return {name: value.clone() for name, value in parts["network"].state_dict().items()}


def test_it_trains_validates_and_resumes_in_a_bundle(tiny_phantom, tmp_path):
    first = opened(tiny_phantom, tmp_path, epochs=1)
    before = weights(first)
    first["initialize"]
    first["run"]
    assert first["train::trainer"].state.output["loss"].isfinite()
    assert 0 <= first["validate::evaluator"].state.metrics["val_dice_mean"] <= 1
    after = weights(first)
    assert not torch.equal(before["class_predictor.weight"], after["class_predictor.weight"])
    again = opened(tiny_phantom, tmp_path, epochs=2, resume=True)
    seen = []

    def began(_trainer):
        seen.append(weights(again))

    again["train::trainer"].add_event_handler(Events.EPOCH_STARTED, began)
    again["initialize"]
    again["run"]
    assert again["train::trainer"].state.epoch == 2
    (loaded,) = seen
    assert all(torch.equal(loaded[name], value) for name, value in after.items())
