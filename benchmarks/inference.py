"""A scan through the same network, from array to labels, beside MONAI and nnU-Net.

    python benchmarks/inference.py [--slices 144] [--device cpu] [--rounds 5] [--write]

nnU-Net gets an environment of its own in ``build/peers``. What it requires for its own networks,
timm and with it torchvision, is left out: they are not measured here, and torchvision would bring
another torch.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from medseg.bench import compare, record, table, write_record
from medseg.bench.inference import works
from medseg.bench.peers import ENVIRONMENTS, Peer, environment

RESULT = Path(__file__).with_suffix(".json")
NNUNET = ("nnunetv2==2.8.1", "dynamic-network-architectures==0.4.4")
NNUNET_NEEDS = ("acvl-utils>=0.2.6,<0.3", "batchgenerators>=0.25.1", "batchgeneratorsv2>=0.3.2")
SCRIPT = Path(__file__).with_name("peers") / "nnunet.py"


@click.command()
@click.option("--slices", default=144, show_default=True, help="Slices of the scan.")
@click.option("--device", default="cpu", show_default=True, help="What computes.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--peers", default=ENVIRONMENTS, show_default=True, type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help=f"Keep the result in {RESULT.name}.")
def main(slices: int, device: str, rounds: int, peers: Path, *, write: bool) -> None:
    """Run both sides in turns, on one thread, and tell how much faster medseg is."""
    torch.set_num_threads(1)
    python = environment("nnunet", NNUNET_NEEDS, alone=NNUNET, folder=peers)
    with tempfile.TemporaryDirectory() as folder, Peer(python, SCRIPT) as nnunet:
        found = works(Path(folder), slices=slices, device=device, nnunet=nnunet)
        rows = [compare(work, rounds=rounds) for work in found]
    click.echo(table(rows))
    if write:
        facts = {"slices": slices, "device": device, "threads": 1, "nnunet": NNUNET[0]}
        write_record(RESULT, record(rows, **facts))


if __name__ == "__main__":
    main()
