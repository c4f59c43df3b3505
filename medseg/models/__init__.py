"""Networks, one paper a file; each published size is a small function with the same arguments.

``network(images)`` takes ``(B, C, H, W)`` of any height and width and returns logits
``(B, K, H, W)``: that is all that inference, scoring and export ask of a network.

A network that has more to say while it learns has the class attribute ``takes_masks = True``. Then
the training step calls ``network(images, masks)`` with the organ masks ``(B, organs, H, W)``, and
what that returns goes to a loss made for it: logits at several sizes (`medseg.losses`'
``deep_supervision``), or the segments of a mask-classification network (`medseg.queries`).

The class attribute ``encoder_names`` lists the modules that are the encoder, which may be
pretrained; all others are the head, which may learn faster (`medseg.engine.parameter_groups`).
"""

from medseg.models.deeplabv3plus import (
    DeepLabV3Plus,
    deeplabv3plus_r18,
    deeplabv3plus_r50,
    deeplabv3plus_r101,
)
from medseg.models.dynamic_unet import DynUNet, dynunet
from medseg.models.mask_dino import MaskDINO, maskdino_r18, maskdino_r50
from medseg.models.maskformer import (
    MaskFormer,
    maskformer_r18,
    maskformer_r50,
    maskformer_swin_t,
)
from medseg.models.mednext import MedNeXt, mednext_b, mednext_s
from medseg.models.residual_unet import ResUNet, resunet
from medseg.models.segformer import (
    SegFormer,
    segformer_b0,
    segformer_b1,
    segformer_b2,
    segformer_b3,
    segformer_b4,
    segformer_b5,
)
from medseg.models.shifted_mlp import UNeXt, unext, unext_paper
from medseg.models.unetr import UNETR, unetr_b16, unetr_s16
from medseg.models.unets import UNet, potinet, unet, xopinet
from medseg.models.unpooling import UnpoolingAutoencoder, autoencoder, autoencoder_inception
from medseg.models.upernet import UPerNet, upernet_convnextv2_nano, upernet_convnextv2_tiny
from medseg.models.vision_transformer import ViTSegmenter, vit_b16, vit_s16

__all__ = [
    "UNETR",
    "DeepLabV3Plus",
    "DynUNet",
    "MaskDINO",
    "MaskFormer",
    "MedNeXt",
    "ResUNet",
    "SegFormer",
    "UNeXt",
    "UNet",
    "UPerNet",
    "UnpoolingAutoencoder",
    "ViTSegmenter",
    "autoencoder",
    "autoencoder_inception",
    "deeplabv3plus_r18",
    "deeplabv3plus_r50",
    "deeplabv3plus_r101",
    "dynunet",
    "maskdino_r18",
    "maskdino_r50",
    "maskformer_r18",
    "maskformer_r50",
    "maskformer_swin_t",
    "mednext_b",
    "mednext_s",
    "potinet",
    "resunet",
    "segformer_b0",
    "segformer_b1",
    "segformer_b2",
    "segformer_b3",
    "segformer_b4",
    "segformer_b5",
    "unet",
    "unetr_b16",
    "unetr_s16",
    "unext",
    "unext_paper",
    "upernet_convnextv2_nano",
    "upernet_convnextv2_tiny",
    "vit_b16",
    "vit_s16",
    "xopinet",
]
