"""SegFormer beside transformers' own: both sides return the same before any time counts."""

import pytest
import torch

from medseg.bench.networks import works
from medseg.engine.device import amp_dtype


def test_float32_gives_the_same_logits_and_gradients(tmp_path):
    found = [w for w in works(tmp_path, sizes=("b0",), batch=2, side_px=64) if w.name[-2:] == "32"]
    forward, step = found
    assert "forward" in forward.name
    assert "training step" in step.name
    assert "logits equal within" in forward.same(forward.ours(), forward.theirs())
    own, other = step.ours(), step.theirs()
    assert "gradients within" in step.same(own, other)
    with pytest.raises(AssertionError, match="logits differ by"):
        step.same([own[0] * 1.01, *own[1:]], other)
    with pytest.raises(AssertionError, match="gradients differ by"):
        step.same([own[0], *(2 * gradient for gradient in own[1:])], other)


@pytest.mark.skipif(
    amp_dtype(torch.device("cpu")) is None, reason="this processor emulates bfloat16"
)
def test_bfloat16_gives_nearly_the_same(tmp_path):
    found = [w for w in works(tmp_path, sizes=("b0",), batch=2, side_px=64) if "bfloat16" in w.name]
    assert [work.against for work in found] == 2 * [
        "transformers, float32",
        "transformers, bfloat16",
    ]
    for work in found:
        assert "of the pixels get the same class" in work.same(work.ours(), work.theirs())
    own = found[-1].ours()
    with pytest.raises(AssertionError, match="pixels get the same class"):
        found[-1].same([-own[0], *own[1:]], own)
    with pytest.raises(AssertionError, match=r"the cosine of the gradients is -1\.000"):
        found[-1].same([own[0], *(-gradient for gradient in own[1:])], own)


def test_each_size_aims_at_its_own_ratio(tmp_path):
    reaches = {work.name.split()[0]: work.reach for work in works(tmp_path, batch=1, side_px=32)}
    assert reaches == {"SegFormer-b0": 1.5, "SegFormer-b2": 2.1}
