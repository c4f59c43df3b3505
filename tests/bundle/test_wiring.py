"""New configurations are the template's text with other values in their places."""

import json

import pytest

from medseg import resources
from medseg.bundle.wiring import VALUES, laid_out, overlay, rewired, template


@pytest.mark.parametrize("name", ["train", "inference"])
def test_without_another_value_not_a_letter_changes(name):
    file = template().file(name)
    assert rewired(name, {}) == file.read_text()
    assert rewired(name, json.loads(file.read_text())) == file.read_text()


def test_a_value_is_put_in_its_place_and_its_neighbours_stay():
    values = {
        "epochs": 7,
        "head_factor": 10.0,
        "clip_norm": 0.5,
        "per_organ": True,
        "roi_px": [1, 2],
    }
    before, text = template().file("train").read_text(), rewired("train", values)
    assert json.loads(text) == json.loads(before) | {
        k: v for k, v in values.items() if k != "per_organ"
    }
    changed = [b for a, b in zip(before.splitlines(), text.splitlines(), strict=True) if a != b]
    assert changed == [
        '  "roi_px": [1, 2],',
        '  "epochs": 7,',
        '  "head_factor": 10.0, "decay_all": true, "clip_norm": 0.5, "ema_decay": null,',
    ]


def test_an_entry_of_a_section_is_not_taken_for_a_value():
    """The inferer has a ``neighbours`` of its own, a reference."""
    text = rewired("inference", {"neighbours": 5})
    assert json.loads(text)["inferer"]["neighbours"] == "@neighbours"


def test_a_long_section_goes_on_in_further_lines():
    section = {
        "_target_": "a" * 80,
        "b": ["c" * 40, "d" * 40],
        "e": {"f": 1},
        "g": "h" * 150,
        "i": 2,
    }
    text = laid_out(section, 10)
    assert json.loads(text) == section
    assert [len(line) <= 180 for line in text.splitlines()] == [True] * 3
    assert [line[:8] for line in text.splitlines()[1:]] == ['    "b":', '    "g":']


def test_an_overlay_has_an_entry_a_line():
    text = overlay({"_desc_": "x", "roi_px": [1, 2], "optimizer::lr": 0.5})
    assert text.splitlines() == [
        "{",
        '  "_desc_": "x",',
        '  "roi_px": [1, 2],',
        '  "optimizer::lr": 0.5',
        "}",
    ]


def test_every_value_is_one_of_the_template():
    known = {*template().written("train"), *template().written("inference")}
    assert known >= VALUES
    assert template().root == resources.shipped("bundles", "uwmgi_segformer")
