"""What is measured of a run where its network, or its labels, are of the other kind."""

import json

import pytest
import torch
from torch import nn

from medseg.bundle import find_bundle
from medseg.runs import Run
from medseg.stages.pipeline_measures import measure


class Sure(nn.Module):
    """Says of every pixel that it is the last of its channels."""

    def __init__(self, out_channels):
        super().__init__()
        logits = torch.full((out_channels,), -4.0)
        logits[-1] = 4.0
        self.logits = nn.Parameter(logits)

    def forward(self, images):
        return self.logits[None, :, None, None].expand(len(images), -1, *images.shape[-2:])


class WithMasks(Sure):
    """The same, but its training takes masks, and its loss no logits."""

    takes_masks = True


class Log:
    def __init__(self):
        self.kept = {}

    def log_metrics(self, metrics, **_when):
        self.kept |= metrics


def measured(data, folder, network, *, bundle="uwmgi_segformer", classes=4):
    """Return what is written and logged of a network that has learnt nothing."""
    settings = {"roi_px": [64, 64], "batch_size": 8, "folds": 3}
    settings["network_def"] = {"_target_": network, "out_channels": classes}
    config = find_bundle(bundle).config("train", "demo", settings=settings)
    places = {"dataset_dir": str(data), "store_dir": str(folder / "store"), "device": "cpu"}
    run, log = Run(folder, config | places), Log()
    (folder / "checkpoints").mkdir()
    torch.save(Sure(classes).state_dict(), folder / "checkpoints" / "last.pt")
    measure(run, log, roles=("test",), costs=False)
    return json.loads((folder / "measured.json").read_text())["test"], log.kept


@pytest.mark.parametrize(
    ("bundle", "classes"),
    [
        pytest.param("uwmgi_segformer", 4, id="one organ a pixel"),
        pytest.param("uwmgi_segformer_25d", 3, id="organs that overlap"),
    ],
)
def test_only_the_channel_that_is_sure_is_drawn(tiny_phantom, tmp_path, bundle, classes):
    name = f"{__name__}.Sure"
    side, logged = measured(tiny_phantom, tmp_path, name, bundle=bundle, classes=classes)
    large_bowel, small_bowel, stomach, _ = side["slices"]
    # Whoever draws nothing is right where there is nothing, and wrong everywhere else.
    for organ in (large_bowel, small_bowel):
        assert organ["dice"]["zero"] == 0
        assert organ["dice"]["one"] == pytest.approx(organ["n_empty"] / organ["n"])
    assert stomach["n_empty"] == 0
    assert 0 < stomach["dice"]["one"] < 0.5
    assert side["loss"] > 1
    assert logged == {"test/loss": side["loss"]}


def test_a_network_whose_loss_takes_no_logits_has_none(tiny_phantom, tmp_path):
    side, logged = measured(tiny_phantom, tmp_path, f"{__name__}.WithMasks")
    assert side["loss"] is None
    assert logged == {}
    assert len(side["slices"]) == 4
