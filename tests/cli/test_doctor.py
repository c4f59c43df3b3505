"""``medseg doctor`` tells what there is, warns of what is optional, and fails on what is needed."""

import json
import shutil
from types import SimpleNamespace

import pytest

from medseg import __version__, machine
from medseg.cli import doctor as command
from medseg.cli import main
from medseg.errors import Problem, ResourceError

CPU = machine.Device("cpu", "a processor", 4, 8 * 2**30, bfloat16=False)
GPU = machine.Device("cuda:0", "a card", 0, 80 * 2**30, bfloat16=True)


@pytest.fixture
def healthy(monkeypatch):
    """A machine that has everything."""
    monkeypatch.setattr(machine, "devices", lambda: [CPU, GPU])
    monkeypatch.setattr(machine, "requirements", lambda _extra="": [])
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _path: SimpleNamespace(free=2**40, total=2**41)
    )


def report(capsys, *words):
    code = main(["doctor", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_a_healthy_machine_has_no_problems(healthy, capsys, tmp_path):
    code, told = report(capsys, "--output", str(tmp_path / "runs"))
    assert code == 0
    assert told["problems"] == []
    assert told["medseg"] == __version__
    assert told["packages"]["numpy"].count(".") == 2
    assert [device["name"] for device in told["devices"]] == ["cpu", "cuda:0"]
    assert told["disk"] == {"folder": str(tmp_path), "free_bytes": 2**40}
    assert not (tmp_path / "runs").exists()


def test_text_has_a_line_for_each_thing(healthy, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 3 * 2**29)
    monkeypatch.setattr(machine, "shared_memory_bytes", lambda: None)
    monkeypatch.setattr(machine, "version", lambda name: None if name == "itk" else "1.2.3")
    assert main(["doctor", "--output", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert err == ""
    assert rows["torch"] == "1.2.3"
    assert rows["itk"] == "not installed"
    assert rows["cpu"] == "a processor, 4 cores, 8.0 GiB, no bfloat16"
    assert rows["cuda:0"] == "a card, 80.0 GiB, bfloat16"
    assert rows["memory"] == "1.5 GiB"
    assert rows["disk"] == f"1024.0 GiB free at {tmp_path}"
    assert "shared" not in rows


def test_what_is_optional_is_a_warning(healthy, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "devices", lambda: [CPU])
    monkeypatch.setattr(machine, "extras", lambda: ["test"])
    monkeypatch.setattr(machine, "unmet", lambda rows: rows and [SimpleNamespace(name="pytest")])
    monkeypatch.setattr(machine, "requirements", lambda extra="": [extra] if extra else [])
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _path: SimpleNamespace(free=2**30, total=2**31)
    )
    assert main(["doctor", "--output", str(tmp_path)]) == 0
    err = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in err] == [
        "warning[W-DISK]",
        "warning[W-CUDA]",
        "warning[W-GIT]",
        "warning[W-EXTRA]",
    ]
    assert "lacks pytest. Fix: pip install 'medseg[test]'." in err[-1]


def test_a_driver_without_a_cuda_build_of_torch_is_explained(healthy, capsys, monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: [CPU])
    _, told = report(capsys)
    assert [problem["fix"] for problem in told["problems"]] == ["install a CUDA build of torch"]


def test_what_is_needed_and_missing_ends_with_4(healthy, capsys, monkeypatch):
    needed = Problem("E-PACKAGE", "monai", "is not installed", ">=1.6.1")
    monkeypatch.setattr(machine, "faults", lambda _output: [needed])
    code, told = report(capsys)
    assert code == 4
    assert [problem["code"] for problem in told["problems"]] == ["E-PACKAGE"]
    assert told["packages"]


def test_a_torch_that_does_not_load_is_told_with_the_rest(healthy, capsys, monkeypatch):
    def broken():
        raise ResourceError(Problem("E-TORCH", "torch", "does not load"))

    monkeypatch.setattr(machine, "devices", broken)
    code, told = report(capsys)
    assert code == 4
    assert told["problems"][0]["code"] == "E-TORCH"
    assert told["devices"] == []


def test_the_packages_told_are_requirements_of_medseg(repository):
    wanted = (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert [name for name in command.PACKAGES if f'"{name}>=' not in wanted] == []
