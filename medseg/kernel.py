"""Loops over pixels, compiled to machine code when they are first called.

The machine code is kept beside the source file or in the user's cache folder, and used by the next
process. Where neither can be written, each process compiles anew: seconds, once.

Arguments are checked before a kernel is called: it reads and writes where it is told, without
looking whether that is inside the array.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def kernel(loop: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of arrays and numbers; other threads run while it does."""
    return _compiled(loop, fastmath=False)


def fused_kernel(loop: Callable[P, R]) -> Callable[P, R]:
    """Compile likewise; products and sums may become one operation, which rounds once."""
    return _compiled(loop, fastmath={"contract"})


def _compiled(loop: Callable[P, R], *, fastmath: bool | set[str]) -> Callable[P, R]:
    try:
        compiled: Callable[P, R] = njit(cache=True, nogil=True, fastmath=fastmath)(loop)
    except RuntimeError:  # numba finds no place to keep it
        compiled = njit(nogil=True, fastmath=fastmath)(loop)
    return compiled
