"""Every network in a size that a test can train, and the losses that it is trained with."""

from monai.networks import nets
from torch import nn
from transformers import (
    ConvNextV2Backbone,
    ConvNextV2Config,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    ResNetBackbone,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    UperNetConfig,
    ViTConfig,
    ViTModel,
)
from transformers.models.maskformer.configuration_maskformer import MaskFormerDetrConfig
from transformers.models.upernet.modeling_upernet import UperNetHead

from medseg import losses, models
from medseg.models.mask_dino import MaskDINO, Sizes

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def segformer(channels, classes):
    config = SegformerConfig(
        num_channels=channels,
        num_labels=classes,
        hidden_sizes=[32, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=64,
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        attn_implementation="eager",
    )
    parts = SegformerForSemanticSegmentation(config)
    return models.SegFormer(parts.segformer, parts.decode_head)


def deeplabv3plus(channels, classes):
    config = ResNetConfig(
        num_channels=channels,
        embedding_size=16,
        hidden_sizes=[16, 32, 32, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
    )
    return models.DeepLabV3Plus(ResNetBackbone(config), classes, rates=(1, 2, 3))


def vit(channels, classes):
    config = ViTConfig(
        num_channels=channels,
        image_size=48,
        hidden_size=48,
        intermediate_size=96,
        num_attention_heads=3,
        num_hidden_layers=2,
    )
    return models.ViTSegmenter(ViTModel(config, add_pooling_layer=False), classes, head_channels=32)


def unetr(channels, classes):
    network = nets.UNETR(
        channels,
        classes,
        img_size=48,
        feature_size=8,
        hidden_size=24,
        mlp_dim=48,
        num_heads=3,
        spatial_dims=2,
    )
    return models.UNETR(network)


def dynunet(channels, classes):
    network = nets.DynUNet(
        2,
        channels,
        classes,
        kernel_size=[3] * 5,
        strides=[1, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 4,
        filters=[8, 12, 16, 24, 32],
        res_block=True,
        deep_supervision=True,
        deep_supr_num=3,
    )
    return models.DynUNet(network)


def mednext(channels, classes, *, deep_supervision=False):
    network = nets.MedNeXt(
        2,
        8,
        channels,
        classes,
        kernel_size=3,
        deep_supervision=deep_supervision,
        use_residual_connection=True,
        blocks_down=(1, 1, 1),
        blocks_bottleneck=1,
        blocks_up=(1, 1, 1),
    )
    return models.MedNeXt(network)


def upernet(channels, classes):
    encoder = ConvNextV2Config(
        num_channels=channels,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        out_features=STAGES,
    )
    decoder = UperNetConfig(backbone_config=encoder, hidden_size=32, num_labels=classes)
    return models.UPerNet(ConvNextV2Backbone(encoder), UperNetHead(decoder, encoder.hidden_sizes))


def maskformer_parts(channels, classes, *, backbone="resnet"):
    """Return transformers' MaskFormer, which ours is made of."""
    backbones = {
        "resnet": lambda: ResNetConfig(
            num_channels=channels,
            embedding_size=16,
            hidden_sizes=[16, 16, 32, 32],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=STAGES,
        ),
        "swin": lambda: SwinConfig(
            num_channels=channels,
            embed_dim=16,
            depths=[1, 2, 1, 1],
            num_heads=[1, 2, 2, 4],
            window_size=3,
            drop_path_rate=0.0,
        ),
    }
    decoder = MaskFormerDetrConfig(
        d_model=32,
        decoder_layers=3,
        decoder_ffn_dim=64,
        decoder_attention_heads=2,
        num_queries=5,
    )
    config = MaskFormerConfig(
        backbone_config=backbones[backbone](),
        decoder_config=decoder,
        fpn_feature_size=64,
        mask_feature_size=32,
        num_labels=classes,
    )
    return MaskFormerForInstanceSegmentation(config)


def maskformer(channels, classes, *, backbone="resnet", overlapping=True):
    parts = maskformer_parts(channels, classes, backbone=backbone)
    network = models.MaskFormer(parts, overlapping=overlapping)
    network.initialise()
    return network


def maskdino(channels, classes, *, overlapping=True, **settings):
    config = ResNetConfig(
        num_channels=channels,
        embedding_size=16,
        hidden_sizes=[16, 32, 32, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
    )
    sizes = Sizes(
        width=64,
        levels=4 if settings.get("two_stage") else 3,
        queries=10,
        encoder_layers=1,
        encoder_ffn=64,
        decoder_layers=2,
        decoder_ffn=64,
    )
    backbone = ResNetBackbone(config)
    network = MaskDINO(
        backbone, classes, sizes=sizes, denoising=12, overlapping=overlapping, **settings
    )
    for part in network.modules():
        if isinstance(part, nn.Linear) and not part.weight.any():
            # What begins at 0 keeps what feeds it from learning in the first step.
            nn.init.normal_(part.weight, std=0.02)
    return network


# Built with channels, classes and whether the organs overlap, which most need not know.
SMALL = {
    "segformer": lambda c, k, _: segformer(c, k),
    "unet": lambda c, k, _: models.UNet(c, k, base=8, levels=3),
    "unet without skips": lambda c, k, _: models.UNet(c, k, base=8, levels=3, skips=False),
    "resunet": lambda c, k, _: models.ResUNet(c, k, widths=(8, 16, 32)),
    "unext": lambda c, k, _: models.unext(in_channels=c, out_channels=k),
    "autoencoder": lambda c, k, _: models.UnpoolingAutoencoder(c, k, widths=(16, 32)),
    "inception": lambda c, k, _: models.UnpoolingAutoencoder(
        c, k, widths=(16, 32), blocks="inception"
    ),
    "deeplabv3plus": lambda c, k, _: deeplabv3plus(c, k),
    "vit": lambda c, k, _: vit(c, k),
    "unetr": lambda c, k, _: unetr(c, k),
    "dynunet": lambda c, k, _: dynunet(c, k),
    "mednext": lambda c, k, _: mednext(c, k),
    "mednext, deep": lambda c, k, _: mednext(c, k, deep_supervision=True),
    "upernet": lambda c, k, _: upernet(c, k),
    "maskformer": lambda c, k, o: maskformer(c, k, overlapping=o),
    "maskdino": lambda c, k, o: maskdino(c, k, overlapping=o),
    "maskdino, two stages": lambda c, k, o: maskdino(c, k, overlapping=o, two_stage=True),
    "maskformer, swin": lambda c, k, o: maskformer(c, k, backbone="swin", overlapping=o),
}
# Parts of the names of what no loss teaches: MONAI's UNETR and transformers' Swin have norms that
# they do not use, and the queries of MaskFormer are zero until they have looked at the image
# (Carion et al. 2020).
IDLE = (
    ".norm_cross_attn.",
    "pixel_level_module.encoder.model.layernorm",
    "transformer_module.decoder.layers.0.self_",
)


def small(name, channels, classes, *, overlapping=True):
    """Return a network by its name in `SMALL`."""
    return SMALL[name](channels, classes, overlapping)


def loss_of(name, *, overlapping=True):
    """Return what a network of `SMALL` is trained with."""
    if name.startswith("maskformer"):
        return losses.mask_classification(overlapping=overlapping)
    if name.startswith("maskdino"):
        return losses.mask_dino(overlapping=overlapping, points=500)
    loss = losses.dice_bce() if overlapping else losses.dice_ce()
    deep = name in {"dynunet", "mednext, deep"}
    return losses.deep_supervision(loss=loss) if deep else loss
