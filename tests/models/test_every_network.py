"""What every network promises: size, types, a compiled copy, and that it learns."""

import copy
import io

import numpy as np
import pytest
import torch
from small_networks import IDLE, SMALL, loss_of, small

from medseg import models
from medseg.data import read_manifest, read_scans
from medseg.data.label_files import read_reference
from medseg.io.png import read_slice

# Of 3 channels and as many classes as stand there; the first four by three published builds.
PUBLISHED = [
    ("unet", {"base": 16}, 1, 1_942_577),
    ("unet", {"base": 16, "bias": True}, 1, 1_944_049),
    ("unet", {"base": 32}, 1, 7_763_041),
    ("unet", {"base": 32, "bias": True}, 1, 7_765_985),
    ("unet", {}, 1, 31_037_633),
    ("unet", {"bias": True}, 1, 31_043_521),
    ("potinet", {"base": 16}, 1, 1_746_737),
    ("potinet", {"base": 16, "bias": True}, 1, 1_748_209),
    ("potinet", {"base": 32}, 1, 6_979_681),
    ("potinet", {}, 1, 27_904_193),
    ("potinet", {"bias": True}, 1, 27_910_081),
    ("xopinet", {"base": 16}, 1, 7_778_609),
    ("xopinet", {"base": 32, "bias": True}, 1, 31_106_529),
    ("xopinet", {}, 1, 124_374_209),
    ("xopinet", {"bias": True}, 1, 124_386_241),
    ("resunet", {}, 1, 8_223_809),
    ("resunet", {"enlarging": "deconvolution"}, 1, 9_600_961),
    ("unext", {}, 1, 1_471_921),
    ("unext", {}, 2, 1_471_938),
    ("unext", {}, 4, 1_471_972),
    ("unext_paper", {}, 1, 1_580_961),
    ("deeplabv3plus_r18", {}, 4, 12_334_260),
    ("deeplabv3plus_r50", {}, 4, 26_691_764),
    ("deeplabv3plus_r50", {}, 21, 26_696_133),
    ("deeplabv3plus_r50", {"output_stride": 8}, 4, 26_691_764),
    ("deeplabv3plus_r101", {}, 4, 45_683_892),
    # The encoder of 85 798 656 (transformers, timm and the paper), and the head by hand.
    ("vit_b16", {}, 4, 85_798_656 + 9 * 256 * (768 + 3 * 256) + 4 * 512 + 4 * 257),
    ("unetr_b16", {}, 4, 87_779_620),
    ("unetr_s16", {}, 4, 23_062_180),
    # MONAI's has 21 051 140; and a 1x1 convolution with biases for each of three coarser sizes.
    ("dynunet", {}, 4, 21_051_140 + 4 * (64 + 128 + 256) + 3 * 4),
    ("mednext_s", {}, 4, 5_472_132),
    ("mednext_b", {}, 4, 10_432_068),
    # As many for each of four coarser sizes.
    ("mednext_s", {"deep_supervision": True}, 4, 5_472_132 + 4 * (64 + 128 + 256 + 512) + 4 * 4),
    ("upernet_convnextv2_nano", {}, 4, 23_752_436),
    ("upernet_convnextv2_tiny", {}, 4, 37_091_012),
    # 53 120 weights of normalisation are frozen, and not counted, in the published builds.
    ("maskdino_r50", {}, 4, 23_454_912 + 6_035_904 + 14_246_585 + 53_120),
    ("maskdino_r50", {"two_stage": True}, 4, 23_454_912 + 6_035_904 + 14_286_632 + 53_120),
    ("maskformer_r18", {}, 4, 24_642_117),
    ("maskformer_r50", {}, 4, 41_270_341),
    ("maskformer_swin_t", {}, 4, 41_721_023),
    ("vit_s16", {}, 4, 21_665_664 + 9 * 256 * (384 + 3 * 256) + 4 * 512 + 4 * 257),
]

# Of the small networks with `drawn_without_chance`; found by this code, to notice its changes.
GOLDEN = [
    ("unet", [-1.121761, 14.37969, -6.540959, 0.4448156, 0.4439017, 0.4478661]),
    ("unet without skips", [1.637616, 1.629874, 0.9194698, 0.4266101, 0.4276814, 0.4272156]),
    ("resunet", [82.66512, 12.36907, 125.9073, -570.0432, -579.907, -359.0186]),
    ("unext", [-33.62514, 0.1768491, -6.566959, 3.479756, 1.677638, 0.7418318]),
    ("autoencoder", [1.098, 3.603899, -7.121298, 115.063, 218.8031, 120.4713]),
    ("inception", [1.15422, 1.045245, 7.855111, -0.05424867, -1.032228, 0.761396]),
    ("deeplabv3plus", [-1869.649, -9.862118, -4088.956, 5896.521, 6173.831, 5649.345]),
    ("segformer", [3.057382, 3.023201, 3.034826, -0.7407002, -0.7502674, -0.76278]),
    ("unetr", [-0.7098405, 1.010274, -0.01212162, 0.1309093, 0.3387251, 0.1306244]),
    ("dynunet", [2.164989, 0.5601837, 2.758577, 0.4968261, 3.082726, 0.3872991]),
    ("mednext", [37.44311, 9.311185, 56.56199, 10.23124, 49.60523, -63.89074]),
    ("upernet", [-0.9576657, 3.84506, 3.29641, 6.04372, 7.818229, 4.805703]),
    ("vit", [-28.29949, 4.038927, 1.634287, 3.391418, 3.889732, 3.79055]),
]
# They stand for all in the quick selection where a law takes seconds.
QUICK = {"unet", "dynunet"}
every_network = pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SMALL])
every_network_slowly = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name in SMALL
    ],
)


@pytest.mark.parametrize(
    ("name", "settings", "classes", "count"),
    [pytest.param(*row, id=f"{row[0]} {row[1]} {row[2]}") for row in PUBLISHED],
)
def test_parameter_counts_are_the_published_ones(name, settings, classes, count):
    with torch.device("meta"):
        network = getattr(models, name)(out_channels=classes, **settings)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def trained_with(network, images, masks):
    """Return what the training step gives the loss."""
    return network(images, masks) if getattr(network, "takes_masks", False) else network(images)


@every_network
@pytest.mark.parametrize(
    ("channels", "organs", "overlapping", "size_px"),
    [
        pytest.param(1, 1, True, (33, 47), id="1 channel, binary, odd size"),
        pytest.param(3, 3, False, (64, 96), id="3 channels, exclusive classes"),
        pytest.param(5, 3, True, (20, 70), id="5 channels, overlapping organs, lower than deep"),
    ],
)
def test_every_weight_learns_and_logits_are_dense(name, channels, organs, overlapping, size_px):
    torch.manual_seed(0)
    classes = organs if overlapping else organs + 1
    network = small(name, channels, classes, overlapping=overlapping)
    images = torch.randn(2, channels, *size_px)
    masks = (torch.rand(2, organs, *size_px) > 0.6).to(torch.uint8)
    loss = loss_of(name, overlapping=overlapping)(trained_with(network, images, masks), masks)
    assert loss.ndim == 0
    loss.backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # What a normalisation takes away again has no gradient but of rounding.
    learning = (each for each in still if not any(part in each for part in IDLE))
    assert [each for each in learning if not each.endswith("bias")] == []
    for mode in (True, False):
        with torch.no_grad():
            assert network.train(mode)(images).shape == (2, classes, *size_px)


@every_network
def test_a_copy_of_the_state_gives_the_same_logits_and_so_does_torchscript(name):
    torch.manual_seed(1)
    network, other = small(name, 3, 2), small(name, 3, 2)
    network(torch.randn(4, 3, 48, 48))  # statistics that are not the identity
    network.eval()
    kept = io.BytesIO()
    torch.save(network.state_dict(), kept)
    kept.seek(0)
    other.load_state_dict(torch.load(kept, weights_only=True))
    script = torch.jit.script(copy.deepcopy(network))
    with torch.inference_mode():
        for size_px in ((48, 48), (37, 65), (9, 5)):
            images = torch.randn(2, 3, *size_px)
            expected = network(images)
            assert torch.equal(other.eval()(images), expected)
            assert torch.allclose(script(images), expected, atol=1e-5)


def compiled(name, backend):
    """Return a small network's logits, and those of its compiled copy."""
    torch.manual_seed(2)
    torch.compiler.reset()
    network = small(name, 3, 2).eval()
    images = torch.randn(2, 3, 48, 56)
    copied = torch.compile(network, backend=backend, dynamic=False)
    with torch.no_grad():
        return network(images), copied(images)


@every_network_slowly
def test_the_compiler_can_follow(name):
    expected, found = compiled(name, "eager")
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # while inductor is imported
@every_network
def test_compiled_code_gives_the_same_logits(name):
    expected, found = compiled(name, "inductor")
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.slow
@every_network
def test_an_exported_graph_gives_the_same_logits(name):
    torch.manual_seed(4)
    network, images = small(name, 3, 2).eval(), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        graph = torch.export.export(network, (images,)).module()
        assert torch.allclose(graph(images), network(images), atol=1e-5)


@every_network
def test_bfloat16_is_near_float32(name):
    torch.manual_seed(2)
    network = small(name, 3, 2)
    images = torch.randn(4, 3, 48, 48)
    network(images)
    network.eval()
    with torch.inference_mode():
        expected = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(images).float()
    assert (found - expected).abs().mean() < 0.02 * expected.abs().mean() + 0.01


def drawn_without_chance(network):
    """Fill the network's parameters by a rule that no random generator has a part in."""
    for number, parameter in enumerate(network.parameters()):
        wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + number)
        share = 1.0 if parameter.ndim == 1 else (2 / parameter[0].numel()) ** 0.5
        parameter.data = (wave * share + (parameter.ndim == 1)).reshape(parameter.shape).float()
    return network.eval()


@pytest.mark.parametrize(("name", "expected"), [pytest.param(*row, id=row[0]) for row in GOLDEN])
def test_logits_are_those_of_the_day_it_was_written(name, expected):
    network = drawn_without_chance(small(name, 2, 2))
    images = torch.cos(torch.arange(2 * 40 * 56, dtype=torch.float32) * 0.13).reshape(1, 2, 40, 56)
    with torch.inference_mode():
        logits = network(images)
    found = [*logits[0, 0, 3::17, 50].tolist(), *logits[0, 1, 39, 5::23].tolist()]
    scale = max(map(abs, expected))
    assert found == pytest.approx(expected, abs=1e-5 * scale)


@pytest.fixture(scope="module")
def batch(tiny_phantom):
    """Four slices with organs of the phantom, ``(4, 1, 64, 64)``, and their masks."""
    manifest = read_manifest("uwmgi")
    scan = read_scans(tiny_phantom, manifest)[0]
    masks = np.stack(read_reference(scan, manifest.labels).masks)  # (C, I, J, K)
    fullest = np.sort(np.argsort(masks.any(0).sum((0, 1)))[-4:])
    images = np.stack([read_slice(scan.slice_files[k]) for k in fullest]).astype(np.float32)
    images = (images - images.mean()) / images.std()
    chosen = masks[..., fullest].transpose(3, 0, 2, 1)
    middle = (..., slice(8, 72), slice(8, 72))
    return torch.from_numpy(images)[:, None][middle], torch.from_numpy(chosen[middle]).float()


# Where 0.005 is not what the network learns by heart with.
RATES = {"segformer": 1e-2, "maskformer, swin": 2e-3}


@every_network_slowly
def test_one_batch_is_learnt_by_heart(name, batch):
    torch.manual_seed(3)
    images, masks = batch
    network = small(name, 1, masks.shape[1])
    rate = RATES.get(name, 5e-3)
    loss_fn, optimizer = loss_of(name), torch.optim.Adam(network.parameters(), lr=rate)
    dice = 0.0
    for step in range(800):
        loss = loss_fn(trained_with(network, images, masks), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            with torch.no_grad():
                found = network(images) > 0
            common, both = (found * masks).sum(), found.sum() + masks.sum()
            dice = float(2 * common / both)
            if dice > 0.95:
                break
    assert dice > 0.95
