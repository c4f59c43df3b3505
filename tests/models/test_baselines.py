"""Networks of MONAI and transformers: the same logits as theirs, and sizes that theirs refuse."""

import pytest
import torch
from monai.networks import nets
from torch import nn
from transformers import (
    ConvNextV2Backbone,
    ConvNextV2Config,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)
from transformers.models.upernet.modeling_upernet import UperNetHead

from medseg import models
from medseg.models.normalisation import PooledNorm


def small_unetr(trained_px=48):
    return nets.UNETR(
        2,
        3,
        img_size=trained_px,
        feature_size=4,
        hidden_size=24,
        mlp_dim=48,
        num_heads=3,
        spatial_dims=2,
    )


def small_dynunet():
    return nets.DynUNet(
        2,
        2,
        3,
        kernel_size=[3] * 5,
        strides=[1, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 4,
        filters=[4, 8, 12, 16, 20],
        res_block=True,
        deep_supervision=True,
        deep_supr_num=3,
    )


def small_mednext(deep_supervision=True):
    return nets.MedNeXt(
        2,
        4,
        2,
        3,
        kernel_size=3,
        deep_supervision=deep_supervision,
        use_residual_connection=True,
        blocks_down=(1, 1),
        blocks_bottleneck=1,
        blocks_up=(1, 1),
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        pytest.param(small_unetr(), models.UNETR, id="UNETR"),
        pytest.param(small_dynunet(), models.DynUNet, id="DynUNet"),
        pytest.param(small_mednext(), models.MedNeXt, id="MedNeXt"),
    ],
)
def test_logits_are_monais_where_monai_takes_the_size(theirs, ours):
    images = torch.randn(2, 2, 48, 48)
    with torch.inference_mode():
        expected = theirs.eval()(images)
        assert torch.equal(ours(theirs)(images), expected)


def test_logits_are_those_of_transformers():
    backbone = ConvNextV2Config(
        num_channels=2,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 2, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = UperNetConfig(
        backbone_config=backbone, hidden_size=16, num_labels=3, use_auxiliary_head=False
    )
    theirs = UperNetForSemanticSegmentation(config).eval()
    ours = models.UPerNet(
        ConvNextV2Backbone(backbone), UperNetHead(config, backbone.hidden_sizes)
    ).eval()
    theirs.train()(torch.randn(2, 2, 64, 64))  # statistics that are not the identity
    ours.load_state_dict(renamed(theirs.state_dict()))
    images = torch.randn(2, 2, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(ours(images), theirs.eval()(images).logits, atol=1e-6)


def renamed(state):
    """Return transformers' names as ours."""
    rows = {}
    for name, value in state.items():
        new = name.removeprefix("backbone.").removeprefix("encoder.")
        if new.startswith("hidden_states_norms."):
            _, stage, part = new.split(".")
            new = f"norms.{int(stage[-1]) - 1}.{part}"
        rows[new] = value
    return rows


def test_logits_at_coarser_sizes_are_monais():
    """MONAI's DynUNet enlarges them all to the image's size, to the nearest pixel."""
    theirs, images = small_dynunet(), torch.randn(2, 2, 48, 48)
    found = models.DynUNet(theirs)(images, torch.zeros(2, 3, 48, 48))
    assert [each.shape[-1] for each in found] == [48, 24, 12, 6]
    for each, expected in zip(found, theirs.train()(images).unbind(1), strict=True):
        enlarged = nn.functional.interpolate(each, (48, 48))
        assert torch.allclose(enlarged, expected, atol=1e-6)

    theirs = small_mednext()
    found = models.MedNeXt(theirs)(images, torch.zeros(2, 3, 48, 48))
    for each, expected in zip(found, theirs.train()(images), strict=True):
        assert torch.equal(each, expected)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(models.DynUNet(small_dynunet()), id="DynUNet"),
        pytest.param(models.MedNeXt(small_mednext()), id="MedNeXt"),
    ],
)
def test_coarser_logits_cover_the_image_and_no_padding(network):
    sizes = [each.shape[-2:] for each in network(torch.zeros(1, 2, 21, 37), torch.zeros(1))]
    assert sizes[:3] == [(21, 37), (11, 19), (6, 10)]


def test_without_deep_supervision_mednext_takes_no_masks():
    assert models.MedNeXt(small_mednext()).takes_masks
    network = models.MedNeXt(small_mednext(deep_supervision=False))
    assert not network.takes_masks


def test_position_embeddings_lie_where_their_patches_lie():
    """Embeddings that are a slope from left to right stay one at another size."""
    network = models.UNETR(small_unetr(trained_px=96))
    slope = torch.arange(6.0).repeat(6, 1).reshape(1, 36, 1)
    network.vit.patch_embedding.position_embeddings.data = slope.repeat(1, 1, 24)
    assert torch.equal(network._positions(6, 6), slope.repeat(1, 1, 24))
    found = network._positions(2, 12)[0, :, 0].reshape(2, 12)
    assert torch.allclose(found[0], found[1])
    # Columns of 8 px have their centres a quarter of a patch beside those of 16 px. Cubic curves
    # through a slope sway a little.
    assert torch.allclose(found[0, 4:8], torch.tensor([1.75, 2.25, 2.75, 3.25]), atol=0.06)


@pytest.mark.parametrize("build", [
    pytest.param(models.dynunet, id="dynunet"), pytest.param(models.mednext_s, id="mednext"),
])  # fmt: skip
def test_an_image_of_one_deepest_pixel_is_trained_on(build):
    network = build(in_channels=1, out_channels=1)
    assert network(torch.randn(1, 1, 16, 16)).std() > 0


def test_one_image_is_normalised_by_running_statistics():
    norm = PooledNorm(2)
    several = torch.tensor([[1.0, 2.0], [3.0, 6.0]])[..., None, None]
    assert torch.allclose(norm(several)[:, 0, 0, 0], torch.tensor([-1.0, 1.0]), atol=1e-4)
    kept = {name: value.clone() for name, value in norm.state_dict().items()}
    assert kept["num_batches_tracked"] == 1
    mean, variance = 0.1 * 2, 0.9 + 0.1 * 2  # a tenth of the batch's, unbiased
    expected = (1.0 - mean) / (variance + norm.eps) ** 0.5
    assert norm(several[:1])[0, 0].item() == pytest.approx(expected)
    assert all(torch.equal(kept[name], value) for name, value in norm.state_dict().items())
    assert norm.eval()(several[:1])[0, 0].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(models.deeplabv3plus_r18, id="DeepLabv3+"),
        pytest.param(models.upernet_convnextv2_nano, id="UPerNet"),
    ],
)
def test_pooled_branches_train_on_one_image(build):
    network = build(in_channels=1, out_channels=1).train()
    assert network(torch.randn(1, 1, 64, 64)).isfinite().all()
