"""What each switch of the training step gains: the step with it, beside the step without it.

A step of SegFormer is forward pass, loss, backward pass and optimiser, on images that are there.

    python benchmarks/switches.py [--network b0] [--batch 8] [--compile] [--rounds 5] [--write]
"""

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from medseg import models
from medseg.bench import Work, compare, record, table, write_record
from medseg.engine import StepInferer
from medseg.engine.device import amp_dtype, device_of
from medseg.losses import dice_ce

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--device", default="auto", show_default=True)
@click.option("--network", default="b0", show_default=True, help="b0 to b5.")
@click.option("--batch", default=8, show_default=True, help="Images at once.")
@click.option("--compile", "compiling", is_flag=True, help="Also torch.compile: minutes once.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(
    device: str, network: str, batch: int, rounds: int, *, compiling: bool, write: bool
) -> None:
    """Run the step with and without each switch in turns."""
    place = torch.device(device_of(device))
    step = partial(step_of, network, batch, place)
    works = [switch("optimizer::fused", step(), step(fused=False))]
    if amp_dtype(place):
        works.append(switch("amp", step(), step(amp=False)))
    if compiling:
        modes = ["default"] if place.type == "cpu" else ["default", "reduce-overhead"]
        works += [switch(f"compile={mode}", step(mode=mode), step()) for mode in modes]
    rows = [compare(work, rounds=rounds) for work in works]
    click.echo(table(rows))
    if write:
        facts = {"network": f"segformer_{network}", "batch": batch, "device": str(place)}
        write_record(RESULT, record(rows, **facts, threads=torch.get_num_threads()))


def switch(name: str, on: Callable[[], float], off: Callable[[], float]) -> Work:
    """Return the work of a step with a switch on, against the same with it off."""
    return Work(f"training step, {name}", "without", 1.0, on, off, _same_loss, warm=2)


def step_of(
    network: str,
    batch: int,
    device: torch.device,
    *,
    amp: bool = True,
    fused: bool = True,
    mode: str | bool = False,
) -> Callable[[], float]:
    """Return a step of a network of its own, which returns its loss; all begin with equal weights.

    Args:
        network: b0 to b5.
        batch: Images at once, 288 x 288 px.
        device: Where to compute.
        amp: Whether in bfloat16.
        fused: Whether Adam is one kernel.
        mode: Of `torch.compile`.
    """
    torch.manual_seed(0)
    # Nothing random in the step, or equal steps would have unequal losses.
    net = getattr(models, f"segformer_{network}")(in_channels=1, out_channels=4, drop_path=0.0)
    net.decode_head.dropout.p = 0.0
    net.to(device)
    images = torch.rand(batch, 1, 288, 288, device=device)
    masks = (torch.rand(batch, 3, 288, 288, device=device) < 0.1).byte()
    # A rate of nothing: however many steps are timed, the loss stays the first one's.
    optimiser = torch.optim.Adam(net.parameters(), lr=0.0, fused=fused)
    inferer, loss_of = StepInferer(amp=amp, compile=mode), dice_ce()

    def step() -> float:
        loss = loss_of(inferer(images, net), masks)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return float(loss)  # which waits for the device

    return step


def _same_loss(ours: float, theirs: float) -> str:
    assert math.isclose(ours, theirs, rel_tol=0.01), f"losses {ours} and {theirs}"
    return "losses within 1 %"


if __name__ == "__main__":
    main()
