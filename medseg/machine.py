"""What this machine and this installation offer: packages, devices, memory, disk.

Sizes are bytes. Nothing heavy is imported before `devices` is called; that one imports torch.
"""

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.metadata import version as _installed
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from medseg.errors import Problem, ResourceError

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Device:
    """Something to compute on.

    Attributes:
        name: What ``--device`` takes: ``cpu``, ``cuda:0`` …
        model: The maker's name for it.
        cores: CPU cores this process may use; 0 for other devices.
        memory_bytes: Its memory; for the CPU that of the machine or of its container.
        bfloat16: Whether it multiplies bfloat16 in hardware.
    """

    name: str
    model: str
    cores: int
    memory_bytes: int
    bfloat16: bool

    def as_dict(self) -> dict[str, str | int | bool]:
        """Return the fields by name, for ``--json``."""
        return asdict(self)


def requirements(extra: str = "") -> list[Requirement]:
    """Return what medseg needs, or what `extra` adds to it; empty when it is not installed."""
    try:
        installed = distribution("medseg")
    except PackageNotFoundError:
        return []
    rows = [Requirement(row) for row in installed.requires or ()]
    return [row for row in rows if _applies(row, extra) and (not extra or not _applies(row, ""))]


def extras() -> list[str]:
    """Return the names of medseg's optional parts, sorted."""
    try:
        return sorted(distribution("medseg").metadata.get_all("Provides-Extra") or [])
    except PackageNotFoundError:
        return []


def version(package: str) -> str | None:
    """Return the installed version of a distribution, None when there is none; imports nothing."""
    try:
        return _installed(package)
    except PackageNotFoundError:
        return None


def unmet(rows: list[Requirement]) -> list[Requirement]:
    """Return the requirements whose package is missing or of another version."""
    found = [(row, version(row.name)) for row in rows]
    return [
        row
        for row, have in found
        if have is None or not row.specifier.contains(have, prereleases=True)
    ]


def faults(output: Path) -> list[Problem]:
    """Return what keeps medseg from working: unmet requirements, an output that is not writable."""
    rows = [_unmet_problem(row) for row in unmet(requirements())]
    folder = existing(output)
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        rows.append(
            Problem("E-OUTPUT", str(folder), "cannot be written to", fix="choose another --output")
        )
    return rows


def existing(path: Path) -> Path:
    """Return `path`, or the nearest of its parents that exists."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def memory_bytes() -> int:
    """Return the memory of the machine, or of the container that limits it."""
    total = int(psutil.virtual_memory().total)
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    return min(total, int(limit)) if limit.isdigit() else total


def shared_memory_bytes() -> int | None:
    """Return what loader processes may share; None where the system has no such limit."""
    return shutil.disk_usage(_SHARED_MEMORY).total if _SHARED_MEMORY.is_dir() else None


def devices() -> list[Device]:
    """Return the CPU and every CUDA device that torch can use.

    Raises:
        ResourceError: torch is not installed, or does not load.
    """
    try:
        import torch  # takes seconds, and nothing else here needs it
    except (ImportError, OSError) as error:
        raise ResourceError(
            Problem("E-TORCH", "torch", f"does not load: {error}", fix="install torch anew")
        ) from error
    can = torch.cpu.get_capabilities()
    model = str(can.get("cpu_name") or platform.processor() or platform.machine())
    bfloat16 = bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    rows = [Device("cpu", model, cores(), memory_bytes(), bfloat16)]
    for index in range(torch.cuda.device_count()):
        seen = torch.cuda.get_device_properties(index)
        # Ampere, compute capability 8, brought bfloat16.
        rows.append(Device(f"cuda:{index}", seen.name, 0, seen.total_memory, seen.major >= 8))
    return rows


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _unmet_problem(row: Requirement) -> Problem:
    have = version(row.name)
    found = f"version {have} is installed" if have else "is not installed"
    wanted = f"{row.name}{row.specifier}"
    return Problem("E-PACKAGE", row.name, found, str(row.specifier), f'pip install "{wanted}"')


def _applies(row: Requirement, extra: str) -> bool:
    return row.marker is None or row.marker.evaluate({"extra": extra})
