"""What docs/training.md says to write can be written, and nothing that there is goes unsaid."""

import inspect
import json
import re
from pathlib import Path

import pytest
import torch

from medseg import engine, losses
from medseg.bundle import Opened, find_bundle, overridden
from medseg.bundle.fitting import misfits

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.S | re.M)]
BUNDLE = "uwmgi_segformer"


def short(block):
    return re.sub(r"[^\w.]+", " ", json.dumps(block))[:70]


@pytest.mark.parametrize("block", [pytest.param(block, id=short(block)) for block in BLOCKS])
def test_what_is_shown_is_built(block):
    network_def = {"_target_": "medseg.models.unext", "in_channels": 1, "out_channels": 4}
    parts = {"network_def": network_def, "steps": 40, "device": "cpu"}
    config = overridden(find_bundle(BUNDLE).config("train") | parts, block, subject="page")
    assert list(misfits(config)) == []
    opened = Opened(config)
    network, schedule = opened["network"].train(), opened["lr_scheduler"]
    masks = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    masks[0, :, :20] = 1
    images = torch.randn(2, 1, 64, 64)
    takes = getattr(network, "takes_masks", False)
    loss = opened["loss"](network(images, masks) if takes else network(images), masks)
    loss.backward()
    opened["optimizer"].step()
    waits = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
    schedule.step(*([0.5] if waits else []))
    assert loss.isfinite()


def test_every_loss_is_told():
    factories = {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))}
    told = set(re.findall(r"`medseg\.losses\.(\w+)`", PAGE))
    assert told == factories - {"exclusive_classes"}


def test_every_value_of_a_loss_and_of_a_schedule_is_told():
    factories = [losses.dice, losses.dice_ce, losses.dice_bce]
    factories += [engine.warmup_cosine, engine.warmup_poly, engine.parameter_groups]
    values = {name for each in factories for name in inspect.signature(each).parameters}
    written = set(re.findall(r"[`\"](\w+)[`\"]", PAGE))
    assert values - written == set()


def test_defaults_are_those_of_the_bundle():
    config = find_bundle(BUNDLE).config("train")
    steering = PAGE.partition("## Steering")[2]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", steering, re.M)
    rows += re.findall(r"^- `(\w+)` \((\w+)\)", PAGE, re.M)
    assert len(rows) == 7
    assert {name: json.loads(default) for name, default in rows} == {
        name: config[name] for name, _ in rows
    }


def test_every_name_of_medseg_on_the_page_is_there():
    homes = {"losses": losses, "engine": engine}
    for home, name in re.findall(r"medseg\.(losses|engine)\.(\w+)", PAGE):
        assert name in homes[home].__all__
