"""Parts of a configuration that do not fit each other are told before anything is built."""

import pytest

from medseg import resources
from medseg.bundle import find_bundle, overridden
from medseg.bundle.fitting import misfits

DICE_BCE = {"_target_": "medseg.losses.dice_bce"}
DEEP = {"_target_": "medseg.losses.deep_supervision", "loss": DICE_BCE}
SEGMENTS = {"_target_": "medseg.losses.mask_classification", "overlapping": True}


def told(**changes):
    config = find_bundle("uwmgi_segformer").config("train")
    return [str(problem) for problem in misfits({**config, **changes})]


def test_the_shipped_bundles_fit():
    for name in resources.names("bundles"):
        config = overridden(find_bundle(name).config("train", "demo"), {}, subject=name)
        assert list(misfits(config)) == []


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        pytest.param(DICE_BCE, "dice_bce", id="by what it is"),
        pytest.param({"_target_": "medseg.losses.dice"}, "dice", id="by its default"),
        pytest.param(
            {"_target_": "medseg.losses.dice", "label_mode": "overlapping"}, "dice", id="as told"
        ),
        pytest.param(DEEP, "dice_bce", id="inside another"),
        pytest.param(SEGMENTS, "mask_classification", id="of segments"),
    ],
)
def test_a_loss_for_the_other_labels_is_told(loss, name):
    assert told(loss=loss) == [
        f"error[E-MODEL]: loss: {name} is for overlapping labels "
        "(expected one for exclusive labels). Fix: set loss and label_mode together."
    ]
    assert not any("loss" in text for text in told(loss=loss, label_mode="overlapping"))
