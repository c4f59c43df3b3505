"""``medseg plan``: how long a cohort takes on many devices, and what limits it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medseg.cli import options
from medseg.cli.options import State

if TYPE_CHECKING:
    from medseg.bench.growth import Costs, Estimate, Site

_GB = 1e9
_TIMES = ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"))
_at_least_one = click.IntRange(min=1)
_some = click.FloatRange(min=0, min_open=True)


def _site(command: options.Command) -> options.Command:
    """Add what the machines are like."""
    for name, default, about in (
        ("--link", 1.25, "GB/s of a machine to the others and to the storage."),
        ("--storage", 5.0, "GB/s of the storage that machines share."),
        ("--disk", 0.5, "GB/s of the disk, where there is one machine."),
    ):
        command = click.option(name, type=_some, default=default, show_default=True, help=about)(
            command
        )
    for name, default, about in (
        ("--batch", 8, "Slices of a training step on each device."),
        ("--devices-a-node", 8, "Devices of a machine."),
        ("--cores", 1, "Cores for each device, where --device-speed is given."),
    ):
        command = click.option(
            name, type=_at_least_one, default=default, show_default=True, help=about
        )(command)
    return command


@click.command()
@click.option(
    "--scans",
    multiple=True,
    type=_at_least_one,
    default=(10, 1_000, 100_000, 10_000_000),
    show_default=True,
    help="How many; may be repeated.",
)
@click.option(
    "--devices",
    multiple=True,
    type=_at_least_one,
    default=(1, 8, 512),
    show_default=True,
    help="How many; may be repeated.",
)
@click.option(
    "--device-speed",
    type=_some,
    help="A device computes networks so many times as fast as a core; without, devices are cores.",
)
@_site
@click.option(
    "--costs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Costs of a scan, as benchmarks/growth.py writes them; without, those of our machine.",
)
@options.as_json
@options.pass_state
def plan(
    state: State,
    /,
    *,
    scans: tuple[int, ...],
    devices: tuple[int, ...],
    costs: Path | None,
    **site: Any,  # noqa: ANN401 - the options
) -> None:
    """Tell how long a cohort takes, and what limits it.

    A stage's time is that of what it waits for longest, from measured costs of a scan: see
    docs/scaling.md. Training is one epoch.
    """
    from medseg.bench.growth import STAGES, estimate, storage_bytes

    of_a_scan = _costs(costs)
    rows = [
        (count, number, [estimate(stage, count, of_a_scan, where) for stage in STAGES])
        for number in devices
        for where in [_where(number, site)]
        for count in scans
    ]
    if state.json:
        told = [
            {"scans": count, "devices": number, "stages": [_as_dict(each) for each in found]}
            for count, number, found in rows
        ]
        sizes = {count: storage_bytes(count, of_a_scan) for count in scans}
        click.echo(json.dumps({"estimates": told, "storage_bytes": sizes}))
        return
    lines: list[tuple[str, ...]] = [("scans", "devices", *STAGES)]
    lines += [
        (f"{count:,}", f"{number:,}", *(f"{_time(e.seconds)} {e.limit}" for e in found))
        for count, number, found in rows
    ]
    click.echo(_aligned(lines))
    for count in scans:
        needed = storage_bytes(count, of_a_scan)
        told_sizes = ", ".join(f"{name} {_size(size)}" for name, size in needed.items())
        click.echo(f"{count:,} scans: {told_sizes}")


def _costs(path: Path | None) -> "Costs":
    from medseg.bench.growth import Costs, measured
    from medseg.errors import DataError, Problem

    if path is None:
        return measured()
    try:
        told = json.loads(path.read_text())
        return Costs.of(told.get("costs", told))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"holds no costs: {' '.join(str(error).split())}"
        fix = "write it with benchmarks/growth.py"
        raise DataError(Problem("E-COSTS", str(path), found, fix=fix)) from error


def _where(devices: int, asked: dict[str, Any]) -> "Site":
    from medseg.bench.growth import Site

    return Site(
        devices=devices,
        device_speed=asked["device_speed"],
        cores=asked["cores"] if asked["device_speed"] else 1,
        devices_a_node=asked["devices_a_node"],
        batch=asked["batch"],
        disk_bytes_per_s=asked["disk"] * _GB,
        storage_bytes_per_s=asked["storage"] * _GB,
        link_bytes_per_s=asked["link"] * _GB,
    )


def _as_dict(found: "Estimate") -> dict[str, Any]:
    return {**found._asdict(), "limit": found.limit}


def _time(seconds: float) -> str:
    size, unit = next((row for row in _TIMES if seconds >= row[0]), _TIMES[-1])
    return f"{seconds / size:.3g} {unit}"


def _size(size_bytes: float) -> str:
    size, unit = next((row for row in _SIZES if size_bytes >= row[0]), _SIZES[-1])
    return f"{size_bytes / size:.3g} {unit}"


def _aligned(lines: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
