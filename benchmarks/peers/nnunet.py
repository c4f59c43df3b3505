"""nnU-Net's 2D predictor, for `medseg.bench.inference`: runs in an environment with nnU-Net.

Its network is medseg's SegFormer-b0; window, tiles, mirroring and the sum of tiles are its own. On
a CPU nnU-Net computes in float32 and sums in float16, on a GPU all is float16.
"""

from functools import cache

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medseg.bench.measure import Timed, timed
from medseg.bench.peers import serve
from medseg.models import segformer_b0

_LABELS = {"background": 0, "large_bowel": 1, "small_bowel": 2, "stomach": 3}


def predict(
    *, weights: str, volume: str, result: str, patch_px: int, shipped: bool, device: str
) -> Timed:
    """Write the labels ``(K, J, I)`` of a volume ``(K, J, I)``; the files are not timed.

    Args:
        weights: The state of a SegFormer-b0 of one channel.
        volume: A NumPy file.
        result: The NumPy file to write.
        patch_px: Rows and columns of a tile.
        shipped: Tiles half a tile apart, Gaussian weights, and mirrored along both axes; else tiles
            beside each other, equal weights, nothing mirrored.
        device: What computes.
    """
    given = predictor(weights, patch_px, device, shipped=shipped)
    slices = torch.from_numpy(np.load(volume))

    def labels() -> torch.Tensor:
        logits = given.predict_sliding_window_return_logits(slices[None])
        if shipped:
            return given.label_manager.convert_logits_to_segmentation(logits).cpu()
        return logits.argmax(0).cpu()

    done = timed(labels)
    np.save(result, done.output.numpy().astype(np.uint8))
    return done._replace(output=result)


@cache
def predictor(weights: str, patch_px: int, device: str, *, shipped: bool) -> nnUNetPredictor:
    """Return a predictor of nnU-Net with medseg's network in it."""
    network = segformer_b0(in_channels=1, out_channels=len(_LABELS))
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    made = nnUNetPredictor(
        tile_step_size=0.5 if shipped else 1.0,
        use_gaussian=shipped,
        use_mirroring=shipped,
        device=torch.device(device),
        allow_tqdm=False,
    )
    # Of an architecture only its names are asked, as the network is there already.
    architecture = dict.fromkeys(("network_class_name", "arch_kwargs", "_kw_requires_import"), ())
    configuration = {"patch_size": [patch_px, patch_px], "architecture": architecture}
    plans = PlansManager({"plans_name": "2D", "configurations": {"2d": configuration}})
    made.manual_initialization(
        network,
        plans,
        plans.get_configuration("2d"),
        None,
        {"labels": _LABELS},
        "nnUNetTrainer",
        (0, 1),
    )
    return made


serve(predict)
