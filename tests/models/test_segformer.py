import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg import models
from medseg.models import segformer_b0

# transformers' own SegFormer (and, for the encoder and 150 classes, the authors' code) has as many.
PUBLISHED = {
    "segformer_b0": {150: 3_752_694, 4: 3_715_172, 1: 3_714_401},
    "segformer_b1": {150: 13_715_798, 4: 13_678_276, 1: 13_677_505},
    "segformer_b2": {150: 27_461_974, 4: 27_349_700, 1: 27_347_393},
    "segformer_b3": {150: 47_337_814, 4: 47_225_540, 1: 47_223_233},
    "segformer_b4": {150: 64_108_374, 4: 63_996_100, 1: 63_993_793},
    "segformer_b5": {150: 84_708_694, 4: 84_596_420, 1: 84_594_113},
}


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        pytest.param(name, classes, count, id=f"{name} with {classes} classes")
        for name, counts in PUBLISHED.items()
        for classes, count in counts.items()
    ],
)
def test_parameter_counts_are_the_published_ones(name, classes, count):
    with torch.device("meta"):
        network = getattr(models, name)(out_channels=classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def reference_of(network, *, classes):
    """transformers' own network with the weights of ours; it shares no forward code with it."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    attention = network.segformer["stages"][0].blocks[0].attention.config._attn_implementation
    config = SegformerConfig(
        num_labels=classes,
        classifier_dropout_prob=0.0,
        drop_path_rate=0.0,
        attn_implementation=attention,
    )
    reference = SegformerForSemanticSegmentation(config)
    reference.load_state_dict(network.state_dict())  # strict: the same names and shapes
    return reference.to(next(network.parameters()).dtype)


def reference_logits(reference, images):
    logits = reference(pixel_values=images).logits
    return functional.interpolate(
        logits, size=images.shape[-2:], mode="bilinear", align_corners=False
    )


def quiet_b0(*, classes=4, seed=0):
    """b0 without random layers, and with a normalisation that is not the identity."""
    torch.manual_seed(seed)
    network = segformer_b0(out_channels=classes, drop_path=0.0)
    network.decode_head.dropout.p = 0.0
    norm = network.decode_head.batch_norm
    for tensor, low in (
        (norm.weight, 0.5),
        (norm.bias, -1),
        (norm.running_mean, -1),
        (norm.running_var, 0.5),
    ):
        nn.init.uniform_(tensor, low, 2.0)
    return network


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(True, id="training: batch statistics"),
        pytest.param(False, id="eval: folded statistics"),
    ],
)
def test_logits_gradients_and_statistics_equal_those_of_transformers(training):
    network = quiet_b0().double().train(training)
    reference = reference_of(network, classes=4).train(training)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    weighting = torch.randn(2, 4, 64, 96, dtype=torch.float64)

    ours, theirs = network(images), reference_logits(reference, images)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)

    (ours * weighting).sum().backward()
    (theirs * weighting).sum().backward()
    expected = dict(reference.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name].grad, rtol=1e-7, atol=1e-9, msg=f"gradient of {name}"
        )
    buffers = dict(reference.named_buffers())
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], msg=name)


def test_logits_equal_those_of_transformers_in_single_precision():
    network = quiet_b0().eval()
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        theirs = reference_logits(reference_of(network, classes=4).eval(), images)
        torch.testing.assert_close(network(images), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "shape_hw"),
    [
        pytest.param(1, (64, 64), id="one channel"),
        pytest.param(5, (64, 32), id="five neighbouring slices"),
        pytest.param(3, (33, 47), id="odd size"),
        pytest.param(3, (1, 1), id="one pixel"),
        pytest.param(3, (7, 130), id="flat strip"),
    ],
)
def test_logits_have_the_size_of_the_images(channels, shape_hw):
    network = segformer_b0(in_channels=channels, out_channels=2).eval()
    logits = network(torch.randn(2, channels, *shape_hw))
    assert logits.shape == (2, 2, *shape_hw)
    assert logits.isfinite().all()


def test_an_odd_size_gives_the_logits_of_the_zero_padded_image():
    network = quiet_b0().eval()
    image = torch.randn(1, 3, 50, 70)
    padded = torch.zeros(1, 3, 64, 96)
    padded[..., :50, :70] = image
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(padded)[..., :50, :70])


def test_bfloat16_autocast_trains_and_infers_in_float32_logits():
    network = segformer_b0(out_channels=3)
    images = torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.float32
    logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())

    network.eval()
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(images)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_random_layers_act_in_training_only():
    torch.manual_seed(0)
    network = segformer_b0(out_channels=2, drop_path=0.5)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))


def test_dropout_drops_whole_channels_and_keeps_their_expectation():
    network = segformer_b0(out_channels=2)
    network.decode_head.dropout.p = 0.25
    nn.init.ones_(network.decode_head.classifier.weight)
    nn.init.zeros_(network.decode_head.classifier.bias)
    torch.manual_seed(0)
    with torch.no_grad():
        logits = network._classify(torch.ones(64, 256, 2, 2))
    # Each sample sums 256 channels of 0 or 1 / 0.75, the same ones at every pixel.
    torch.testing.assert_close(logits, logits[:, :1, :1, :1].expand_as(logits))
    kept = logits[:, 0, 0, 0] * 0.75
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-3)
    assert kept.mean().item() == pytest.approx(0.75 * 256, rel=0.02)


def test_fresh_weights_are_drawn_as_the_authors_draw_them():
    torch.manual_seed(0)
    network = segformer_b0(out_channels=4)
    block = network.segformer["stages"][3].blocks[0]
    depthwise = block.mlp.dwconv.dwconv  # 3 x 3, fan-out 9
    assert depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert block.mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    stem = network.segformer["stages"][0].patch_embeddings.proj  # 7 x 7 x 32
    assert stem.weight.std().item() == pytest.approx((2 / (49 * 32)) ** 0.5, rel=0.05)
    assert not depthwise.bias.any()
    assert not stem.bias.any()
    # 1 x 1 to 256 channels
    fuse = network.decode_head.linear_fuse.weight
    assert fuse.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)


def test_the_same_seed_gives_the_same_weights():
    torch.manual_seed(3)
    first = segformer_b0(out_channels=2).state_dict()
    torch.manual_seed(3)
    second = segformer_b0(out_channels=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(0)
    network = segformer_b0(in_channels=1, out_channels=2, drop_path=0.0)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = ((rows - 24) ** 2 + (columns - 40) ** 2 < 15**2).long()
    images = disc[None, None] + 0.1 * torch.randn(2, 1, 64, 64)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(25):
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), disc.expand(2, -1, -1))
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        wrong = (network(images).max(1).indices != disc).float().mean()
    assert wrong < 0.05  # calling all of it background errs on 0.17


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_serves_any_batch_and_size(tmp_path):
    network = segformer_b0(in_channels=5, out_channels=3)
    torch.jit.save(torch.jit.script(network), tmp_path / "model.ts")
    assert network.training
    scripted = torch.jit.load(tmp_path / "model.ts")
    network.eval()
    for shape in ((1, 5, 96, 64), (3, 5, 33, 47), (2, 5, 1, 1), (1, 5, 160, 160)):
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(scripted(images), network(images), rtol=0, atol=1e-5)


def test_importing_the_models_loads_neither_transformers_nor_monai():
    code = (
        "import sys, medseg.models, medseg.losses;"
        "sys.exit(any(name in sys.modules for name in ('transformers', 'monai')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
