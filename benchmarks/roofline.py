"""Images a second of SegFormer at 288 x 288, in training and inference, against the roofline.

python benchmarks/roofline.py [--device cuda] [--sizes b0,b2,b4] [--batch 16] [--write]
"""

from pathlib import Path

import click
import torch

from medseg import models
from medseg.bench.record import record, write_record
from medseg.bench.roofline import cost, inference_step, peaks, training_step
from medseg.engine.costs import seconds_of
from medseg.engine.device import device_of

RESULT = Path(__file__).with_suffix(".json")


@click.command()
@click.option("--device", default="auto", show_default=True)
@click.option("--sizes", default="b0,b2,b4", show_default=True)
@click.option("--batch", "batches", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--compile", "mode", help="Mode of torch.compile, such as reduce-overhead.")
@click.option("--rounds", default=10, show_default=True)
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(
    device: str, sizes: str, batches: tuple[int, ...], mode: str | None, rounds: int, *, write: bool
) -> None:
    """Measure and count, and tell how near the roofline each network comes."""
    place = torch.device(device_of(device))
    found = peaks(place)
    click.echo(f"{place}: {found.flops / 1e12:.2f} TFLOP/s, {found.bytes / 1e9:.0f} GB/s")
    rows = []
    for size in sizes.split(","):
        for kind, step_of in (("inference", inference_step), ("training", training_step)):
            for batch in batches:
                network = getattr(models, f"segformer_{size}")(in_channels=1, out_channels=4)
                network.to(place).train(kind == "training")
                images = torch.rand(batch, 1, 288, 288, device=place)
                needed = cost(step_of(network), images[:2], network=network)
                if mode:
                    network.compile(mode=mode)
                step = step_of(network)
                each_s = seconds_of(lambda s=step, x=images: s(x), place, rounds=rounds) / batch
                row = {
                    "network": f"segformer_{size}",
                    "work": kind,
                    "batch": batch,
                    "images_per_s": round(1 / each_s, 1),
                    "gflop": round(needed.flops / 1e9, 2),
                    "mbyte": round(needed.bytes / 1e6, 1),
                    "bound_per_s": round(needed.bound(found), 1),
                    "share_of_bound": round(1 / each_s / needed.bound(found), 3),
                }
                rows.append(row)
                click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    if write:
        facts = {"peaks": found._asdict(), "compile": mode, "threads": torch.get_num_threads()}
        write_record(RESULT, record([], **facts, networks=rows))


if __name__ == "__main__":
    main()
