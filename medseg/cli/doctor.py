"""``medseg doctor``: what this machine and installation offer, what is missing, what works."""

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import click

from medseg import __version__
from medseg.cli import options
from medseg.errors import MedsegError, Problem, ResourceError, shown

PACKAGES = (
    "torch",
    "monai",
    "pytorch-ignite",
    "transformers",
    "mlflow",
    "numpy",
    "scipy",
    "nibabel",
    "pydicom",
    "highdicom",
    "SimpleITK",
    "itk",
    "pillow",
)
_LOW_DISK_BYTES = 5 * 2**30


@click.command()
@click.option(
    "--self-test",
    is_flag=True,
    help="Train, kill, resume, predict and refuse, in a minute and a temporary folder.",
)
@options.output
@options.verbosity
@options.as_json
@options.pass_state
def doctor(state: options.State, output: Path, self_test: bool) -> None:
    """Tell versions, devices, memory, disk, and what is missing.

    Ends with exit code 4 when something that medseg needs is not there; what is merely optional
    is told as a warning. With --self-test it tries medseg out instead, and ends with 4 when
    something is not as it has to be.
    """
    if self_test:
        _test(state)
        return
    report, problems = _examined(output)
    if state.json:
        rows = [problem.as_dict() for problem in problems]
        click.echo(json.dumps({**report, "problems": rows}, indent=2))
    else:
        click.echo("\n".join(_lines(report)))
        if problems:
            click.echo(shown(problems), err=True)
    if any(problem.level == "error" for problem in problems):
        click.get_current_context().exit(ResourceError.exit_code)


def _test(state: options.State) -> None:
    """Print a line a check as it ends, or one object when all have."""
    from medseg.stages.self_test import self_test

    outcomes = []
    for outcome in self_test():
        outcomes.append(outcome)
        if not (state.json or (state.verbosity < 0 and outcome.ok)):
            click.echo(str(outcome))
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if state.json:
        rows = [outcome.as_dict() for outcome in outcomes]
        click.echo(json.dumps({"medseg": __version__, "ok": not failed, "checks": rows}, indent=2))
    elif state.verbosity >= 0:
        seconds = sum(outcome.seconds for outcome in outcomes)
        click.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} ok, {seconds:.0f} s")
    if failed:
        click.get_current_context().exit(ResourceError.exit_code)


def _examined(output: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Return the report by topic, and everything that is or may be wrong."""
    from medseg import machine

    problems = machine.faults(output)
    devices: list[machine.Device] = []
    try:
        devices = machine.devices()
    except MedsegError as error:
        problems.extend(error.problems)
    folder = machine.existing(output)
    free = shutil.disk_usage(folder).free
    report = {
        "medseg": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {package: machine.version(package) for package in PACKAGES},
        "devices": [device.as_dict() for device in devices],
        "memory_bytes": machine.memory_bytes(),
        "shared_memory_bytes": machine.shared_memory_bytes(),
        "disk": {"folder": str(folder), "free_bytes": free},
    }
    return report, problems + _advice(report, free)


def _advice(report: dict[str, Any], free_bytes: int) -> list[Problem]:
    """Return what is optional and missing, as warnings."""
    from medseg import machine

    rows = []
    if free_bytes < _LOW_DISK_BYTES:
        rows.append(
            _warning("W-DISK", report["disk"]["folder"], "less than 5 GiB are free", "make room")
        )
    if not any(device["name"].startswith("cuda") for device in report["devices"]):
        # The driver brings nvidia-smi: with it and no device, torch is the build without CUDA.
        fix = "install a CUDA build of torch" if shutil.which("nvidia-smi") else ""
        rows.append(_warning("W-CUDA", "devices", "torch finds no GPU, training is slow", fix))
    if not shutil.which("git"):
        rows.append(_warning("W-GIT", "git", "is not on the path, runs name no commit", ""))
    for extra in machine.extras():
        missing = ", ".join(row.name for row in machine.unmet(machine.requirements(extra)))
        if missing:
            fix = f"pip install 'medseg[{extra}]'"
            rows.append(_warning("W-EXTRA", f"optional part {extra}", f"lacks {missing}", fix))
    return rows


def _warning(code: str, subject: str, found: str, fix: str) -> Problem:
    return Problem(code, subject, found, fix=fix, level="warning")


def _lines(report: dict[str, Any]) -> list[str]:
    """Return the report as aligned text."""
    rows = [(key, report[key]) for key in ("medseg", "python", "system")]
    rows += [(name, have or "not installed") for name, have in report["packages"].items()]
    rows += [(device["name"], _device(device)) for device in report["devices"]]
    rows.append(("memory", _gib(report["memory_bytes"])))
    if report["shared_memory_bytes"] is not None:
        rows.append(("shared memory", _gib(report["shared_memory_bytes"])))
    rows.append(
        ("disk", f"{_gib(report['disk']['free_bytes'])} free at {report['disk']['folder']}")
    )
    return [f"{name:15} {value}" for name, value in rows]


def _device(device: dict[str, Any]) -> str:
    cores = f", {device['cores']} cores" if device["cores"] else ""
    bfloat16 = "bfloat16" if device["bfloat16"] else "no bfloat16"
    return f"{device['model']}{cores}, {_gib(device['memory_bytes'])}, {bfloat16}"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
