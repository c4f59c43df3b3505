"""Memory and time over 4, 16 and 64 scans: prepared, trained on (streamed) and predicted.

Each number of scans has a process of its own, on one thread a core library. Memory is the peak of
resident memory above that after the imports; it must be flat within 100 MB in each phase. Time is
of the processor; all phases together must be linear in the number of scans within 10 %.

    python benchmarks/scaling.py [--write]
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click

RESULT = Path(__file__).with_suffix(".json")
SCANS = (4, 16, 64)
FLAT_MB, LINEAR = 100, 0.10

Costs = dict[str, dict[str, float]]  # of a number of scans: each phase's peak_mb and cpu_s


@click.command()
@click.option("--scans", multiple=True, type=int, default=SCANS, show_default=True)
@click.option("--only", type=int, hidden=True, help="Measure one number of scans, in here.")
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(scans: tuple[int, ...], only: int | None, *, write: bool) -> None:
    """Measure each number of scans, print a table, and fail where memory or time grows."""
    if only:
        click.echo(json.dumps(measured(only)))
        return
    found = {count: in_a_process(count) for count in scans}
    click.echo(table(found))
    spread_mb = {phase: spread([c[phase]["peak_mb"] for c in found.values()]) for phase in PHASES}
    times = [sum(cost["cpu_s"] for cost in c.values()) / count for count, c in found.items()]
    bent = spread(times) / min(times)
    click.echo(
        f"memory differs by {max(spread_mb.values()):.0f} MB at most (reach {FLAT_MB}), "
        f"time a scan by {bent:.1%} (reach {LINEAR:.0%})"
    )
    if write:
        keep(found, spread_mb=spread_mb, time_a_scan_differs_by=round(bent, 4))
    if max(spread_mb.values()) > FLAT_MB or bent > LINEAR:
        sys.exit("memory is not flat, or time is not linear")


PHASES = ("prepare", "train", "predict")


def measured(count: int) -> Costs:
    """Return what `count` scans cost, measured in this process."""
    import torch

    from medseg.bench.scaling import costs

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = costs(count, Path(folder))
    return {
        phase: {"peak_mb": round(cost.peak_bytes / 1e6, 1), "cpu_s": round(cost.cpu_s, 3)}
        for phase, cost in found.items()
    }


def in_a_process(count: int) -> Costs:
    """Return what `count` scans cost, measured in a process of its own."""
    command = [sys.executable, __file__, "--only", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def spread(values: list[float]) -> float:
    """Return how far the largest is from the smallest."""
    return max(values) - min(values)


def table(found: dict[int, Costs]) -> str:
    """Return a line a number of scans: peak memory and processor time a scan of each phase."""
    head = "scans" + "".join(f"{phase:>12} MB{'s a scan':>12}" for phase in PHASES)
    rows = [
        f"{count:5}"
        + "".join(f"{c[p]['peak_mb']:15.1f}{c[p]['cpu_s'] / count:12.3f}" for p in PHASES)
        for count, c in found.items()
    ]
    return "\n".join([head, *rows])


def keep(found: dict[int, Costs], **facts: object) -> None:
    """Write the result with what one needs to judge it."""
    from medseg.bench import record, write_record

    write_record(RESULT, record([], costs_by_scans=found, **facts))


if __name__ == "__main__":
    main()
