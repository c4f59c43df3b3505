"""What a machine and an installation offer."""

import sys
from email.message import Message
from types import SimpleNamespace

import psutil
import pytest
from packaging.requirements import Requirement

from medseg import machine
from medseg.errors import ResourceError


@pytest.fixture
def installed(monkeypatch):
    """medseg installed with two requirements and an extra of one more."""
    metadata = Message()
    metadata["Provides-Extra"] = "test"
    metadata["Provides-Extra"] = "scale"
    requires = [
        "numpy>=2",
        "no-such-package>=1.5",
        'click>=999; extra == "test"',
        'winonly; sys_platform == "nowhere"',
    ]
    fake = SimpleNamespace(requires=requires, metadata=metadata)
    monkeypatch.setattr(machine, "distribution", lambda _name: fake)


def test_requirements_are_those_of_this_platform(installed):
    assert [row.name for row in machine.requirements()] == ["numpy", "no-such-package"]


def test_an_extra_adds_to_what_is_needed_anyway(installed):
    assert [row.name for row in machine.requirements("test")] == ["click"]
    assert machine.requirements("scale") == []
    assert machine.extras() == ["scale", "test"]


def test_without_an_installation_nothing_is_required(monkeypatch):
    def missing(name):
        raise machine.PackageNotFoundError(name)

    monkeypatch.setattr(machine, "distribution", missing)
    assert machine.requirements() == []
    assert machine.extras() == []


def test_versions_are_read_without_importing():
    assert machine.version("no-such-package") is None
    assert machine.version("click").count(".") == 2


@pytest.mark.parametrize(
    ("wanted", "have", "met"),
    [
        pytest.param("torch>=2.10", "2.13.0+cpu", True, id="a local build"),
        pytest.param("torch>=2.10", "2.9.1", False, id="too old, not by the alphabet"),
        pytest.param("torch>=2.10", "2.14.0.dev1", True, id="a development build"),
        pytest.param("torch>=2.10", None, False, id="missing"),
        pytest.param("torch", "0.1", True, id="any version"),
    ],
)
def test_unmet(monkeypatch, wanted, have, met):
    monkeypatch.setattr(machine, "version", lambda _name: have)
    row = Requirement(wanted)
    assert machine.unmet([row]) == ([] if met else [row])


def test_faults_name_what_is_missing_and_how_to_get_it(installed, tmp_path):
    problems = machine.faults(tmp_path)
    assert [str(problem) for problem in problems] == [
        "error[E-PACKAGE]: no-such-package: is not installed (expected >=1.5)."
        ' Fix: pip install "no-such-package>=1.5".'
    ]


def test_an_output_that_cannot_be_written_to_is_a_fault(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(machine, "requirements", list)
    problems = machine.faults(tmp_path / "file" / "runs")
    assert [(problem.code, problem.subject) for problem in problems] == [
        ("E-OUTPUT", str(tmp_path / "file"))
    ]


def test_existing_is_the_nearest_parent(tmp_path):
    assert machine.existing(tmp_path / "a" / "b") == tmp_path
    assert machine.existing(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("limit", "expected_bytes"),
    [
        pytest.param("1048576\n", 1048576, id="a container's limit"),
        pytest.param("max\n", psutil.virtual_memory().total, id="no limit"),
        pytest.param(None, psutil.virtual_memory().total, id="no control group"),
    ],
)
def test_memory_is_what_the_container_allows(monkeypatch, tmp_path, limit, expected_bytes):
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(machine, "_CGROUP_LIMIT", tmp_path / "memory.max")
    assert machine.memory_bytes() == expected_bytes


def test_shared_memory_is_none_where_there_is_no_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path)
    assert machine.shared_memory_bytes() > 0
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path / "none")
    assert machine.shared_memory_bytes() is None


def test_the_cpu_is_the_first_device():
    cpu = machine.devices()[0]
    assert cpu.name == "cpu"
    assert cpu.model
    assert cpu.cores >= 1
    assert cpu.memory_bytes > 2**28


def test_cuda_devices_are_told_with_memory_and_bfloat16(monkeypatch):
    import torch

    cards = [
        SimpleNamespace(name="new", total_memory=80 * 2**30, major=9),
        SimpleNamespace(name="old", total_memory=16 * 2**30, major=7),
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)
    assert machine.devices()[1:] == [
        machine.Device("cuda:0", "new", 0, 80 * 2**30, bfloat16=True),
        machine.Device("cuda:1", "old", 0, 16 * 2**30, bfloat16=False),
    ]


def test_a_torch_that_does_not_load_is_a_resource_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ResourceError, match=r"E-TORCH.*does not load"):
        machine.devices()
