"""Compiling the training step, and what happens where that cannot be."""

import logging

import pytest
import torch
from torch import nn

from medseg.engine.compiling import compiled

IMAGES = torch.linspace(0, 1, 2 * 16 * 16).reshape(2, 1, 16, 16)


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """Nothing compiled before, and nothing left in the user's cache."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()


def network():
    """A network with all that a rehearsal could disturb: statistics, a count, and chance."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 8, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, 4, 1))


def state(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def assert_untouched(module, before, rng):
    assert list(module.state_dict()) == list(before)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def assert_one_warning(caplog, words):
    (record,) = [each for each in caplog.records if each.name.startswith("medseg")]
    assert record.levelno == logging.WARNING
    assert "warning[W-COMPILE]" in record.getMessage()
    assert words in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # while inductor is imported
def test_without_a_cpp_compiler_the_network_computes_as_it_is(caplog):
    from torch._inductor import config

    module = network()
    before, rng = state(module), torch.get_rng_state()
    with config.patch({"cpp.cxx": (None, "/nowhere/c++")}):
        assert compiled(module, IMAGES, mode="default") is module
    assert_one_warning(caplog, "No working C++ compiler found")
    assert_untouched(module, before, rng)


def test_a_backward_pass_that_cannot_be_compiled_counts_too(monkeypatch, caplog):
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, images):
            return images.clone()

        @staticmethod
        def backward(_ctx, _gradient):
            raise RuntimeError("no kernel\nand a long story")

    monkeypatch.setattr(torch, "compile", lambda module, **_: lambda x: Fails.apply(module(x)))
    module = network()
    before, rng = state(module), torch.get_rng_state()
    assert compiled(module, IMAGES, mode="default") is module
    assert_one_warning(caplog, "failed: no kernel.")
    assert_untouched(module, before, rng)


def test_batches_of_another_size_are_not_compiled(monkeypatch):
    sizes = []

    def compile_(module, **_):
        return lambda x: sizes.append(len(x)) or module(x)

    monkeypatch.setattr(torch, "compile", compile_)
    step = compiled(network(), IMAGES, mode="default")
    assert step(IMAGES).shape == (2, 4, 16, 16)
    assert step(IMAGES[:1]).shape == (1, 4, 16, 16)
    assert sizes == [2, 2]  # the rehearsal and the first


def test_what_is_compiled_is_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen = []

    def compile_(module, **_):
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        seen.append(cache_dir())
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    compiled(network(), IMAGES, mode="default")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert seen == [str(tmp_path / "cache" / "medseg" / "inductor")]


@pytest.mark.slow
def test_a_compiled_step_computes_the_same():
    module, images = network().double(), IMAGES.double()
    module[2].p = 0.0
    before, rng = state(module), torch.get_rng_state()
    step = compiled(module, images, mode="default")
    assert step is not module
    assert_untouched(module, before, rng)
    found = []
    for forward in (step, module):
        logits = forward(images)
        found.append([logits, *torch.autograd.grad(logits.square().mean(), module.parameters())])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)
