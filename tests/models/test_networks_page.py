"""docs/networks.md names every network, and its figures are what is measured."""

import inspect
import re

import pytest
import torch

from medseg import models
from medseg.engine import cost_of


def rows(repository):
    """Return the page's table by preset: paper, origin, parameters, GMACs, padding."""
    text = (repository / "docs" / "networks.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, flags=re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in table}


PRESETS = [name for name in models.__all__ if inspect.isfunction(getattr(models, name))]


def built(name):
    with torch.device("meta"):
        return getattr(models, name)(out_channels=4)


def test_every_network_has_a_row(repository):
    assert set(rows(repository)) == set(PRESETS)


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PRESETS])
def test_parameters_are_those_of_the_page(repository, name):
    told = int(rows(repository)[name][2].replace(" ", ""))
    assert sum(each.numel() for each in built(name).parameters()) == told


# The others take too long together.
QUICK = {"segformer_b0", "unet", "deeplabv3plus_r50", "mednext_b"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name in PRESETS
    ],
)
def test_multiplications_are_those_of_the_page(repository, name):
    cost = cost_of(built(name), in_channels=3, size_px=(288, 288))
    assert f"{cost.macs / 1e9:.2f}" == rows(repository)[name][3]


# One of each make.
PADDED = ["segformer_b0", "unet", "xopinet", "resunet", "unext", "vit_s16", "unetr_s16"]
PADDED += ["maskformer_r18", "maskdino_r18", "dynunet", "mednext_s", "upernet_convnextv2_nano"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PADDED])
def test_images_are_padded_to_the_multiple_of_the_page(repository, name):
    """An image costs what the padded one costs, and less than one of a pixel more."""
    multiple = int(rows(repository)[name][4].removesuffix(" px"))
    network, side = built(name), 5 * multiple
    for step in ((1, 0), (0, 1)):
        short, full, more = (
            cost_of(network, in_channels=3, size_px=(side + n * step[0], side + n * step[1])).macs
            for n in (-1, 0, 1)
        )
        # But for the last product of those that answer with segments, which comes after cropping.
        assert short == pytest.approx(full, rel=1e-3)
        assert more > 1.01 * full
