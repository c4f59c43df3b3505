"""Kernels: compiled, kept, and working where nothing can be kept."""

import numpy as np
import pytest
from numba.core import caching

from medseg.kernel import kernel


def total(values):
    found = 0
    for value in values:
        found += value
    return found


def test_a_kernel_is_compiled_and_kept():
    compiled = kernel(total)
    assert compiled(np.arange(5)) == 10
    assert compiled.nopython_signatures
    assert compiled.stats.cache_path


def test_without_a_place_to_keep_it_a_kernel_works_all_the_same(monkeypatch):
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):
        caching.FunctionCache(total)
    assert kernel(total)(np.arange(5)) == 10
