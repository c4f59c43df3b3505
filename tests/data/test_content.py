"""What a key is made of: equal things are described alike, different ones are not."""

import functools
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Flipd, RandFlipd, ScaleIntensityd, Spacingd

from medseg.data.content import content_hash, describe
from medseg.transforms import preprocessing


class Mode(Enum):
    FAST = 1


@dataclass
class Window:
    low: float
    high: float
    _cache: int = 0


def plain(item):
    return item


@pytest.mark.parametrize(
    ("thing", "description"),
    [
        pytest.param(None, None, id="nothing"),
        pytest.param((1, 2.5, "a", True), [1, 2.5, "a", True], id="plain values"),
        pytest.param({"b": 1, 2: [3]}, {"b": 1, "2": [3]}, id="a mapping"),
        pytest.param({3, 1, 2}, [1, 2, 3], id="a set, sorted"),
        pytest.param(np.arange(2, dtype=np.int32), ["<i4", [0, 1]], id="an array"),
        pytest.param(np.float32(0.5), ["<f4", 0.5], id="a numpy scalar"),
        pytest.param(torch.tensor([1.5]), ["<f4", [1.5]], id="a tensor"),
        pytest.param(torch.float16, "torch.float16", id="a dtype"),
        pytest.param(torch.device("cpu"), "cpu", id="a device"),
        pytest.param(Path("a/b"), "a/b", id="a path"),
        pytest.param(Mode.FAST, f"{__name__}.Mode.FAST", id="an enumeration"),
        pytest.param(plain, f"{__name__}.plain", id="a function"),
        pytest.param(Window, f"{__name__}.Window", id="a class"),
        pytest.param(
            Window(0, 1), {"class": f"{__name__}.Window", "low": 0, "high": 1}, id="an object"
        ),
        pytest.param(
            functools.partial(plain, 3), ["partial", f"{__name__}.plain", [3], {}], id="a partial"
        ),
    ],
)
def test_things_are_described_by_class_and_public_parameters(thing, description):
    assert describe(thing) == description


def test_a_compose_is_the_list_of_its_transforms():
    chain = Compose([Flipd("image", spatial_axis=0), Compose([plain])])
    flip, inner = describe(chain)
    assert flip["class"] == "monai.transforms.spatial.dictionary.Flipd"
    assert flip["keys"] == ["image"]
    assert flip["flipper"]["spatial_axis"] == 0
    assert inner == [f"{__name__}.plain"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param(Flipd("image", 0), Flipd("image", 1), id="a nested parameter"),
        pytest.param(Flipd("image", 0), Flipd("label", 0), id="the keys"),
        pytest.param(Spacingd("image", (1, 1, 1)), Spacingd("image", (1, 1, 2)), id="the spacing"),
        pytest.param(lambda x: x + 1, lambda x: x + 2, id="a constant in a lambda"),
        pytest.param(lambda x: x.min(), lambda x: x.max(), id="a name in a lambda"),
        pytest.param(
            preprocessing(["image"], roi_px=(32, 32)),
            preprocessing(["image"], roi_px=(32, 48)),
            id="medseg's own chain",
        ),
    ],
)
def test_different_transforms_are_described_differently(a, b):
    assert describe(a) != describe(b)


def test_equal_transforms_are_described_alike():
    for make in (
        lambda: preprocessing(organs=("a",)),
        lambda: Compose([RandFlipd("image", 0.5), ScaleIntensityd("image")]),
        lambda: [lambda x: x + 1],
    ):
        assert describe(make()) == describe(make())


def test_random_state_is_no_parameter():
    one, other = RandFlipd("image", 0.5), RandFlipd("image", 0.5)
    one.set_random_state(1)
    other.set_random_state(2)
    assert describe(one) == describe(other)


def test_the_names_of_scan_and_case_do_not_count(tmp_path):
    file = tmp_path / "scan.nii"
    file.write_bytes(b"voxels")
    one = content_hash({"scan_id": "a", "case_id": "b", "image": file}, tmp_path / "index")
    assert one == content_hash({"scan_id": "c", "case_id": "d", "image": str(file)}, tmp_path / "i")


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path):
    file = tmp_path / "scan.nii"
    file.write_bytes(b"voxels")
    first = content_hash({"image": file}, tmp_path / "index")
    (remembered,) = (tmp_path / "index").iterdir()
    remembered.write_text("remembered")
    assert content_hash({"image": file}, tmp_path / "index") == "remembered"
    file.write_bytes(b"VOXELS")
    assert content_hash({"image": file}, tmp_path / "index") not in ("remembered", first)


def test_a_missing_file_has_a_hash_of_its_own(tmp_path):
    # Reading it will raise the error that names it.
    assert content_hash({"image": tmp_path / "none.nii"}, tmp_path / "index")


def test_other_entries_of_an_item_count(tmp_path):
    a, b = (content_hash({"window": w}, tmp_path) for w in (Window(0, 1), Window(0, 2)))
    assert a != b
