"""The short form of the works: what ``medseg bench`` measures, on one thread, within minutes.

Its ratios are rougher than those of ``benchmarks/``, and what needs an environment of its own is
left out.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from medseg.bench.measure import Comparison, Work, compare
from medseg.errors import Problem


class Subject(NamedTuple):
    """Works of one kind: what they are about, where they are defined, and how small they run."""

    about: str
    module: str
    sizes: Mapping[str, Any]


SUBJECTS: Mapping[str, Subject] = {
    "reading": Subject(
        "a scan's PNG slices and labels, and all of it prepared",
        "medseg.bench.reading",
        {"slices": 48},
    ),
    "volumes": Subject(
        "resampling, and NIfTI written and read", "medseg.bench.volumes", {"slices": 48}
    ),
    "batches": Subject(
        "training batches, augmented", "medseg.bench.batches", {"batch_size": 8, "batches": 2}
    ),
    "networks": Subject(
        "SegFormer, forward and a training step",
        "medseg.bench.networks",
        {"sizes": ("b0",), "batch": 2},
    ),
    "training": Subject(
        "whole training loops", "medseg.bench.training", {"steps": 8, "batch_size": 4}
    ),
    "inference": Subject(
        "a whole scan through the network", "medseg.bench.inference", {"slices": 32, "steps": 30}
    ),
    "surface": Subject(
        "surface metrics of a scan's organs", "medseg.bench.surface", {"slices": 48}
    ),
    "tracking": Subject("steps logged in MLflow", "medseg.bench.tracking", {"steps": 100}),
    "startup": Subject("commands that need torch", "medseg.bench.startup", {}),
}


@contextmanager
def works(name: str, folder: Path, *, device: str) -> Iterator[list[Work]]:
    """Give the works of a subject at the size of the short form; their peers run in the block.

    Args:
        name: A key of `SUBJECTS`.
        folder: An empty folder to write to.
        device: What computes, for the subjects that leave it open.
    """
    subject = SUBJECTS[name]
    module = import_module(subject.module)
    open_for = signature(module.works).parameters
    given: dict[str, Any] = {"device": device} if "device" in open_for else {}
    with ExitStack() as stack:
        if "peers" in open_for:
            given["peers"] = stack.enter_context(module.Peers(hugging_face=False)).by_name
        yield module.works(folder, **subject.sizes, **given)


def measured(name: str, *, device: str, rounds: int) -> Iterator[Comparison | Problem]:
    """Yield what each work of a subject measured, or the problem of one whose results differ."""
    with tempfile.TemporaryDirectory() as folder, works(name, Path(folder), device=device) as found:
        for work in found:
            try:
                yield compare(work, rounds=rounds)
            except AssertionError as fault:
                differ = " ".join(str(fault).split()) or "the results differ"
                yield Problem("E-BENCH", f"{work.name}, against {work.against}", differ, "the same")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread within the block, in processes begun there too.

    Enter it before torch is imported for the first time: what OpenMP reads then stays.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
