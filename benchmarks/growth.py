"""What a scan costs in each stage, and whether the model of growth tells the truth.

Costs are fitted on one core with few scans. How much workers slow each other, and what they take to
begin, is measured with two at once and few scans. From these the model tells how long more scans
take on one and on two workers; that is measured as well, and both must agree within 20 %. Beside it
``growth.json`` keeps the result, ``medseg/bench/growth_costs.json`` the costs that ``medseg plan``
begins with; ``growth_figure.py`` draws them.

    python benchmarks/growth.py [--slices 144] [--no-ray] [--write]
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import click

from medseg.bench import growth, record, write_record
from medseg.bench.growth import Costs, Site, estimate

RESULT = Path(__file__).with_suffix(".json")
COSTS = Path(growth.__file__).with_name("growth_costs.json")
BEGIN = (
    f"import sys; sys.path.insert(0, {str(RESULT.parent)!r}); import growth_worker as w; w.main()"
)
WITHIN = 0.20
# Scans of the two fits and of the check; of training, steps, its batch being of so many slices.
SIZES = {
    "prepare": (4, 8, 16),
    "predict": (1, 3, 6),
    "evaluate": (10, 40, 120),
    "train": (4, 4, 10),
}
BATCH = 8
HERE = {"devices_a_node": 2, "disk_bytes_per_s": 1e12}  # what was written lies in memory


class Worker:
    """A process that measures what it is told to, on the cores that it is given."""

    def __init__(self, folder: Path, cores: set[int], slices: int) -> None:
        self.process = subprocess.Popen(
            # Not as a script: processes that it begins would import all of that again.
            [sys.executable, "-c", BEGIN, str(folder), str(slices)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        os.sched_setaffinity(self.process.pid, cores)

    def begin(self, work: str, count: int, number: int = 1) -> None:
        """Tell it what to do."""
        self.process.stdin.write(f"{work} {count} {number}\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, float]:
        """Return what it measured."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit("a worker ended; what it said is above")

    def does(self, work: str, count: int, number: int = 1) -> dict[str, float]:
        """Have it done and return what was measured."""
        self.begin(work, count, number)
        return self.end()

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait(60)


class Machine:
    """This machine: a worker on each of two cores, and one that has both."""

    def __init__(self, folder: Path, slices: int, stack: ExitStack) -> None:
        first, second = sorted(os.sched_getaffinity(0))[:2]
        cores = ({first}, {second}, {first, second})
        self.one, self.other, self.both = (Worker(folder, own, slices) for own in cores)
        for worker in (self.one, self.other, self.both):
            stack.callback(worker.close)

    def at_once(self, work: str, count: int, numbers: tuple[int, int] = (1, 1)) -> float:
        """Return how long two processes take that do the same at the same time, each."""
        workers = (self.one, self.other)
        for worker, number in zip(workers, numbers, strict=True):
            worker.begin(work, count, number)
        return max(worker.end()["seconds"] for worker in workers)


class Fit:
    """A stage fitted: a scan's seconds, and the start-up by the number of workers.

    Args:
        alone: Seconds of one worker by scans, of two sizes.
        beside: Seconds of the larger one while another worker does the same.
    """

    def __init__(self, alone: dict[int, float], beside: float) -> None:
        (few, few_s), (many, many_s) = sorted(alone.items())
        self.scan_s = (many_s - few_s) / (many - few)
        self.begin_s = {1: max(0.0, few_s - few * self.scan_s)}
        self.contention = max(1.0, (beside - self.begin_s[1]) / (many * self.scan_s))

    def begins(self, workers: int, seconds: float) -> None:
        """Note what so many workers took for a scan each."""
        self.begin_s[workers] = max(0.0, seconds - self.scan_s * self.contention)

    def slowed(self, workers: int, together: dict[int, float]) -> None:
        """Note what so many workers took for few scans and for more."""
        (few, few_s), (many, many_s) = sorted(together.items())
        scan_s = (many_s - few_s) / (many - few) * workers
        self.contention = max(1.0, scan_s / self.scan_s)
        self.begins(workers, few_s)

    def seconds(self, stage: str, scans: int, workers: int) -> float:
        """Return what the model says."""
        field = {"prepare": "prepare_s", "predict": "predict_s", "evaluate": "metrics_s"}[stage]
        costs = replace(
            NOTHING,
            **{field: self.scan_s},
            begin_s={stage: self.begin_s[workers]},
            contention={stage: self.contention},
        )
        return estimate(stage, scans, costs, Site(devices=workers, **HERE)).seconds


NOTHING = Costs(**dict.fromkeys(list(Costs.__dataclass_fields__)[:11], 0.0))


@click.command()
@click.option("--slices", default=144, show_default=True, help="Slices of a scan.")
@click.option("--rounds", default=3, show_default=True, help="Of each measurement; medians count.")
@click.option("--ray/--no-ray", default=True, help="Check workers of a Ray cluster too.")
@click.option("--train/--no-train", default=True, help="Check training on two processes too.")
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(slices: int, rounds: int, *, ray: bool, train: bool, write: bool) -> None:
    """Measure costs and checks, tell them, and fail where the model is wrong."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        machine = Machine(folder, slices, stack)
        told = machine.one.does(
            "make", max(sizes[2] for key, sizes in SIZES.items() if key != "evaluate")
        )
        told |= machine.one.does("parts", 1)
        rows, fits = [], {}
        for stage in ("prepare", "predict", "evaluate"):
            fits[stage] = fitted(stage, machine, rounds)
            rows += checked(stage, machine, fits[stage], rounds)
        if ray:
            rows += [on_ray(stage, machine, fits[stage]) for stage in ("prepare", "evaluate")]
        again = machine.one.does("prepare", SIZES["prepare"][2])["again_s"] / SIZES["prepare"][2]
        step_s, contention = 0.0, 1.0
        if train:
            step_s, contention, row = trained(folder, machine, told["gradient_bytes"])
            rows.append(row)
    costs = costs_of(told, fits, step_s=step_s, contention=contention, list_s=again)
    for row in rows:
        click.echo(json.dumps(row))
    if write:
        write_record(COSTS, asdict(costs))
        write_record(RESULT, record([], costs=asdict(costs), checks=rows, within=WITHIN))
    if wrong := [row for row in rows if abs(row["predicted_s"] / row["measured_s"] - 1) > WITHIN]:
        sys.exit(f"{len(wrong)} of {len(rows)} are not within {WITHIN:.0%}")


def fitted(stage: str, machine: Machine, rounds: int) -> Fit:
    """Return a stage fitted on one worker, and beside another."""
    few, many, _ = SIZES[stage]
    machine.one.does(stage, 1), machine.other.does(stage, 1)  # kernels and caches
    alone = {
        size: median(machine.one.does(stage, size)["seconds"] for _ in range(rounds))
        for size in (few, many)
    }
    return Fit(alone, median(machine.at_once(stage, many) for _ in range(rounds)))


def checked(stage: str, machine: Machine, fit: Fit, rounds: int) -> list[dict]:
    """Return what the model says of more scans on one and two workers, beside what was measured."""
    _, many, scans = SIZES[stage]
    one = median(machine.one.does(stage, scans)["seconds"] for _ in range(rounds))
    rows = [row_of(stage, scans, "1 worker", fit.seconds(stage, scans, 1), one)]
    if stage == "predict":
        # A network has one process; two are two tasks of an array, each with half of the scans.
        fit.begin_s[2] = fit.begin_s[1]
        two = median(machine.at_once(stage, scans // 2) for _ in range(rounds))
    else:
        machine.both.does(stage, 2, 2)
        fit.slowed(2, {size: two_workers(stage, machine, size, rounds) for size in (2, many)})
        two = two_workers(stage, machine, scans, rounds)
    return [*rows, row_of(stage, scans, "2 workers", fit.seconds(stage, scans, 2), two)]


def two_workers(stage: str, machine: Machine, scans: int, rounds: int) -> float:
    """Return how long two workers of one process take."""
    return median(machine.both.does(stage, scans, 2)["seconds"] for _ in range(rounds))


def on_ray(stage: str, machine: Machine, fit: Fit) -> dict:
    """Return the same of two workers of a Ray cluster on this machine."""
    scans, fit = SIZES[stage][2], copy.deepcopy(fit)  # its workers begin otherwise
    fit.begins(2, machine.both.does(f"{stage}_ray", 2, 2)["seconds"])
    measured = machine.both.does(f"{stage}_ray", scans, 2)["seconds"]
    return row_of(stage, scans, "2 workers of Ray", fit.seconds(stage, scans, 2), measured)


def trained(folder: Path, machine: Machine, gradient_bytes: float) -> tuple[float, float, dict]:
    """Return a slice's share of a step, how processes slow each other, and the check of two."""
    few, _, many = SIZES["train"]
    share = BATCH // 2  # a small step takes longer a slice than a large one
    (alone,) = epochs(folder, few, batch=share)
    contention = max(1.0, max(epochs(folder, few, batch=share, times=2)) / alone)
    step_s = alone / few / share
    small_s, large_s = (machine.at_once("reduce", size, (0, 1)) for size in (4, 1 << 24))
    # A ring of two: two messages of half the bytes.
    speed = {"latency_s": small_s / 2, "device_link_bytes_per_s": (1 << 24) / (large_s - small_s)}
    costs = replace(
        NOTHING,
        slices=many * BATCH,
        step_s=step_s,
        gradient_bytes=gradient_bytes,
        contention={"train": contention},
    )
    here = Site(devices=2, batch=share, **HERE, **speed)
    said = estimate("train", 1, costs, here).seconds
    (measured,) = epochs(folder, many, nproc=2)
    return step_s, contention, row_of("train", many, "2 processes", said, measured)


def epochs(
    folder: Path, steps: int, *, batch: int = BATCH, nproc: int = 1, times: int = 1
) -> list[float]:
    """Return the seconds of an epoch of so many steps, of several trainings at once."""
    runs = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(times)]
    told = {"epochs": 4, "epoch_length": steps, "batch_size": batch, "val_interval": 99}
    told |= {"network_def::_target_": "medseg.models.segformer_b0"}
    command = [sys.executable, "-m", "medseg", "run", "uwmgi_segformer", "-q", "--device", "cpu"]
    command += ["--data", str(folder / "data"), "--stage", "prepare", "--stage", "train"]
    command += [word for key, value in told.items() for word in ("--set", f"{key}={value}")]
    command += ["--nproc", str(nproc)] if nproc > 1 else []
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([*command, "--output", str(run)], env=env) for run in runs]
    if any(process.wait() for process in started):
        sys.exit("a training failed; what it said is above")
    found = []
    for run in runs:
        (path,) = run.glob("*/*/training.json")
        rows = json.loads(path.read_text())["epochs"][1:]  # the first sets up
        found.append(median(row["train/seconds"] for row in rows))
    return found


def row_of(stage: str, scans: int, on: str, predicted_s: float, measured_s: float) -> dict:
    """Return a row of the check."""
    apart = round(predicted_s / measured_s - 1, 3)
    rounded = {"predicted_s": round(predicted_s, 3), "measured_s": round(measured_s, 3)}
    return {"stage": stage, "count": scans, "on": on, **rounded, "apart": apart}


def costs_of(told: dict[str, float], fits: dict[str, Fit], **measured: float) -> Costs:
    """Return the costs of a scan: the stages as they were fitted, taken apart."""
    prepared, predicted = fits["prepare"].scan_s, fits["predict"].scan_s
    costs = replace(
        NOTHING,
        **{key: float(value) for key, value in told.items()},
        prepare_s=prepared - told["decode_s"],
        predict_s=predicted - prepared - told["write_s"],
        metrics_s=fits["evaluate"].scan_s,
        step_s=measured["step_s"],
        begin_s={stage: round(fit.begin_s[max(fit.begin_s)], 3) for stage, fit in fits.items()},
        list_s={"prepare": round(measured["list_s"], 6)},
        contention={stage: round(fit.contention, 3) for stage, fit in fits.items()}
        | {"train": round(measured["contention"], 3)},
    )
    rounded = {key: float(f"{v:.4g}") for key, v in asdict(costs).items() if isinstance(v, float)}
    return replace(costs, **rounded)


if __name__ == "__main__":
    main()
