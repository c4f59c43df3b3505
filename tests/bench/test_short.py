"""The short form takes every subject as it is, small enough for anyone's machine."""

import os
import pkgutil
from importlib import import_module
from inspect import signature

import pytest
import torch

import medseg.bench
from medseg.bench import short
from medseg.bench.measure import Comparison, Work
from medseg.errors import Problem

# Measured by scripts alone: absolute figures, whole recipes, minutes for one round.
LONG = {"end_to_end"}


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in short.SUBJECTS])
def test_a_subject_takes_the_sizes_it_is_given(name):
    subject = short.SUBJECTS[name]
    works = import_module(subject.module).works
    peers = {"peers": {}} if "peers" in signature(works).parameters else {}
    assert signature(works).bind("folder", **subject.sizes, **peers)
    assert works.__annotations__["return"] in (list[Work], "list[Work]")


def test_every_subject_is_in_the_short_form_or_long():
    modules = [
        f"medseg.bench.{module.name}" for module in pkgutil.iter_modules(medseg.bench.__path__)
    ]
    with_works = {name for name in modules if hasattr(import_module(name), "works")}
    listed = {subject.module for subject in short.SUBJECTS.values()}
    assert with_works - {"medseg.bench.short"} == listed | {f"medseg.bench.{n}" for n in LONG}


def test_a_subject_is_measured_at_its_short_size(monkeypatch):
    small = short.SUBJECTS["reading"]._replace(sizes={"slices": 8})
    monkeypatch.setattr(short, "SUBJECTS", {"reading": small})
    found = list(short.measured("reading", device="cpu", rounds=1))
    assert [type(each) for each in found] == [Comparison] * 3
    assert [each.rounds for each in found] == [1, 1, 1]
    assert found[0].work == "PNG decode, 8 slices"


class Subjects:
    """A module with works that count to three, one of them wrongly."""

    @staticmethod
    def works(folder, *, numbers, device):
        assert folder.is_dir()
        assert device == "cpu"

        def same(ours, theirs):
            if ours != theirs:
                raise AssertionError(f"{ours}\nand {theirs}")
            return "equal"

        return [
            Work("sum", "a slate", 2.0, lambda: sum(numbers), lambda: 6, same),
            Work("product", "a slate", 2.0, lambda: sum(numbers) + 1, lambda: 6, same),
        ]


class Opening:
    """A module whose works need peers."""

    running = False

    class Peers:
        def __init__(self, *, hugging_face):
            assert not hugging_face

        def __enter__(self):
            Opening.running = True
            self.by_name = {"peer": lambda: 6}
            return self

        def __exit__(self, *_):
            Opening.running = False

    @staticmethod
    def works(_folder, *, peers):
        def same(*_):
            return f"running: {Opening.running}"

        return [Work("sum", name, 2.0, lambda: 6, peer, same) for name, peer in peers.items()]


def test_peers_run_while_they_are_measured(monkeypatch):
    monkeypatch.setattr(short, "SUBJECTS", {"adding": short.Subject("adding", "adding", {})})
    monkeypatch.setattr(short, "import_module", {"adding": Opening}.get)
    (found,) = short.measured("adding", device="cpu", rounds=1)
    assert (found.against, found.same) == ("peer", "running: True")
    assert not Opening.running


def test_results_that_differ_are_a_problem_and_the_others_are_measured(monkeypatch):
    counting = short.Subject("counting", "counting", {"numbers": (1, 2, 3)})
    monkeypatch.setattr(short, "SUBJECTS", {"counting": counting})
    monkeypatch.setattr(short, "import_module", {"counting": Subjects}.get)
    found, problem = short.measured("counting", device="cpu", rounds=2)
    assert (found.work, found.same, found.rounds) == ("sum", "equal", 2)
    assert isinstance(problem, Problem)
    assert (problem.subject, problem.found) == ("product, against a slate", "7 and 6")


@pytest.mark.parametrize("before", [pytest.param(None, id="unset"), pytest.param("2", id="set")])
def test_threads_are_one_within_and_as_before_afterwards(monkeypatch, before):
    if before is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    threads = torch.get_num_threads()
    with short.one_thread():
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (1, "1")
    assert torch.get_num_threads() == threads
    assert os.environ.get("OMP_NUM_THREADS") == before
