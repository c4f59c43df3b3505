"""Whole training loops: SegFormer-b0 as medseg's bundle trains it, and as others do.

Prepared slices are in memory or in the page cache on every side; what is measured are the steps of
an epoch from its beginning to the end of its last step: reading, changing by chance, the network,
the loss, the optimiser and what hangs on each step. Initial weights, loss and learning rate are the
same; samples come in another order and change by other chances, so that losses are alike only.
"""

import csv
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from medseg.bench import stock
from medseg.bench.measure import Timed, Work, require
from medseg.bench.peers import Peer, environment
from medseg.bench.scans import write_scan
from medseg.bench.stock import Clock
from medseg.bundle import Opened, find_bundle
from medseg.stages.display import Silent
from medseg.stages.watch import Watch

HF_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers" / "hf_trainer.py"
BUNDLE = "uwmgi_segformer"
# Times as fast: in float32 on both sides, and both as they come.
REACH = {"cpu": (1.6, 2.5), "cuda": (4.0, 4.0)}
SHARE = 0.95
# Of the mean loss over all steps.
_ALIKE = 0.2


class Peers:
    """The other loops, each in a process of its own for as long as the ``with`` block.

    Args:
        hugging_face: Whether Hugging Face's Trainer is one of them; its environment is made.
    """

    def __init__(self, *, hugging_face: bool = True) -> None:
        self.hugging_face = hugging_face

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        monai = Peer(Path(sys.executable), Path(stock.__file__))
        self.by_name = {"stock MONAI bundle": self._stack.enter_context(monai)}
        if self.hugging_face:
            python = environment("hf_trainer", ["accelerate"])
            trainer = Peer(python, HF_SCRIPT)
            self.by_name["Hugging Face Trainer"] = self._stack.enter_context(trainer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def works(
    folder: Path,
    *,
    peers: Mapping[str, Peer],
    steps: int = 8,
    batch_size: int = 8,
    side_px: int = 288,
    device: str = "cpu",
) -> list[Work]:
    """Return the loop beside each peer's, in float32 and as shipped, and beside the bare network.

    In the last, "theirs" are the same steps on one batch that lies on the device, without any loop
    around them: the ratio is the share of the whole loop that is the network.

    Args:
        folder: Where scans, samples and weights are written.
        peers: Other loops by name; see `Peers`.
        steps: Of each loop.
        batch_size: Slices of a step.
        side_px: Rows and columns of a slice.
        device: Where to compute.
    """
    _write_data(folder / "data", slices=steps * batch_size)
    config = _config(folder, steps=steps, batch_size=batch_size, side_px=side_px, device=device)
    message = _message(folder, config, steps=steps)
    message |= {"batch_size": batch_size, "device": device}
    kind = torch.device(device).type
    name = f"{steps} training steps of {batch_size} slices, SegFormer-b0 on {kind}"
    found = [
        Work(
            name=f"{name}, {'as shipped' if amp else 'float32'}",
            against=against,
            reach=reach,
            ours=partial(_by_medseg, config, message["weights"], amp=amp),
            theirs=partial(peer.call, **message),
            same=_same,
        )
        for against, peer in peers.items()
        for amp, reach in zip((False, True), REACH[kind], strict=True)
    ]
    share = Work(
        name=f"{name}: share that is the network",
        against="the bare network on one batch",
        reach=SHARE,
        ours=partial(_by_medseg, config, message["weights"], amp=True),
        theirs=partial(_bare, config, message["weights"]),
        same=_as_many,
    )
    return [*found, share]


def _write_data(folder: Path, *, slices: int) -> None:
    """Write two patients, one to train on and one to hold out, as Kaggle does."""
    folder.mkdir(parents=True)
    with (folder / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "class", "segmentation"))
        for number in (1, 2):
            scan = write_scan(folder / "train", number=number, slices=slices)
            for organ, encoded in (scan.rle or {}).items():
                rows.writerows(
                    (f"{scan.scan_id}_slice_{k:04d}", organ, text)
                    for k, text in zip(scan.slice_numbers, encoded, strict=True)
                )


def _config(folder: Path, *, steps: int, batch_size: int, side_px: int, device: str) -> Any:  # noqa: ANN401
    settings = {
        **{"dataset_dir": str(folder / "data"), "output_dir": str(folder / "run")},
        **{"store_dir": str(folder / "store"), "device": device, "folds": 2},
        **{"roi_px": [side_px, side_px], "batch_size": batch_size},
        # No validation: it is not the loop over the steps.
        **{"epochs": 1, "epoch_length": steps, "val_interval": 2},
        "network_def::_target_": "medseg.models.segformer_b0",
    }
    return find_bundle(BUNDLE).config("train", settings=settings)


def _message(folder: Path, config: Any, *, steps: int) -> dict[str, Any]:  # noqa: ANN401
    """Write samples and weights for other processes, and return what to tell them."""
    opened = Opened(config)
    dataset, optimizer = opened["train::dataset"], opened["optimizer"]
    samples = [{key: dataset[n][key] for key in stock.KEYS} for n in range(len(dataset))]
    torch.save(samples, folder / "samples.pt")
    torch.manual_seed(0)
    torch.save(Opened(config)["network_def"].state_dict(), folder / "weights.pt")
    return {
        "samples": str(folder / "samples.pt"),
        "weights": str(folder / "weights.pt"),
        "limits": asdict(opened["augmentation"]),
        "steps": steps,
        "lr": optimizer.param_groups[0]["lr"],
    }


class _Nowhere:
    """A log that keeps nothing: what is sent to a store is sent after an epoch's steps."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep nothing."""

    def flush(self) -> None:
        """Send nothing."""


def _by_medseg(config: Any, weights: str, *, amp: bool) -> Timed:  # noqa: ANN401
    """Run the bundle's trainer with what the training stage hangs on it."""
    from ignite.engine import Events

    from medseg.engine.history import TrackingHandler

    opened = _opened(config, weights, amp=amp)
    trainer, evaluator = opened["train::trainer"], opened["validate::evaluator"]
    organs = opened["labels"].names
    history = TrackingHandler(_Nowhere(), organs=organs, evaluator=evaluator)
    history.attach(trainer)
    watch = Watch(history, evaluator, Silent())
    trainer.add_event_handler(Events.ITERATION_COMPLETED, watch.step)
    clock, steps, device = Clock(), trainer.state.epoch_length, trainer.state.device
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: clock.start())
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=steps), lambda _: clock.stop(device))
    opened["initialize"]
    trainer.run()
    samples = steps * config["batch_size"]
    return clock.timed(samples=samples, loss=history.history[0]["train/loss"])


def _bare(config: Any, weights: str) -> Timed:  # noqa: ANN401
    """Do the same steps on one batch, with nothing around them."""
    opened = _opened(config, weights, amp=True)
    network, optimizer, loss_of = opened["network"], opened["optimizer"], opened["loss"]
    inferer, device = opened["train::inferer"], torch.device(config["device"])
    batch = next(iter(opened["train::dataloader"]))
    images, masks = opened["augmentation"](batch["image"], batch["label"], batch["draw"])
    losses, clock = [], Clock()
    clock.start()
    for _ in range(config["epoch_length"]):
        network.train()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(inferer(images, network), masks)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    clock.stop(device)
    samples = len(losses) * config["batch_size"]
    return clock.timed(samples=samples, loss=float(torch.stack(losses).mean()))


def _opened(config: Any, weights: str, *, amp: bool) -> Opened:  # noqa: ANN401
    opened = Opened(config | {"amp": amp})
    opened["network"].load_state_dict(torch.load(weights, weights_only=True))
    return opened


def _as_many(own: Mapping[str, float], other: Mapping[str, float]) -> str:
    require(own["samples"] == other["samples"], f"{own['samples']} and {other['samples']} samples")
    return f"{own['samples']} samples on both sides"


def _same(own: Mapping[str, float], other: Mapping[str, float]) -> str:
    samples = _as_many(own, other)
    apart = abs(own["loss"] / other["loss"] - 1)
    require(apart < _ALIKE, f"mean losses are {own['loss']:.3f} and {other['loss']:.3f}")
    return (
        f"{samples}, the same initial weights, mean losses {own['loss']:.3f}, {other['loss']:.3f}"
    )
